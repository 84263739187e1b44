// Typed members of a JSON object, with errors that say where it stands in the file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/status.h"

namespace hearth {

// Borrows the object.
class HfFields {
 public:
  // kDataLoss when `value` is null or no object. `where`: "normalizer", "decoder.decoders[1]".
  static Result<HfFields> of(const json::Value* value, std::string where);
  HfFields(const json::Object& object, std::string where)
      : object_(&object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  // nullptr when absent or null.
  const json::Value* find(std::string_view key) const;

  // Without a fallback a missing member is an error, and always one of another kind.
  Result<std::string> text(std::string_view key) const;
  Result<bool> boolean(std::string_view key, std::optional<bool> fallback = {}) const;
  Result<std::size_t> size(std::string_view key, std::optional<std::size_t> fallback = {}) const;
  Result<const json::Array*> array(std::string_view key) const;
  // The member "type".
  Result<std::string> type() const { return text("type"); }

 private:
  Status wrong(std::string_view key, std::string_view wanted) const;

  const json::Object* object_;
  std::string where_;
};

}  // namespace hearth
