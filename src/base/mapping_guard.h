// Survival of reads from a mapped file that has become shorter, or whose disk fails.
//
// Such a read raises SIGBUS, whose default is the end of the process. The guard instead lays pages
// of zeros over the hole, so that the read returns, and remembers that the range is lost. Whoever
// computed with it must ask lost() afterwards and throw the result away.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"

namespace hearth {

// Watches one read-only mapping from construction to destruction, which must come before munmap().
// Move only. lost() may be called from any thread; any thread may fault.
//
// The table behind it is the one piece of state in the process that is not passed along: a signal
// handler gets no arguments. A SIGBUS outside watched ranges takes its former course.
class MappingGuard {
 public:
  // kResourceExhausted when too many mappings are watched. Installs the handler when first called.
  static Result<MappingGuard> watch(std::span<const std::byte> mapping);

  MappingGuard() = default;
  MappingGuard(MappingGuard&& other) noexcept;
  MappingGuard& operator=(MappingGuard&& other) noexcept;
  ~MappingGuard();

  // A read from the range has failed at some time; what was read since may be zeros.
  bool lost() const;

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  explicit MappingGuard(std::size_t slot) : slot_(slot) {}

  std::size_t slot_ = kNone;
};

}  // namespace hearth
