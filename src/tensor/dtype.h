// The number formats of tensors: one row per format, keyed by what GGUF calls them.
// Source of the numbers and block layouts: the GGUF specification's ggml_type table, but for NF4,
// which is of bitsandbytes and has no number there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace hearth {

enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kI32,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kNF4,
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;      // "Q4_1": the field's spelling, used in output and messages.
  std::uint32_t gguf_type;    // Number in a GGUF tensor directory; of NF4 one of our own.
  std::uint32_t block_len;    // Values per block; rows are whole blocks. 1 for plain formats.
  std::uint32_t block_bytes;  // Bytes per block.
};

const DTypeInfo& dtype_info(DType dtype);
std::span<const DTypeInfo> all_dtypes();
// nullopt for a number this build does not support (see gguf_type_name for its name).
std::optional<DType> dtype_from_gguf(std::uint32_t gguf_type);
std::optional<DType> dtype_from_name(std::string_view name);
// Name of any type number GGUF has ever defined, supported or not; "unknown" beyond.
std::string_view gguf_type_name(std::uint32_t gguf_type);

// Bytes of one row of `row_len` values; row_len must be a multiple of the block length.
std::size_t row_bytes(DType dtype, std::size_t row_len);

}  // namespace hearth
