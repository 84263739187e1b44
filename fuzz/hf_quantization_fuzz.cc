// Quantized matrices of a Hugging Face directory: a line of config.json, then a safetensors file.
// Any parts become matrices or an error, and matrices have the bytes that their shape needs.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "models/hf_quantization.h"

namespace {

hearth::Status read(std::string_view config, std::span<const std::byte> bytes) {
  HEARTH_ASSIGN_OR_RETURN(const auto value,
                          hearth::parse_model_json(config, std::size_t{1} << 20, "config.json"));
  if (value.as_object() == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(auto tensors, hearth::read_safetensors(bytes));
  hearth::ModelFileContent content;
  HEARTH_ASSIGN_OR_RETURN(
      const auto matrices,
      hearth::unpack_hf_quantized(hearth::HfObject(*value.as_object(), "config.json"),
                                  *hearth::find_hf_family("LlamaForCausalLM"), tensors, content));
  for (const hearth::TensorView& matrix : matrices) {
    HEARTH_CHECK(matrix.data.size() ==
                 matrix.shape.num_rows() * hearth::row_bytes(matrix.dtype, matrix.shape.row_len()));
  }
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return 0;
  // A copy, so that reading beyond it is noticed.
  const auto file = std::as_bytes(std::span(data, size)).subspan(end + 1);
  const std::vector<std::byte> bytes(file.begin(), file.end());
  (void)read(text.substr(0, end), bytes).ok();
  return 0;
}
