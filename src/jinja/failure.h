// How errors travel inside this module: as an exception, caught at its face (template.cc) and
// turned into a Status there. Never crosses the module's border.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace hearth::jinja {

struct Failure {
  StatusCode code;
  std::string message;
  std::uint32_t offset;  // Byte of the template source.
};

template <typename... Args>
[[noreturn]] void fail_at(std::uint32_t offset, fmt::format_string<Args...> format,
                          Args&&... args) {
  throw Failure{StatusCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...),
                offset};
}

// 1-based; columns count code points.
struct SourcePosition {
  std::size_t line = 1;
  std::size_t column = 1;
};
SourcePosition locate(std::string_view source, std::size_t offset);

}  // namespace hearth::jinja
