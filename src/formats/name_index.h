// Finds entries by name. Built once over untrusted names, so it sorts instead of hashing: no choice
// of names makes it slow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

// Holds positions only: the names stay with their owner, who passes the same accessor to both
// calls. Reading from several threads is safe.
class NameIndex {
 public:
  // The name of entry `idx`; the views must stay valid while the index is used.
  using NameAt = std::function<std::string_view(std::size_t idx)>;

  NameIndex() = default;

  // kDataLoss, with `what` and the name, when two of the `count` entries share one.
  static Result<NameIndex> build(std::size_t count, std::string_view what, const NameAt& name_at);

  std::optional<std::size_t> find(std::string_view name, const NameAt& name_at) const;

 private:
  std::vector<std::uint32_t> by_name_;
};

}  // namespace hearth
