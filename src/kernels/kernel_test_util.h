// Shared by the tests of this module.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/kernels.h"

namespace hearth {

using Floats = std::vector<float>;

inline Floats random_floats(std::size_t count, std::uint32_t seed, float spread = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, spread);
  Floats values(count);
  for (float& value : values)
    value = distribution(generator);
  return values;
}

inline std::unique_ptr<Device> make_device(std::string_view kernels, std::size_t num_threads = 1) {
  auto device = make_cpu_device({.num_threads = num_threads, .kernels = kernels});
  EXPECT_TRUE(device.has_value());
  return std::move(*device);
}

inline std::vector<std::string> supported_sets() {
  std::vector<std::string> names;
  for (const KernelSetInfo& set : kernel_sets()) {
    if (set.supported) names.emplace_back(set.name);
  }
  return names;
}

inline MatrixView view(Floats& data, std::size_t rows) {
  const std::size_t cols = data.size() / rows;
  return {data.data(), rows, cols, cols};
}

inline ConstMatrixView const_view(const Floats& data, std::size_t rows) {
  const std::size_t cols = data.size() / rows;
  return {data.data(), rows, cols, cols};
}

inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace hearth
