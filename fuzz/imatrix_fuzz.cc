// Importance matrices in both of their forms: any bytes load or fail, and what loads is found by
// its name or refused for its width.
#include <cstddef>
#include <cstdint>
#include <span>

#include "compress/imatrix.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto imatrix = hearth::Imatrix::parse("fuzz", std::as_bytes(std::span(data, size)));
  if (!imatrix.has_value()) return 0;
  hearth::TensorView tensor;
  tensor.name = "blk.0.attn_q.weight";
  tensor.shape = {.dims = {2, 2, 2, 1}, .rank = 3};
  const auto found = imatrix->find(tensor);
  if (!found.has_value()) return 0;
  for (const float value : *found)
    if (!(value >= 0.0f)) __builtin_trap();
  return 0;
}
