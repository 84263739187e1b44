// Values that the bodies of several endpoints hold, read and checked.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "server/api_error.h"
#include "tokenizer/tokenizer.h"

// The same shape as HEARTH_ASSIGN_OR_RETURN, for ApiResult.
#define API_ASSIGN_OR_RETURN(declaration, expression) \
  API_ASSIGN_OR_RETURN_IMPL(HEARTH_CONCAT(api_result_, __LINE__), declaration, expression)
#define API_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                      \
  if (!result) return std::unexpected(std::move(result).error());  \
  declaration = *std::move(result)

namespace hearth {

// A text, or the ids of one.
using PromptInput = std::variant<std::string, std::vector<TokenId>>;

// All ids are in [0, vocab_size). `path` names the array in errors.
ApiResult<std::vector<TokenId>> token_ids(const json::Array& array, const std::string& path,
                                          std::size_t vocab_size);

struct ListField {
  const json::Value& value;
  std::string_view name;
  std::size_t max_items = 0;
};

// A text, a list of ids, or a list of either: at least one.
ApiResult<std::vector<PromptInput>> text_or_ids_list(const ListField& field,
                                                     std::size_t vocab_size);

}  // namespace hearth
