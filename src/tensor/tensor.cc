#include "tensor/tensor.h"

#include <fmt/ranges.h>

namespace hearth {

std::uint64_t Shape::num_elements() const {
  std::uint64_t product = 1;
  for (std::uint32_t i = 0; i < rank; ++i)
    product *= dims[i];
  return product;
}

std::string Shape::to_string() const {
  return fmt::format("[{}]", fmt::join(dims.begin(), dims.begin() + rank, ", "));
}

}  // namespace hearth
