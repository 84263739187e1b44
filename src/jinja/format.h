// printf-style formatting ("%s" % value) and str.format.
#pragma once

#include "jinja/runtime.h"

namespace hearth::jinja {

// `arguments`: a tuple of values, a dict for "%(name)s", or one value.
Value format_percent(Runtime& runtime, const Text& format, const Value& arguments);
Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments);

}  // namespace hearth::jinja
