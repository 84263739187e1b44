#include "server/request_values.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "server/schema.h"

namespace hearth {

ApiResult<std::vector<TokenId>> token_ids(const json::Array& array, const std::string& path,
                                          std::size_t vocab_size) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  const std::int64_t last = static_cast<std::int64_t>(vocab_size) - 1;
  for (std::size_t i = 0; i < array.size(); ++i) {
    std::int64_t id = 0;
    if (array[i].is_number() && array[i].to_int64(id) && id > last) {
      return std::unexpected(invalid_field(
          path, "token_out_of_range",
          fmt::format(
              "Token id {} at position {} is outside this model's vocabulary of {} tokens. "
              "Clients made for OpenAI's models (LangChain, for one) may send ids of OpenAI's "
              "own tokenizer; have them send text.",
              id, i, vocab_size)));
    }
    API_ASSIGN_OR_RETURN(id, integer_item(array[i], fmt::format("{}[{}]", path, i), 0, last));
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

namespace {

// One prompt of a list: text, or a list of ids.
ApiResult<PromptInput> read_one(const json::Value& value, const std::string& path,
                                std::size_t vocab_size) {
  if (const std::string* text = value.as_string()) return PromptInput(*text);
  if (const json::Array* ids = value.as_array()) {
    API_ASSIGN_OR_RETURN(auto tokens, token_ids(*ids, path, vocab_size));
    return PromptInput(std::move(tokens));
  }
  return std::unexpected(
      invalid_field(path, "invalid_type",
                    fmt::format("'{}' must be a string or a list of token ids, but {} was given.",
                                path, value.type_name())));
}

}  // namespace

ApiResult<std::vector<PromptInput>> text_or_ids_list(const ListField& field,
                                                     std::size_t vocab_size) {
  const json::Array* list = field.value.as_array();
  const bool is_list = list != nullptr && !list->empty() && !list->front().is_number();
  std::vector<PromptInput> prompts;
  if (!is_list) {
    API_ASSIGN_OR_RETURN(auto prompt, read_one(field.value, std::string(field.name), vocab_size));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (list->size() > field.max_items) {
    return std::unexpected(
        invalid_field(std::string(field.name), "value_out_of_range",
                      fmt::format("'{}' may hold at most {} texts, but it has {}.", field.name,
                                  field.max_items, list->size())));
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    API_ASSIGN_OR_RETURN(auto prompt,
                         read_one((*list)[i], fmt::format("{}[{}]", field.name, i), vocab_size));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace hearth
