// The safetensors reader: any bytes load or fail, and what loads lies in the file without overlap
// or hole.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "formats/safetensors.h"
#include "tensor/finite.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto tensors = hearth::read_safetensors(bytes);
  if (!tensors.has_value()) return 0;
  const std::byte* const end = bytes.data() + bytes.size();
  const std::byte* next = nullptr;
  for (const hearth::SafetensorsTensor& tensor : *tensors) {
    HEARTH_CHECK(next == nullptr || tensor.data.data() == next);
    next = tensor.data.data() + tensor.data.size();
    HEARTH_CHECK(next <= end);
    const auto view = hearth::to_tensor_view(tensor);
    if (!view.has_value()) continue;
    HEARTH_CHECK(view->data.size() ==
                 view->shape.num_elements() * hearth::dtype_info(view->dtype).block_bytes);
    // Reads to the tensor's last byte.
    (void)hearth::all_finite(view->dtype, view->data);
  }
  HEARTH_CHECK(next == nullptr || next == end);
  return 0;
}
