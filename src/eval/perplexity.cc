#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/memory_budget.h"
#include "kv/kv_storage.h"

namespace hearth {
namespace {

constexpr std::size_t kBlockSize = 16;
constexpr std::size_t kMinChunkLen = 4;
// Tokens of one step. Their logits are a large part of the memory: half a megabyte each with a
// vocabulary of 128 Ki.
constexpr std::size_t kStepLen = 64;

// A model reading one chunk after the other.
class ChunkReader {
 public:
  static Result<ChunkReader> create(Model& model, const PerplexityOptions& options) {
    if (options.chunk_len > model.config().context_len) {
      return error(StatusCode::kOutOfRange,
                   "chunks of {} tokens are longer than the {} the model was made for",
                   options.chunk_len, model.config().context_len);
    }
    KvShape shape = kv_shape(model.config(), kBlockSize, options.kv_cache_dtype);
    shape.num_blocks = kv_blocks_for(shape, options.chunk_len, 1);
    HEARTH_ASSIGN_OR_RETURN(KvStorage kv, KvStorage::create(shape));
    HEARTH_RETURN_IF_ERROR(model.reserve(kStepLen, kStepLen, options.chunk_len));
    return ChunkReader(model, std::move(kv));
  }

  // Logits after the last `num_rows` of `tokens`, which stand at `first` of the chunk; valid until
  // the next call.
  ConstMatrixView read(std::span<const std::int32_t> tokens, std::size_t first,
                       std::size_t num_rows) {
    std::iota(positions_.begin(), positions_.end(), static_cast<std::int32_t>(first));
    const SequenceRows sequence = {.first_row = 0,
                                   .num_rows = tokens.size(),
                                   .first_position = first,
                                   .block_table = blocks_.data()};
    std::iota(logit_rows_.begin(), logit_rows_.end(),
              static_cast<std::int32_t>(tokens.size() - num_rows));
    return model_->forward({.tokens = tokens,
                            .positions = std::span(positions_).first(tokens.size()),
                            .sequences = {&sequence, 1},
                            .logit_rows = std::span(logit_rows_).first(num_rows)},
                           kv_);
  }

 private:
  ChunkReader(Model& model, KvStorage kv)
      : model_(&model),
        kv_(std::move(kv)),
        blocks_(kv_.shape().num_blocks),
        positions_(kStepLen),
        logit_rows_(kStepLen) {
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  Model* model_;
  KvStorage kv_;
  std::vector<std::int32_t> blocks_;
  std::vector<std::int32_t> positions_;
  std::vector<std::int32_t> logit_rows_;
};

// A distribution by its logits: probability = exp(logit - log_sum).
struct Distribution {
  std::span<const float> logits;
  double log_sum = 0.0;
  std::size_t top = 0;

  double log_probability(std::size_t id) const { return static_cast<double>(logits[id]) - log_sum; }
};

Distribution distribution_of(ConstMatrixView logits, std::size_t row) {
  const std::span<const float> values(logits.row(row), logits.cols);
  const auto top = std::ranges::max_element(values);
  double sum = 0.0;
  for (const float value : values)
    sum += static_cast<double>(std::exp(value - *top));
  return {.logits = values,
          .log_sum = static_cast<double>(*top) + std::log(sum),
          .top = static_cast<std::size_t>(top - values.begin())};
}

double divergence(const Distribution& p, const Distribution& q) {
  double sum = 0.0;
  for (std::size_t id = 0; id < p.logits.size(); ++id) {
    const double log_p = p.log_probability(id);
    sum += std::exp(log_p) * (log_p - q.log_probability(id));
  }
  return std::max(sum, 0.0);  // Rounding may leave a little less than nothing.
}

// What one prediction is worth.
struct Prediction {
  double surprise = 0.0;  // -log of the right token's probability.
  double reference_surprise = 0.0;
  double divergence = 0.0;
  bool same_top = false;
};

template <typename Value>
Estimate mean_of(std::span<const Prediction> predictions, Value value) {
  const auto count = static_cast<double>(predictions.size());
  double sum = 0.0;
  double squares = 0.0;
  for (const Prediction& prediction : predictions) {
    const double x = value(prediction);
    sum += x;
    squares += x * x;
  }
  const double mean = sum / count;
  const double variance = std::max(0.0, squares / count - mean * mean);
  return {mean, count > 1 ? std::sqrt(variance / (count - 1)) : 0.0};
}

template <typename Value>
Estimate perplexity_of(std::span<const Prediction> predictions, Value surprise) {
  const Estimate mean = mean_of(predictions, surprise);
  const double perplexity = std::exp(mean.value);
  return {perplexity, perplexity * mean.error};
}

Divergence divergence_of(std::span<const Prediction> predictions) {
  std::vector<double> sorted;
  sorted.reserve(predictions.size());
  for (const Prediction& prediction : predictions)
    sorted.push_back(prediction.divergence);
  std::ranges::sort(sorted);
  const auto at = [&](std::size_t percent) { return sorted[(sorted.size() - 1) * percent / 100]; };
  return {
      .mean = mean_of(predictions, [](const Prediction& p) { return p.divergence; }),
      .median = at(50),
      .percentile99 = at(99),
      .maximum = sorted.back(),
      .same_top = mean_of(predictions, [](const Prediction& p) { return p.same_top ? 1.0 : 0.0; }),
      .reference_perplexity =
          perplexity_of(predictions, [](const Prediction& p) { return p.reference_surprise; })};
}

class Measurement {
 public:
  Measurement(ChunkReader model, std::optional<ChunkReader> reference, std::size_t chunk_len,
              ThreadPool& threads)
      : model_(std::move(model)),
        reference_(std::move(reference)),
        chunk_len_(chunk_len),
        threads_(threads) {}

  void read_chunk(std::span<const std::int32_t> chunk) {
    for (std::size_t first = 0; first < chunk.size(); first += kStepLen) {
      const std::size_t len = std::min(kStepLen, chunk.size() - first);
      const std::size_t end = first + len;
      const std::size_t from = std::max(first, chunk_len_ / 2);
      const std::size_t num_rows = from < end ? end - from : 0;
      const auto tokens = chunk.subspan(first, len);
      const ConstMatrixView logits = model_.read(tokens, first, num_rows);
      const auto reference = reference_ ? reference_->read(tokens, first, num_rows) : logits;
      // Nothing follows the chunk's last token.
      const std::size_t num_predictions =
          end == chunk.size() && num_rows > 0 ? num_rows - 1 : num_rows;
      judge(logits, reference,
            chunk.subspan(std::min(from + 1, chunk.size())).first(num_predictions));
    }
  }

  std::span<const Prediction> predictions() const { return predictions_; }

 private:
  void judge(ConstMatrixView logits, ConstMatrixView reference,
             std::span<const std::int32_t> right) {
    const std::size_t first = predictions_.size();
    predictions_.resize(first + right.size());
    threads_.run(right.size(), [&](std::size_t row, std::size_t /*worker*/) {
      const auto id = static_cast<std::size_t>(right[row]);
      const Distribution q = distribution_of(logits, row);
      Prediction& prediction = predictions_[first + row];
      prediction.surprise = -q.log_probability(id);
      if (!reference_) return;
      const Distribution p = distribution_of(reference, row);
      prediction.reference_surprise = -p.log_probability(id);
      prediction.divergence = divergence(p, q);
      prediction.same_top = p.top == q.top;
    });
  }

  ChunkReader model_;
  std::optional<ChunkReader> reference_;
  std::size_t chunk_len_;
  ThreadPool& threads_;
  std::vector<Prediction> predictions_;
};

Status check(const PerplexityModels& models, std::span<const std::int32_t> tokens,
             const PerplexityOptions& options) {
  if (options.chunk_len < kMinChunkLen) {
    return make_status(StatusCode::kInvalidArgument, "chunks must have at least {} tokens, not {}",
                       kMinChunkLen, options.chunk_len);
  }
  if (tokens.size() < 2 * options.chunk_len) {
    return make_status(StatusCode::kInvalidArgument,
                       "the text has {} tokens, but at least {} are needed: two chunks of {}",
                       tokens.size(), 2 * options.chunk_len, options.chunk_len);
  }
  const std::size_t vocab_size = models.model.config().vocab_size;
  const Model* reference = models.reference;
  if (reference != nullptr && reference->config().vocab_size != vocab_size) {
    return make_status(StatusCode::kInvalidArgument,
                       "the model has {} tokens and the reference {}: their predictions cannot be "
                       "compared",
                       vocab_size, reference->config().vocab_size);
  }
  return {};
}

Status check_numbers(std::span<const Prediction> predictions) {
  const bool numbers = std::ranges::all_of(predictions, [](const Prediction& p) {
    return std::isfinite(p.surprise) && std::isfinite(p.reference_surprise) &&
           std::isfinite(p.divergence);
  });
  if (numbers) return {};
  return make_status(StatusCode::kDataLoss, "the model's predictions are not numbers");
}

}  // namespace

Result<PerplexityReport> measure_perplexity(const PerplexityModels& models,
                                            std::span<const std::int32_t> tokens,
                                            const PerplexityOptions& options, ThreadPool& threads,
                                            const PerplexityProgress& progress) {
  HEARTH_RETURN_IF_ERROR(check(models, tokens, options));
  HEARTH_ASSIGN_OR_RETURN(ChunkReader reader, ChunkReader::create(models.model, options));
  std::optional<ChunkReader> reference_reader;
  if (models.reference != nullptr) {
    HEARTH_ASSIGN_OR_RETURN(reference_reader, ChunkReader::create(*models.reference, options));
  }
  Measurement measurement(std::move(reader), std::move(reference_reader), options.chunk_len,
                          threads);
  PerplexityReport report;
  report.num_chunks = tokens.size() / options.chunk_len;
  if (options.max_chunks > 0) report.num_chunks = std::min(report.num_chunks, options.max_chunks);
  const auto surprise = [](const Prediction& p) { return p.surprise; };
  std::vector<std::int32_t> chunk(options.chunk_len);
  for (std::size_t i = 0; i < report.num_chunks; ++i) {
    std::ranges::copy(tokens.subspan(i * options.chunk_len, options.chunk_len), chunk.begin());
    if (options.bos) chunk.front() = *options.bos;
    measurement.read_chunk(chunk);
    HEARTH_RETURN_IF_ERROR(check_numbers(measurement.predictions()));
    report.perplexity = perplexity_of(measurement.predictions(), surprise);
    if (progress) progress(i + 1, report.num_chunks, report.perplexity.value);
  }
  report.num_predictions = measurement.predictions().size();
  if (models.reference != nullptr) report.divergence = divergence_of(measurement.predictions());
  return report;
}

}  // namespace hearth
