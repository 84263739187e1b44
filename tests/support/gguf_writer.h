// Writes GGUF files for tests: well-formed ones from typed values, and deliberately malformed ones
// by overriding single fields of an otherwise well-formed file.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tensor/tensor.h"

namespace hearth::test {

// Numbers of the value types as they stand in a file.
namespace gguf_value {
inline constexpr std::uint32_t kUint8 = 0, kInt8 = 1, kUint16 = 2, kInt16 = 3, kUint32 = 4,
                               kInt32 = 5, kFloat32 = 6, kBool = 7, kText = 8, kArray = 9,
                               kUint64 = 10, kInt64 = 11, kFloat64 = 12;

template <typename T>
constexpr std::uint32_t type_of() {
  if constexpr (std::is_same_v<T, std::uint8_t>) return kUint8;
  if constexpr (std::is_same_v<T, std::int8_t>) return kInt8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return kUint16;
  if constexpr (std::is_same_v<T, std::int16_t>) return kInt16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return kUint32;
  if constexpr (std::is_same_v<T, std::int32_t>) return kInt32;
  if constexpr (std::is_same_v<T, float>) return kFloat32;
  if constexpr (std::is_same_v<T, bool>) return kBool;
  if constexpr (std::is_same_v<T, std::uint64_t>) return kUint64;
  if constexpr (std::is_same_v<T, std::int64_t>) return kInt64;
  if constexpr (std::is_same_v<T, double>) return kFloat64;
}
}  // namespace gguf_value

// Little-endian bytes put one after the other.
class ByteSink {
 public:
  template <typename T>
    requires std::is_arithmetic_v<T>
  ByteSink& put(T value) {
    const std::size_t end = bytes_.size();
    bytes_.resize(end + sizeof(T));
    std::memcpy(bytes_.data() + end, &value, sizeof(T));
    return *this;
  }
  ByteSink& put_bytes(std::span<const std::byte> bytes);
  ByteSink& put_text(std::string_view text);  // Length as uint64, then the bytes.
  ByteSink& pad_to(std::size_t alignment);

  std::span<const std::byte> bytes() const { return bytes_; }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// A tensor info and its data. All fields stand in the file as they are here.
struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  // Innermost first, as in the file.
  std::uint32_t type = 0;
  std::vector<std::byte> data;
  std::optional<std::uint64_t> offset;    // Default: right behind the tensor before, aligned.
  std::optional<std::uint32_t> num_dims;  // Default: how many `dims` has.
};

// Values are written in the order they were added, and nothing is checked.
class GgufWriter {
 public:
  // Fields of the header; the counts default to what was added.
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> num_tensors;
  std::optional<std::uint64_t> num_entries;
  // Of the data section and the tensors in it. The key general.alignment is only written by add().
  std::size_t alignment = 32;

  template <typename T>
    requires std::is_arithmetic_v<T>
  void add(std::string_view key, T value) {
    ByteSink payload;
    payload.put(value);
    add_raw(key, gguf_value::type_of<T>(), payload.bytes());
  }
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
  template <typename T>
    requires std::is_arithmetic_v<T>
  void add(std::string_view key, const std::vector<T>& values) {
    ByteSink payload;
    payload.put(gguf_value::type_of<T>()).put(std::uint64_t{values.size()});
    for (const T value : values) {
      payload.put(value);
    }
    add_raw(key, gguf_value::kArray, payload.bytes());
  }
  void add(std::string_view key, const std::vector<std::string>& texts);
  // A value of any type number with any bytes behind it.
  void add_raw(std::string_view key, std::uint32_t value_type, std::span<const std::byte> payload);

  // `values` are stored in `dtype`, row by row; there are shape.num_elements() of them. Formats
  // that are only read get random blocks instead.
  void add_tensor(std::string_view name, DType dtype, const Shape& shape,
                  std::span<const float> values);
  void add_tensor(GgufTensor tensor) { tensors_.push_back(std::move(tensor)); }
  std::vector<GgufTensor>& tensors() { return tensors_; }

  std::vector<std::byte> bytes() const;
  // Fails the process when the file cannot be written: a test without its file means nothing.
  void write(const std::filesystem::path& path) const;

 private:
  ByteSink metadata_;
  std::uint64_t num_added_entries_ = 0;
  std::vector<GgufTensor> tensors_;
};

Shape shape_of(std::initializer_list<std::uint64_t> dims);  // Outermost first.

void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace hearth::test
