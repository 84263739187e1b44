// From Oniguruma's dialect of regular expressions to PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth {

// An expression for PCRE2 (with UTF, UCP and MULTILINE) that matches as `pattern` does in
// Oniguruma. kUnimplemented names what has no translation here.
Result<std::string> translate_regex(std::string_view pattern);

// The beginning of a pattern, for messages.
std::string pattern_excerpt(std::string_view pattern);

}  // namespace hearth
