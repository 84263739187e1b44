#include "server/encoder_format.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/clock.h"
#include "base/json.h"
#include "server/random_id.h"

namespace hearth {
namespace {

// The shortest text that reads back to the same float.
void append_float(std::string& out, float value) {
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  out.append(std::begin(digits), end);
}

void append_floats(std::string& out, std::span<const float> values) {
  out += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    append_float(out, values[i]);
  }
  out += ']';
}

// RFC 4648, section 4.
void append_base64(std::string& out, std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bytes = std::as_bytes(values);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t num_bytes = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < num_bytes ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    const char digits[] = {kDigits[bits >> 18], kDigits[bits >> 12 & 63], kDigits[bits >> 6 & 63],
                           kDigits[bits & 63]};
    out.append(digits, num_bytes + 1);
    out.append(3 - num_bytes, '=');
  }
}

json::Value count(std::size_t value) {
  return static_cast<std::int64_t>(value);
}

json::Value usage(const EncoderAnswerHeader& header) {
  json::Object out{{"prompt_tokens", count(header.num_tokens)},
                   {"total_tokens", count(header.num_tokens)}};
  const auto num_truncated = std::ranges::count(header.truncated, true);
  if (num_truncated > 0) out.append("truncated_texts", std::int64_t{num_truncated});
  return out;
}

// A double whose shortest text is the float's.
json::Value number(float value) {
  std::string text;
  append_float(text, value);
  double out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

float sigmoid(float value) {
  return 1.0f / (1.0f + std::exp(-value));
}

void softmax(std::span<float> values) {
  const float most = std::ranges::max(values);
  float sum = 0;
  for (float& value : values)
    sum += value = std::exp(value - most);
  for (float& value : values)
    value /= sum;
}

// Best first; of equal ones in their order.
std::vector<std::size_t> descending(std::span<const float> scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [scores](std::size_t a, std::size_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  return order;
}

json::Value labelled_scores(const EncoderConfig& config, std::span<const float> scores) {
  json::Array out;
  for (const std::size_t label : descending(scores))
    out.emplace_back(
        json::Object{{"score", number(scores[label])}, {"label", config.labels[label]}});
  return out;
}

std::int64_t unix_seconds() {
  return std::chrono::system_clock::to_time_t(system_clock().wall_now());
}

}  // namespace

void apply_activation(HeadActivation activation, std::span<float> outputs) {
  switch (activation) {
    case HeadActivation::kNone:
      return;
    case HeadActivation::kSoftmax:
      softmax(outputs);
      return;
    case HeadActivation::kSigmoid:
      std::ranges::transform(outputs, outputs.begin(), sigmoid);
      return;
  }
}

void shape_vectors(std::vector<float>& rows, std::size_t width, const VectorShape& shape) {
  if (shape.dimensions == width && !shape.normalize) return;
  const std::size_t num_rows = rows.size() / width;
  for (std::size_t i = 0; i < num_rows; ++i) {
    const float* from = rows.data() + i * width;
    float* to = rows.data() + i * shape.dimensions;
    float scale = 1.0f;
    if (shape.normalize) {
      double sum = 0;
      for (std::size_t k = 0; k < shape.dimensions; ++k)
        sum += static_cast<double>(from[k]) * from[k];
      if (sum > 0) scale = static_cast<float>(1.0 / std::sqrt(sum));
    }
    std::transform(from, from + shape.dimensions, to,
                   [scale](float value) { return value * scale; });
  }
  rows.resize(num_rows * shape.dimensions);
}

// Written as text: a tree of JSON values for a million numbers would take a hundred megabytes.
std::string embeddings_body(const EncoderAnswerHeader& header, std::span<const float> rows,
                            VectorEncoding encoding) {
  const std::size_t num_rows = header.truncated.size();
  const std::size_t width = rows.size() / num_rows;
  std::string out = R"({"object":"list","data":[)";
  out.reserve(rows.size() * (encoding == VectorEncoding::kFloat ? 13 : 6) + num_rows * 64 + 256);
  for (std::size_t i = 0; i < num_rows; ++i) {
    if (i > 0) out += ',';
    out += R"({"object":"embedding","index":)" + std::to_string(i) + R"(,"embedding":)";
    const auto row = rows.subspan(i * width, width);
    if (encoding == VectorEncoding::kBase64) {
      out += '"';
      append_base64(out, row);
      out += '"';
    } else {
      append_floats(out, row);
    }
    if (header.truncated[i]) out += R"(,"truncated":true)";
    out += '}';
  }
  out +=
      R"(],"model":)" + json::dump(header.model) + R"(,"usage":)" + json::dump(usage(header)) + "}";
  return out;
}

std::string embed_body(const EncoderAnswerHeader& header, std::span<const float> rows) {
  const std::size_t width = rows.size() / header.truncated.size();
  std::string out = "[";
  out.reserve(rows.size() * 13);
  for (std::size_t at = 0; at < rows.size(); at += width) {
    if (at > 0) out += ',';
    append_floats(out, rows.subspan(at, width));
  }
  return out + "]";
}

std::string rerank_body(const EncoderAnswerHeader& header, const RerankRequest& request,
                        std::span<const float> outputs) {
  std::vector<float> scores(outputs.begin(), outputs.end());
  if (!request.raw_scores) apply_activation(HeadActivation::kSigmoid, scores);
  // By the outputs: scores of very good documents may all be 1.
  std::vector<std::size_t> order = descending(outputs);
  order.resize(std::min(order.size(), request.top_n.value_or(order.size())));
  json::Array results;
  for (const std::size_t i : order) {
    json::Object result{{"index", count(i)}};
    if (request.is_tei) {
      result.append("score", number(scores[i]));
      if (request.return_documents) result.append("text", request.documents[i]);
    } else {
      result.append("relevance_score", number(scores[i]));
      if (request.return_documents) {
        result.append("document", json::Object{{"text", request.documents[i]}});
      }
      if (header.truncated[i]) result.append("truncated", true);
    }
    results.emplace_back(std::move(result));
  }
  if (request.is_tei) return json::dump(std::move(results));
  return json::dump(json::Object{{"id", "rerank-" + random_hex(24)},
                                 {"object", "list"},
                                 {"model", header.model},
                                 {"results", std::move(results)},
                                 {"usage", usage(header)}});
}

std::string classify_body(const EncoderAnswerHeader& header, const EncoderConfig& config,
                          std::span<const float> outputs, bool raw) {
  json::Array data;
  std::vector<float> scores;
  for (std::size_t i = 0; i < header.truncated.size(); ++i) {
    const auto row = outputs.subspan(i * config.width, config.width);
    scores.assign(row.begin(), row.end());
    if (!raw) apply_activation(config.head_activation, scores);
    json::Array probs;
    for (const float score : scores)
      probs.push_back(number(score));
    json::Object result{{"index", count(i)},
                        {"label", config.labels[descending(scores).front()]},
                        {"probs", std::move(probs)},
                        {"num_classes", count(config.width)}};
    if (header.truncated[i]) result.append("truncated", true);
    data.emplace_back(std::move(result));
  }
  return json::dump(json::Object{{"id", "classify-" + random_hex(24)},
                                 {"object", "list"},
                                 {"created", unix_seconds()},
                                 {"model", header.model},
                                 {"data", std::move(data)},
                                 {"usage", usage(header)}});
}

std::string predict_body(const EncoderConfig& config, std::span<const float> outputs,
                         const PredictRequest& request) {
  json::Array results;
  std::vector<float> scores;
  for (std::size_t at = 0; at < outputs.size(); at += config.width) {
    const auto row = outputs.subspan(at, config.width);
    scores.assign(row.begin(), row.end());
    if (!request.raw_scores) apply_activation(config.head_activation, scores);
    results.push_back(labelled_scores(config, scores));
  }
  return json::dump(request.is_batch ? json::Value(std::move(results)) : results.front());
}

}  // namespace hearth
