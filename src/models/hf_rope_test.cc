// Rotations by config.json against the angles that transformers computes.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/hf_directory.h"
#include "models/rope.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

std::vector<float> numbers_of(const json::Value& value) {
  std::vector<float> numbers;
  for (const json::Value& item : *value.as_array()) {
    double number = 0.0;
    EXPECT_TRUE(item.to_double(number));
    numbers.push_back(static_cast<float>(number));
  }
  return numbers;
}

// As rotated by the configuration; the weights do not matter.
RopeConfig rope_of(const json::Value& config) {
  const test::TempDirectory directory;
  std::filesystem::copy("tests/golden/hf/llama-tied", directory.path(),
                        std::filesystem::copy_options::recursive);
  EXPECT_TRUE(write_file_atomically(directory.path() / "config.json", json::dump(config)).ok());
  const auto file = open_hf_directory(directory.path());
  EXPECT_TRUE(file.has_value()) << file.error().to_string();
  const auto read = read_model_config(*file);
  EXPECT_TRUE(read.has_value()) << read.error().to_string();
  return read->rope;
}

std::vector<float> angles_of(const RopeConfig& config, std::size_t max_positions) {
  const std::array<std::int32_t, 1> position = {1};
  std::vector<float> angles(config.rope_dim);
  Rope(config, max_positions).write_angles(position, angles);
  return angles;
}

TEST(HfRope, EverySpellingHasTheAnglesOfTransformers) {
  const std::string text = read_text_file("tests/golden/hf/rope.json", 1u << 20).value();
  const json::Value cases = json::parse(text).value();
  ASSERT_GE(cases.as_array()->size(), 30u);
  for (const json::Value& item : *cases.as_array()) {
    const json::Object& object = *item.as_object();
    SCOPED_TRACE(*object.find("name")->as_string());
    std::int64_t length = 0;
    ASSERT_TRUE(object.find("length")->to_int64(length));
    const auto angles =
        angles_of(rope_of(*object.find("config")), static_cast<std::size_t>(length));
    const auto cos = numbers_of(*object.find("cos"));
    const auto sin = numbers_of(*object.find("sin"));
    ASSERT_EQ(angles.size(), 2 * cos.size());
    for (std::size_t i = 0; i < cos.size(); ++i) {
      EXPECT_NEAR(angles[2 * i], cos[i], 1e-6f) << i;
      EXPECT_NEAR(angles[2 * i + 1], sin[i], std::abs(sin[i]) * 1e-5f) << i;
    }
  }
}

}  // namespace
}  // namespace hearth
