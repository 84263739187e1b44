// From the texts of a request to the token sequences that an encoder reads, within its limits.
#pragma once

#include <cstddef>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/embedding_job.h"
#include "server/api_error.h"
#include "server/encoder_request.h"
#include "server/model_ref.h"

namespace hearth {

struct PreparedInputs {
  std::vector<EmbeddingInput> inputs;  // In the order they were added.
  std::size_t num_tokens = 0;          // Of all, after truncation, special ones included.
  std::vector<bool> truncated;         // [inputs]
  std::size_t num_truncated = 0;
};

// Tokenizes one text after the other. Text never becomes a special token. An error names the text.
class InputPreparer {
 public:
  // Borrows the model and `stop`'s state; see PromptOptions::stop.
  InputPreparer(const ModelRef& model, const Truncation& truncation, std::stop_token stop);

  // 400 when the request wants texts cut to more than the model reads.
  ApiResult<void> check() const;

  // `path` names the text in errors. Ids are taken as they are, special ones included.
  ApiResult<void> add(const PromptInput& input, std::string_view prompt, const std::string& path);
  // Two texts as one input. Cutting takes from the longer one, as transformers' longest_first does.
  // 400 when the model's file does not say how two texts are joined. What a template joins is never
  // cut, but refused.
  ApiResult<void> add_pair(std::string_view first, std::string_view second,
                           const std::string& path);

  // 400 when a text that goes into several inputs leaves no room for another beside it, and may not
  // be cut.
  ApiResult<void> check_text(std::string_view text, const std::string& path) const;

  PreparedInputs take() { return std::move(out_); }

 private:
  struct Pieces;
  // Of two texts, as the model joins them.
  ApiResult<EmbeddingInput> join(std::string_view first, std::string_view second) const;
  ApiResult<void> add_sequence(EmbeddingInput input, const std::string& path);
  ApiResult<void> check_length(std::span<const std::string_view> texts,
                               const std::string& path) const;
  bool cut(EmbeddingInput& input) const;
  bool is_frame(TokenId id) const;

  const ModelRef& model_;
  const Truncation truncation_;
  const std::stop_token stop_;
  std::size_t max_tokens_ = 0;  // Texts are cut to so many, or refused.
  PreparedInputs out_;
};

}  // namespace hearth
