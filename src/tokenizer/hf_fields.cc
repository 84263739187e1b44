#include "tokenizer/hf_fields.h"

#include <utility>

namespace hearth {

Result<HfFields> HfFields::of(const json::Value* value, std::string where) {
  const json::Object* object = value == nullptr ? nullptr : value->as_object();
  if (object == nullptr) {
    return error(StatusCode::kDataLoss, "'{}' is {}, not an object", where,
                 value == nullptr ? "missing" : value->type_name());
  }
  return HfFields(*object, std::move(where));
}

const json::Value* HfFields::find(std::string_view key) const {
  const json::Value* value = object_->find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Status HfFields::wrong(std::string_view key, std::string_view wanted) const {
  const json::Value* value = find(key);
  return make_status(StatusCode::kDataLoss, "'{}.{}' is {}, not {}", where_, key,
                     value == nullptr ? "missing" : value->type_name(), wanted);
}

Result<std::string> HfFields::text(std::string_view key) const {
  const json::Value* value = find(key);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  if (text == nullptr) return std::unexpected(wrong(key, "a string"));
  return *text;
}

Result<bool> HfFields::boolean(std::string_view key, std::optional<bool> fallback) const {
  const json::Value* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  const bool* boolean = value == nullptr ? nullptr : value->as_bool();
  if (boolean == nullptr) return std::unexpected(wrong(key, "a boolean"));
  return *boolean;
}

Result<std::size_t> HfFields::size(std::string_view key,
                                   std::optional<std::size_t> fallback) const {
  const json::Value* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  std::uint64_t number = 0;
  if (value == nullptr || !value->to_uint64(number)) {
    return std::unexpected(wrong(key, "a number from 0 on"));
  }
  return static_cast<std::size_t>(number);
}

Result<const json::Array*> HfFields::array(std::string_view key) const {
  const json::Value* value = find(key);
  const json::Array* array = value == nullptr ? nullptr : value->as_array();
  if (array == nullptr) return std::unexpected(wrong(key, "an array"));
  return array;
}

}  // namespace hearth
