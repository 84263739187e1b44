// Importance matrices: how much each input of a model's matrices counts, as the mean of its squares
// over a calibration text. Read from the files of llama.cpp's imatrix tool, in its GGUF form and in
// the older one (.dat).
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/tensor.h"

namespace hearth {

// Immutable; safe from several threads.
class Imatrix {
 public:
  // kNotFound, or kDataLoss naming what is malformed, also when a value is negative or no number.
  static Result<Imatrix> open(const std::filesystem::path& path);

  // The same for a file in memory, whose first byte is at a multiple of 8.
  static Result<Imatrix> parse(std::string name, std::span<const std::byte> bytes);

  // By the names of GGUF tensors; [row_len], or [matrices, row_len] for a stack of them.
  explicit Imatrix(std::string name, std::map<std::string, std::vector<float>, std::less<>> values)
      : name_(std::move(name)), values_(std::move(values)) {}

  const std::string& name() const { return name_; }  // Of the file.
  std::size_t size() const { return values_.size(); }

  // Empty when the tensor is not in it; kDataLoss when it is there with another width.
  Result<std::span<const float>> find(const TensorView& tensor) const;

 private:
  std::string name_;
  std::map<std::string, std::vector<float>, std::less<>> values_;
};

}  // namespace hearth
