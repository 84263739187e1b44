// Tokens to a syntax tree.
#pragma once

#include <memory>
#include <string_view>

#include "jinja/ast.h"

namespace hearth::jinja {

// `source` is normalized. Blocks, brackets and operators nested deeper than `max_depth` are
// refused. Throws Failure.
std::unique_ptr<const Tree> parse(std::string_view source, std::size_t max_depth);

}  // namespace hearth::jinja
