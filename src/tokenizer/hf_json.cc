#include "tokenizer/hf_json.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "tokenizer/bpe.h"
#include "tokenizer/vocabulary.h"

namespace hearth {

namespace dom = simdjson::dom;

struct HfDocument::Text {
  dom::parser parser{kMaxBytes};
  dom::element root;
};

HfDocument::HfDocument(std::unique_ptr<Text> text) : text_(std::move(text)) {}
HfDocument::HfDocument(HfDocument&&) noexcept = default;
HfDocument& HfDocument::operator=(HfDocument&&) noexcept = default;
HfDocument::~HfDocument() = default;

namespace {

// The parser bounds the depth.
json::Value to_value(const dom::element& element) {
  switch (element.type()) {
    case dom::element_type::ARRAY: {
      json::Array array;
      for (const dom::element item : dom::array(element))
        array.push_back(to_value(item));
      return array;
    }
    case dom::element_type::OBJECT: {
      json::Object object;
      for (const dom::key_value_pair member : dom::object(element))
        object.append(std::string(member.key), to_value(member.value));
      return object;
    }
    case dom::element_type::INT64:
      return std::int64_t(element);
    case dom::element_type::UINT64:
      return std::uint64_t(element);
    case dom::element_type::DOUBLE:
      return double(element);
    case dom::element_type::STRING:
      return std::string_view(element);
    case dom::element_type::BOOL:
      return bool(element);
    case dom::element_type::NULL_VALUE:
      return nullptr;
  }
  return nullptr;
}

std::string_view type_name(const dom::element& element) {
  switch (element.type()) {
    case dom::element_type::ARRAY:
      return "an array";
    case dom::element_type::OBJECT:
      return "an object";
    case dom::element_type::STRING:
      return "a string";
    case dom::element_type::BOOL:
      return "a boolean";
    case dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

}  // namespace

// Fills a document from what was parsed.
class HfReader {
 public:
  explicit HfReader(HfDocument& document) : document_(document) {}

  Status read() {
    dom::object file;
    if (document_.text_->root.get(file) != simdjson::SUCCESS) {
      return make_status(StatusCode::kDataLoss, "the file is {}, not an object",
                         type_name(document_.text_->root));
    }
    bool has_model = false;
    for (const dom::key_value_pair member : file) {
      if (member.key == "model") {
        has_model = true;
        HEARTH_RETURN_IF_ERROR(read_model(member.value));
      } else if (member.key != "truncation" && member.key != "padding") {
        document_.sections_.append(std::string(member.key), to_value(member.value));
      }
    }
    if (!has_model) return make_status(StatusCode::kDataLoss, "'model' is missing");
    return {};
  }

 private:
  Status read_model(const dom::element& element) {
    dom::object model;
    if (element.get(model) != simdjson::SUCCESS) {
      return make_status(StatusCode::kDataLoss, "'model' is {}, not an object", type_name(element));
    }
    for (const dom::key_value_pair member : model) {
      if (member.key == "vocab") {
        HEARTH_RETURN_IF_ERROR(read_vocabulary(member.value));
      } else if (member.key == "merges") {
        HEARTH_RETURN_IF_ERROR(read_merges(member.value));
      } else {
        document_.model_.append(std::string(member.key), to_value(member.value));
      }
    }
    return {};
  }

  Status read_vocabulary(const dom::element& element) {
    dom::object by_text;
    if (element.get(by_text) == simdjson::SUCCESS) return read_ids(by_text);
    dom::array list;
    if (element.get(list) == simdjson::SUCCESS) return read_scores(list);
    return make_status(StatusCode::kDataLoss, "'model.vocab' is {}, neither an object nor an array",
                       type_name(element));
  }

  // {"text": id}
  Status read_ids(const dom::object& vocabulary) {
    std::int64_t max_id = -1;
    for (const dom::key_value_pair member : vocabulary) {
      std::int64_t id = -1;
      if (member.value.get(id) != simdjson::SUCCESS || id < 0) {
        return make_status(StatusCode::kDataLoss, "'model.vocab' gives \"{}\" no id", member.key);
      }
      max_id = std::max(max_id, id);
    }
    if (max_id >= static_cast<std::int64_t>(Vocabulary::kMaxTokens)) {
      return make_status(StatusCode::kOutOfRange, "'model.vocab' has the id {}; the limit is {}",
                         max_id, Vocabulary::kMaxTokens - 1);
    }
    document_.tokens_.resize(static_cast<std::size_t>(max_id + 1));
    for (const dom::key_value_pair member : vocabulary) {
      const auto id = static_cast<std::size_t>(std::int64_t(member.value));
      if (!document_.tokens_[id].empty()) {
        return make_status(StatusCode::kDataLoss, "'model.vocab' has two tokens with the id {}",
                           id);
      }
      document_.tokens_[id] = member.key;
    }
    return {};
  }

  // [["text", score]]
  Status read_scores(const dom::array& vocabulary) {
    std::size_t num_tokens = 0;
    for (const dom::element entry : vocabulary) {
      if (num_tokens == Vocabulary::kMaxTokens) {
        return make_status(StatusCode::kOutOfRange, "'model.vocab' has more than {} entries",
                           Vocabulary::kMaxTokens);
      }
      std::string_view text;
      double score = 0;
      const bool is_pair =
          entry.at(0).get(text) == simdjson::SUCCESS && entry.at(1).get(score) == simdjson::SUCCESS;
      if (!is_pair || std::isnan(score)) {
        return make_status(StatusCode::kDataLoss,
                           "'model.vocab' entry {} is not a text with its score", num_tokens);
      }
      ++num_tokens;
      document_.tokens_.push_back(text);
      document_.scores_.push_back(score);
    }
    return {};
  }

  Status read_merges(const dom::element& element) {
    dom::array merges;
    if (element.get(merges) != simdjson::SUCCESS) {
      return make_status(StatusCode::kDataLoss, "'model.merges' is {}, not an array",
                         type_name(element));
    }
    document_.has_merges_ = true;
    for (const dom::element entry : merges) {
      if (document_.merges_.size() == MergeRules::kMaxRules) {
        return make_status(StatusCode::kOutOfRange, "'model.merges' has more than {} entries",
                           MergeRules::kMaxRules);
      }
      HfMerge merge;
      dom::array sides;
      const bool is_text = entry.get(merge.left) == simdjson::SUCCESS;
      const bool is_pair = !is_text && entry.get(sides) == simdjson::SUCCESS && sides.size() == 2 &&
                           sides.at(0).get(merge.left) == simdjson::SUCCESS &&
                           sides.at(1).get(merge.right) == simdjson::SUCCESS &&
                           !merge.right.empty();
      if (!is_text && !is_pair) {
        return make_status(StatusCode::kDataLoss, "'model.merges' entry {} is not two texts",
                           document_.merges_.size());
      }
      document_.merges_.push_back(merge);
    }
    return {};
  }

  HfDocument& document_;
};

Result<HfDocument> HfDocument::parse(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return error(StatusCode::kOutOfRange, "the file has {} bytes; the limit is {}", text.size(),
                 kMaxBytes);
  }
  auto parsed = std::make_unique<Text>();
  if (parsed->parser.allocate(text.size(), kMaxDepth) != simdjson::SUCCESS) {
    return error(StatusCode::kResourceExhausted, "no memory for a file of {} bytes", text.size());
  }
  const simdjson::error_code code =
      parsed->parser.parse(text.data(), text.size(), /*realloc_if_needed=*/true).get(parsed->root);
  if (code == simdjson::DEPTH_ERROR) {
    return error(StatusCode::kOutOfRange, "the file is nested deeper than the limit of {}",
                 kMaxDepth);
  }
  if (code != simdjson::SUCCESS) {
    return error(StatusCode::kDataLoss, "the file is not valid JSON");
  }
  HfDocument document(std::move(parsed));
  HEARTH_RETURN_IF_ERROR(HfReader(document).read());
  return document;
}

}  // namespace hearth
