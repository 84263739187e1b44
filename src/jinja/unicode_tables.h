// Generated tables behind unicode.h; see tools/generate/make_unicode_tables.py.
#pragma once

#include <array>

#include "jinja/unicode.h"

namespace hearth::jinja {

struct CodePointRange {
  char32_t first, last;
};

// A code point whose mapping is longer than one code point. Sorted.
struct SpecialCase {
  char32_t code_point;
  CaseMapping mapping;
};

extern const std::array<SpecialCase, 102> kSpecialUpper;
extern const std::array<SpecialCase, 48> kSpecialTitle;
extern const std::array<SpecialCase, 104> kSpecialFold;
extern const std::array<CodePointRange, 20> kOtherDigits;
extern const std::array<CodePointRange, 72> kOtherNumerics;

}  // namespace hearth::jinja
