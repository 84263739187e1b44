// Any bytes are parsed or refused with an offset inside the text; what was parsed reads back to the
// same value from each style of writing.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hearth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto value = json::parse_detailed(text);
  if (!value.has_value()) {
    HEARTH_CHECK(value.error().offset <= size);
    return 0;
  }
  for (const json::DumpStyle& style :
       {json::DumpStyle{}, json::DumpStyle{.indent = 1, .ascii_only = true}}) {
    const auto again = json::parse_detailed(json::dump(*value, style));
    HEARTH_CHECK(again.has_value() && *again == *value);
  }
  return 0;
}
