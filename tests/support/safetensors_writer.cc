#include "tests/support/safetensors_writer.h"

#include <fmt/ranges.h>

#include "tests/support/gguf_writer.h"

namespace hearth::test {

std::vector<std::byte> safetensors_bytes(std::string_view header, std::span<const std::byte> data) {
  ByteSink sink;
  sink.put_text(header).put_bytes(data);
  return sink.take();
}

std::vector<std::byte> safetensors_bytes(const std::vector<PlainTensor>& tensors) {
  std::string header = "{";
  std::vector<std::byte> data;
  for (const PlainTensor& tensor : tensors) {
    header +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    header.size() > 1 ? "," : "", tensor.name, tensor.dtype,
                    fmt::join(tensor.shape, ","), data.size(), data.size() + tensor.data.size());
    data.insert(data.end(), tensor.data.begin(), tensor.data.end());
  }
  return safetensors_bytes(header + "}", data);
}

}  // namespace hearth::test
