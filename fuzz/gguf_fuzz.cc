// The GGUF reader and the plain dequantizers behind it: any bytes load or fail, and what loads can
// be read to its last byte.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "formats/model_file.h"
#include "tensor/quantize.h"

namespace {

void read_metadata(const hearth::ModelFile& file) {
  for (const hearth::MetadataEntry& entry : file.metadata()) {
    HEARTH_CHECK(file.find(entry.key) == &entry.value);
    // Each look-up either converts or refuses, whatever the type.
    (void)file.find_text(entry.key).has_value();
    (void)file.find_uint32(entry.key).has_value();
    (void)file.find_double(entry.key).has_value();
    (void)file.find_bool(entry.key).has_value();
    const auto texts = file.find_texts(entry.key);
    if (!texts.has_value()) continue;
    for (const std::string_view text : **texts) {
      if (!text.empty()) (void)(text.front() == text.back());
    }
  }
}

void read_tensor(const hearth::ModelFile& file, const hearth::TensorView& tensor) {
  constexpr std::size_t kMaxValues = 4096;
  HEARTH_CHECK(file.find_tensor(tensor.name) == &tensor);
  const std::size_t bytes_per_row = hearth::row_bytes(tensor.dtype, tensor.shape.row_len());
  HEARTH_CHECK(tensor.data.size() == tensor.shape.num_rows() * bytes_per_row);
  static std::array<float, kMaxValues> values;
  if (tensor.shape.row_len() > kMaxValues) return;
  // The last row: its end is the tensor's end.
  hearth::dequantize_row(tensor.dtype, tensor.data.last(bytes_per_row),
                         std::span(values).first(tensor.shape.row_len()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = hearth::ModelFile::parse(std::as_bytes(std::span(data, size)));
  if (!file.has_value()) return 0;
  read_metadata(*file);
  for (const hearth::TensorView& tensor : file->tensors()) {
    read_tensor(*file, tensor);
  }
  return 0;
}
