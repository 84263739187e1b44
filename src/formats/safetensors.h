// Reads the directory of one safetensors file: the JSON header with names, types, shapes and
// offsets, never the tensor data. Format: the safetensors specification (8 bytes of header length,
// little-endian; a JSON object; one buffer that the tensors fill without overlap or hole).
//
// The bytes are untrusted; every field is checked before use. What comes out can be used without
// further checks: each tensor's data lies inside the file and has exactly the bytes that its type
// and shape need, and no two tensors share a byte or a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tensor/tensor.h"

namespace hearth {

// One tensor as the file describes it. Its type may be one that we cannot compute with: models
// carry masks and counters that nobody reads. Borrows `data` from the file.
struct SafetensorsTensor {
  std::string name;
  std::string_view type;  // "BF16": the file's spelling, a static string.
  Shape shape;            // Rank 0: a single value.
  std::span<const std::byte> data;
};

// Ordered by place in the file. kDataLoss names what is malformed, kOutOfRange a header beyond the
// format's limit of 100 MB or beyond ours, kUnimplemented an unknown type or too many dimensions.
Result<std::vector<SafetensorsTensor>> read_safetensors(std::span<const std::byte> bytes);

// The tensor for use in a model: kUnimplemented, with the types that are supported, for others than
// F32, F16 and BF16; kDataLoss when it has no element.
Result<TensorView> to_tensor_view(const SafetensorsTensor& tensor);

// Parses a JSON text of up to `max_bytes` that describes a model. Memory stays bounded: a text of
// more than a million commas and brackets is refused (kOutOfRange) before it becomes a tree.
// Malformed text is kDataLoss. `what` begins every message.
Result<json::Value> parse_model_json(std::string_view text, std::size_t max_bytes,
                                     std::string_view what);

}  // namespace hearth
