// Writes safetensors files for tests: well-formed ones from tensors, or any header over any data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::test {

// The length of the header, the header, the data.
std::vector<std::byte> safetensors_bytes(std::string_view header, std::span<const std::byte> data);

struct PlainTensor {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> data;
};

// The tensors one after the other, in this order.
std::vector<std::byte> safetensors_bytes(const std::vector<PlainTensor>& tensors);

}  // namespace hearth::test
