#include "tests/support/gguf_writer.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "base/status.h"
#include "tensor/quantize.h"
#include "tests/support/random_blocks.h"

namespace hearth::test {

ByteSink& ByteSink::put_bytes(std::span<const std::byte> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

ByteSink& ByteSink::put_text(std::string_view text) {
  put(std::uint64_t{text.size()});
  return put_bytes(std::as_bytes(std::span(text.data(), text.size())));
}

ByteSink& ByteSink::pad_to(std::size_t alignment) {
  if (alignment != 0) bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  return *this;
}

void GgufWriter::add(std::string_view key, std::string_view text) {
  ByteSink payload;
  payload.put_text(text);
  add_raw(key, gguf_value::kText, payload.bytes());
}

void GgufWriter::add(std::string_view key, const std::vector<std::string>& texts) {
  ByteSink payload;
  payload.put(gguf_value::kText).put(std::uint64_t{texts.size()});
  for (const std::string& text : texts) {
    payload.put_text(text);
  }
  add_raw(key, gguf_value::kArray, payload.bytes());
}

void GgufWriter::add_raw(std::string_view key, std::uint32_t value_type,
                         std::span<const std::byte> payload) {
  metadata_.put_text(key).put(value_type).put_bytes(payload);
  ++num_added_entries_;
}

void GgufWriter::add_tensor(std::string_view name, DType dtype, const Shape& shape,
                            std::span<const float> values) {
  HEARTH_CHECK(values.size() == shape.num_elements());
  GgufTensor tensor;
  tensor.name = name;
  tensor.dims.assign(shape.dims.begin(), shape.dims.begin() + shape.rank);
  std::ranges::reverse(tensor.dims);
  tensor.type = dtype_info(dtype).gguf_type;
  if (!can_quantize(dtype)) {
    const auto seed = static_cast<std::uint32_t>(tensors_.size());
    tensor.data = random_blocks(dtype, values.size(), seed);
    tensors_.push_back(std::move(tensor));
    return;
  }
  tensor.data.resize(row_bytes(dtype, values.size()));
  const std::size_t stride = row_bytes(dtype, shape.row_len());
  for (std::size_t row = 0; row < shape.num_rows(); ++row) {
    quantize_row(dtype, values.subspan(row * shape.row_len(), shape.row_len()),
                 std::span(tensor.data).subspan(row * stride, stride));
  }
  tensors_.push_back(std::move(tensor));
}

std::vector<std::byte> GgufWriter::bytes() const {
  ByteSink file;
  file.put_bytes(std::as_bytes(std::span(magic.data(), magic.size()))).put(version);
  file.put(num_tensors.value_or(tensors_.size())).put(num_entries.value_or(num_added_entries_));
  file.put_bytes(metadata_.bytes());
  ByteSink data;
  for (const GgufTensor& tensor : tensors_) {
    data.pad_to(alignment);
    file.put_text(tensor.name);
    file.put(tensor.num_dims.value_or(static_cast<std::uint32_t>(tensor.dims.size())));
    for (const std::uint64_t dim : tensor.dims) {
      file.put(dim);
    }
    file.put(tensor.type).put(tensor.offset.value_or(data.bytes().size()));
    data.put_bytes(tensor.data);
  }
  file.pad_to(alignment).put_bytes(data.bytes());
  return file.take();
}

void GgufWriter::write(const std::filesystem::path& path) const {
  write_bytes(path, bytes());
}

Shape shape_of(std::initializer_list<std::uint64_t> dims) {
  HEARTH_CHECK(dims.size() >= 1 && dims.size() <= 4);
  Shape shape;
  shape.rank = static_cast<std::uint32_t>(dims.size());
  std::ranges::copy(dims, shape.dims.begin());
  return shape;
}

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  HEARTH_CHECK(file.good());
}

}  // namespace hearth::test
