// tokenizer.json as data: its tables as they stand there, everything else as JSON values.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace hearth {

// A merge rule: two texts, or one of the older form "left right" with nothing in `right`.
struct HfMerge {
  std::string_view left, right;
};

class HfDocument {
 public:
  static constexpr std::size_t kMaxBytes = 64u << 20;
  static constexpr std::size_t kMaxDepth = 64;

  // kDataLoss for a text that is no JSON or whose tables are malformed; kOutOfRange beyond a limit.
  static Result<HfDocument> parse(std::string_view text);
  HfDocument(HfDocument&&) noexcept;
  HfDocument& operator=(HfDocument&&) noexcept;
  ~HfDocument();

  // The file's members without "model", "truncation" and "padding".
  const json::Object& sections() const { return sections_; }
  // The model's members without "vocab" and "merges".
  const json::Object& model() const { return model_; }

  // Spellings by id, empty for an id without token. Views live as long as the document.
  const std::vector<std::string_view>& tokens() const { return tokens_; }
  // By id, for a vocabulary that is a list of texts with scores; else empty.
  const std::vector<double>& scores() const { return scores_; }
  const std::vector<HfMerge>& merges() const { return merges_; }
  bool has_merges() const { return has_merges_; }

 private:
  struct Text;
  explicit HfDocument(std::unique_ptr<Text> text);
  friend class HfReader;

  std::unique_ptr<Text> text_;
  json::Object sections_, model_;
  std::vector<std::string_view> tokens_;
  std::vector<double> scores_;
  std::vector<HfMerge> merges_;
  bool has_merges_ = false;
};

}  // namespace hearth
