// Steps at which a test can end the process or fill the disk, to prove that every durable step may
// be the last one. They are part of the shipped program, so that what is tested is what runs; only
// who starts the process can set one (--failpoint), and without that each step costs a comparison.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::hub {

// Not thread-safe.
class Failpoints {
 public:
  Failpoints() = default;  // None set.

  // "NAME" or "NAME=kill" ends the process with SIGKILL when the step is about to happen,
  // "NAME=full" makes the step fail as a full disk does; "@N" behind it means the N-th time. An
  // empty text sets none. kInvalidArgument lists the names.
  static Result<Failpoints> parse(std::string_view text);

  // Every name that hit() may be called with.
  static std::span<const std::string_view> names();

  // About to do the step `name`.
  Status hit(std::string_view name);

 private:
  std::string name_;
  bool full_ = false;
  std::size_t times_left_ = 0;
};

}  // namespace hearth::hub
