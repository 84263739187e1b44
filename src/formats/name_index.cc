#include "formats/name_index.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace hearth {

Result<NameIndex> NameIndex::build(std::size_t count, std::string_view what,
                                   const NameAt& name_at) {
  HEARTH_CHECK(count <= std::numeric_limits<std::uint32_t>::max());
  NameIndex index;
  index.by_name_.resize(count);
  std::iota(index.by_name_.begin(), index.by_name_.end(), 0U);
  std::ranges::sort(index.by_name_, {}, name_at);
  const auto twin = std::ranges::adjacent_find(index.by_name_, {}, name_at);
  if (twin != index.by_name_.end()) {
    return error(StatusCode::kDataLoss, "{} '{}' is there twice", what, name_at(*twin));
  }
  return index;
}

std::optional<std::size_t> NameIndex::find(std::string_view name, const NameAt& name_at) const {
  const auto it = std::ranges::lower_bound(by_name_, name, {}, name_at);
  if (it == by_name_.end() || name_at(*it) != name) return std::nullopt;
  return *it;
}

}  // namespace hearth
