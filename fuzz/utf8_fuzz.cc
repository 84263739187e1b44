// The views of one text agree with each other: validity, the first malformed byte, repair, code
// points and what a stream holds back.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hearth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string repaired = utf8::sanitize(text);
  HEARTH_CHECK(utf8::is_valid(repaired));
  HEARTH_CHECK((repaired == text) == utf8::is_valid(text));
  const std::size_t first_invalid = utf8::first_invalid(text);
  HEARTH_CHECK(utf8::is_valid(text.substr(0, first_invalid)));

  std::string encoded;
  for (const char32_t code_point : utf8::to_code_points(text))
    utf8::append(encoded, code_point);
  HEARTH_CHECK(encoded == repaired);

  const std::size_t held_back = utf8::incomplete_suffix_length(text);
  HEARTH_CHECK(held_back <= 3 && held_back <= size);
  HEARTH_CHECK(held_back == 0 || !utf8::is_valid(text.substr(size - held_back)));
  return 0;
}
