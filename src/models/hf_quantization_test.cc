#include "models/hf_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "models/hf_directory.h"
#include "models/model_test_util.h"
#include "tensor/quant_blocks.h"
#include "tensor/quantize.h"
#include "tests/support/safetensors_writer.h"

namespace hearth {
namespace {

using test::ModelHarness;
using ::testing::HasSubstr;

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path("tests/golden/hf_quantized") / name;
}

std::vector<float> golden_values(const std::string& name) {
  const auto file = MappedFile::open(golden(name + ".f32")).value();
  std::vector<float> values(file.bytes().size() / sizeof(float));
  std::memcpy(values.data(), file.bytes().data(), file.bytes().size());
  return values;
}

struct MethodCase {
  std::string name;
  DType dtype;
  // Of values, as a share of the largest one: what the row of hf_quantization.h says is rounded.
  float error = 0.0f;
};

class HfQuantized : public ::testing::TestWithParam<MethodCase> {};

TEST_P(HfQuantized, HasTheValuesThatItsProgramGives) {
  const ModelFile file = open_hf_directory(golden(GetParam().name)).value();
  const TensorView* tensor = file.find_tensor("blk.0.ffn_down.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, GetParam().dtype);
  const auto expected = golden_values(GetParam().name);
  ASSERT_EQ(tensor->shape.num_elements(), expected.size());
  std::vector<float> values(expected.size());
  dequantize_row(tensor->dtype, tensor->data, values);
  const float largest = std::abs(
      *std::ranges::max_element(expected, {}, [](float value) { return std::abs(value); }));
  ASSERT_GT(largest, 0.05f);
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_NEAR(values[i], expected[i], GetParam().error * largest) << i;
}

TEST_P(HfQuantized, IsAWholeModel) {
  ModelHarness harness(open_hf_directory(golden(GetParam().name)).value());
  for (const auto& logits : harness.step({{0, 0, {1, 2, 3}}}))
    EXPECT_TRUE(std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); }));
}

constexpr float kHalf = 0x1p-11f;  // Of a float16's last digit.

INSTANTIATE_TEST_SUITE_P(
    Methods, HfQuantized,
    ::testing::Values(
        MethodCase{"nf4", DType::kNF4}, MethodCase{"nf4-nested", DType::kNF4, 1e-6f},
        MethodCase{"int8", DType::kQ8_0, 2 * kHalf}, MethodCase{"gptq-4bit", DType::kQ4_0},
        MethodCase{"gptq-4bit-zeros", DType::kQ4_1, 2 * kHalf},
        MethodCase{"gptq-4bit-act-order", DType::kF16, kHalf},
        MethodCase{"gptq-8bit", DType::kQ8_0}, MethodCase{"awq", DType::kQ4_1, 2 * kHalf},
        MethodCase{"fp8", DType::kBF16}, MethodCase{"compressed-w4a16", DType::kQ4_0},
        MethodCase{"compressed-w4a16-zeros", DType::kQ4_1, 2 * kHalf},
        MethodCase{"compressed-w8a8", DType::kQ8_0}, MethodCase{"compressed-fp8", DType::kBF16}),
    [](const auto& case_info) {
      std::string name = case_info.param.name;
      std::ranges::replace(name, '-', '_');
      return name;
    });

using test::PlainTensor;

// Zeros of that type and shape.
PlainTensor part(std::string name, std::string type, std::vector<std::uint64_t> shape) {
  std::size_t size = type == "I32" || type == "F32" ? 4 : type == "I64" ? 8 : type == "F16" ? 2 : 1;
  for (const std::uint64_t dim : shape)
    size *= dim;
  return {std::move(name), std::move(type), std::move(shape), std::vector<std::byte>(size)};
}

PlainTensor text_part(std::string name, std::string_view text) {
  PlainTensor tensor = part(std::move(name), "U8", {text.size()});
  std::memcpy(tensor.data.data(), text.data(), text.size());
  return tensor;
}

Result<std::vector<TensorView>> unpack(const std::string& quantization,
                                       const std::vector<PlainTensor>& parts,
                                       ModelFileContent& content) {
  const auto bytes = test::safetensors_bytes(parts);
  auto tensors = read_safetensors(bytes).value();
  const json::Value config = json::parse(R"({"quantization_config":)" + quantization + "}").value();
  return unpack_hf_quantized(HfObject(*config.as_object(), "config.json"),
                             *find_hf_family("LlamaForCausalLM"), tensors, content);
}

Status unpack_status(const std::string& quantization, const std::vector<PlainTensor>& parts) {
  ModelFileContent content;
  const auto matrices = unpack(quantization, parts, content);
  return matrices.has_value() ? Status() : matrices.error();
}

constexpr const char* kGptq = R"({"quant_method":"gptq","bits":4})";
constexpr const char* kBitsandbytes = R"({"quant_method":"bitsandbytes"})";
constexpr const char* kCompressed = R"({"quant_method":"compressed-tensors","format":"some"})";
constexpr const char* kFp8 = R"({"quant_method":"fp8","weight_block_size":[8,8]})";

// 64 inputs, 8 outputs, two groups.
std::vector<PlainTensor> gptq_parts() {
  return {part("x.qweight", "I32", {8, 8}), part("x.qzeros", "I32", {2, 1}),
          part("x.scales", "F16", {2, 8}), part("x.g_idx", "I32", {64})};
}

std::vector<PlainTensor> nf4_parts(std::string_view state) {
  PlainTensor levels = part("x.weight.quant_map", "F32", {16});
  std::memcpy(levels.data.data(), kNF4Levels, sizeof(kNF4Levels));
  return {part("x.weight", "U8", {256, 1}), part("x.weight.absmax", "F32", {8}), levels,
          text_part("x.weight.quant_state.bitsandbytes__nf4", state)};
}

std::vector<PlainTensor> nested_parts(std::string_view state) {
  std::vector<PlainTensor> parts = nf4_parts(state);
  parts[1] = part("x.weight.absmax", "U8", {8});
  parts.push_back(part("x.weight.nested_absmax", "F32", {1}));
  parts.push_back(part("x.weight.nested_quant_map", "F32", {256}));
  return parts;
}

std::vector<PlainTensor> int8_parts(std::uint8_t format) {
  PlainTensor order = part("x.weight_format", "U8", {});
  order.data[0] = std::byte{format};
  return {part("x.weight", "I8", {8, 64}), part("x.SCB", "F32", {8}), order};
}

std::vector<PlainTensor> packed_parts() {
  PlainTensor shape = part("x.weight_shape", "I64", {2});
  shape.data[0] = std::byte{8};
  shape.data[8] = std::byte{64};
  return {part("x.weight_packed", "I32", {8, 8}), part("x.weight_scale", "F32", {8, 2}), shape};
}

constexpr std::string_view kNf4State = R"({"shape":[8,64],"blocksize":64})";

struct BadParts {
  std::string name;
  std::string quantization;
  std::vector<PlainTensor> parts;
  std::string message;
};

std::vector<PlainTensor> with(std::vector<PlainTensor> parts, PlainTensor other) {
  std::ranges::replace_if(
      parts, [&](const PlainTensor& tensor) { return tensor.name == other.name; }, other);
  return parts;
}

std::vector<PlainTensor> without(std::vector<PlainTensor> parts, std::string_view name) {
  std::erase_if(parts, [&](const PlainTensor& tensor) { return tensor.name == name; });
  return parts;
}

PlainTensor far_group() {
  PlainTensor tensor = part("x.g_idx", "I32", {64});
  tensor.data[4] = std::byte{2};
  return tensor;
}

class RefusedParts : public ::testing::TestWithParam<BadParts> {};

TEST_P(RefusedParts, SaysWhatDoesNotFit) {
  EXPECT_THAT(unpack_status(GetParam().quantization, GetParam().parts).message(),
              HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Gptq, RefusedParts,
    ::testing::Values(
        BadParts{"Bits", R"({"quant_method":"gptq","bits":3})", gptq_parts(),
                 "'x' has numbers of 3 bits; 2, 4 and 8 are supported"},
        BadParts{"OtherBits", R"({"quant_method":"gptq","bits":8})", gptq_parts(),
                 "'x.qzeros' has shape [2, 1], expected [2, 2]"},
        BadParts{"Format", R"({"quant_method":"gptq","checkpoint_format":"marlin"})", gptq_parts(),
                 "checkpoint format 'marlin' of GPTQ is not supported"},
        BadParts{"NoZeros", kGptq, without(gptq_parts(), "x.qzeros"),
                 "tensor 'x.qzeros' is missing"},
        BadParts{"ZerosShape", kGptq, with(gptq_parts(), part("x.qzeros", "I32", {1, 1})),
                 "'x.qzeros' has shape [1, 1], expected [2, 1]"},
        BadParts{"Type", kGptq, with(gptq_parts(), part("x.qweight", "F32", {8, 8})),
                 "'x.qweight' is F32, expected I32"},
        BadParts{"Rank", kGptq, with(gptq_parts(), part("x.qweight", "I32", {64})),
                 "'x.qweight' has shape [64], expected a matrix"},
        BadParts{
            "Empty", kGptq,
            with(with(gptq_parts(), part("x.qweight", "I32", {0, 8})), part("x.g_idx", "I32", {0})),
            "the parts of 'x' have no values"},
        BadParts{"Groups", kGptq, with(gptq_parts(), part("x.scales", "F16", {3, 8})),
                 "'x.scales' has shape [3, 8], expected groups of 64 inputs for 8 outputs"},
        BadParts{"Order", kGptq, with(gptq_parts(), part("x.g_idx", "I32", {63})),
                 "'x.g_idx' has shape [63], expected [64]"},
        BadParts{"FarGroup", kGptq, with(gptq_parts(), far_group()),
                 "'x.g_idx' names group 2 of 2"},
        BadParts{"AwqVersion", R"({"quant_method":"awq","version":"gemv"})", gptq_parts(),
                 "4 bits of AWQ's version 'gemv' are not supported"}),
    [](const auto& case_info) { return case_info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Bitsandbytes, RefusedParts,
    ::testing::Values(
        BadParts{"State", kBitsandbytes, nf4_parts("{"), "x.weight.quant_state"},
        BadParts{"StateKind", kBitsandbytes, nf4_parts("[]"), "holds no object"},
        BadParts{"StateShape", kBitsandbytes, nf4_parts(R"({"shape":[8,-64],"blocksize":64})"),
                 "'shape' holds -64, which is no size"},
        BadParts{"BlockSize", kBitsandbytes, nf4_parts(R"({"shape":[16,32],"blocksize":64})"),
                 "blocks of 64 values in rows of 32"},
        BadParts{"Size", kBitsandbytes, nf4_parts(R"({"shape":[9,64],"blocksize":64})"),
                 "'x.weight' has shape [256, 1], expected [288, 1]"},
        BadParts{"Scales", kBitsandbytes,
                 with(nf4_parts(kNf4State), part("x.weight.absmax", "F32", {7})),
                 "'x.weight.absmax' has shape [7], expected [8]"},
        BadParts{"Levels", kBitsandbytes,
                 with(nf4_parts(kNf4State), part("x.weight.quant_map", "F32", {16})),
                 "these levels are not those of nf4"},
        BadParts{"Fp4", kBitsandbytes,
                 without(nf4_parts(kNf4State), "x.weight.quant_state.bitsandbytes__nf4"),
                 "in another format than nf4 and int8"},
        BadParts{"NestedOffset", kBitsandbytes, nested_parts(kNf4State),
                 "key 'nested_offset' is missing"},
        BadParts{"ByteOrder", kBitsandbytes, int8_parts(2),
                 "'x.weight_format' is not the one number 0"},
        BadParts{"Rows",
                 kBitsandbytes,
                 {part("x.weight", "I8", {8, 64}), part("x.SCB", "F32", {9})},
                 "'x.weight' has shape [8, 64], expected 9 rows"}),
    [](const auto& case_info) { return case_info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Others, RefusedParts,
    ::testing::Values(
        BadParts{"NoMethod", "{}", {}, "quantized by 'an unnamed method' are not supported"},
        BadParts{
            "NoParts", kFp8, {}, "no tensor's name ends in '.weight_scale_inv' or '.weight_scale'"},
        BadParts{"Kind",
                 R"({"quant_method":"fp8","fmt":"e5m2"})",
                 {part("x.weight_scale", "F32", {1})},
                 "of kind 'e5m2' are not supported"},
        BadParts{"Tiles",
                 kFp8,
                 {part("x.weight", "F8_E4M3", {16, 16}), part("x.weight_scale_inv", "F32", {2, 3})},
                 "expected scales for [16, 16] in tiles of [8, 8]"},
        BadParts{"NoColumns",
                 kFp8,
                 {part("x.weight", "F8_E4M3", {16, 0}), part("x.weight_scale_inv", "F32", {1})},
                 "'x.weight' has shape [16, 0], expected a matrix"},
        BadParts{"ManyEmptyRows",
                 kCompressed,
                 {part("x.weight", "I8", {std::uint64_t{1} << 60, 0}),
                  part("x.weight_scale", "F32", {1})},
                 "'x.weight' has shape [1152921504606846976, 0], expected a matrix"},
        BadParts{"Rotations",
                 R"({"quant_method":"compressed-tensors",
                     "transform_config":{"config_groups":{"R4":{"type":"hadamard"}}}})",
                 packed_parts(), "'transform_config' of compressed-tensors is not supported"},
        BadParts{"UnlikeTiles",
                 R"({"quant_method":"compressed-tensors","config_groups":{
                     "a":{"weights":{"block_structure":[8,8]}},
                     "b":{"weights":{"block_structure":[8,16]}}}})",
                 {part("x.weight", "F8_E4M3", {16, 16}), part("x.weight_scale", "F32", {2, 2})},
                 "'block_structure' is [8, 8] and [8, 16]"},
        BadParts{"Packed",
                 kCompressed,
                 {part("x.weight_packed", "U8", {8, 32}), part("x.weight_scale", "F32", {8, 2})},
                 "'x.weight_packed' is U8, expected I32"},
        BadParts{"NoInputs",
                 kCompressed,
                 {part("x.weight_packed", "I32", {8, 8}), part("x.weight_scale", "F32", {8, 2}),
                  part("x.weight_shape", "I64", {2})},
                 "'x.weight_shape' tells no number of inputs"},
        BadParts{"GlobalScale",
                 kCompressed,
                 {part("x.weight_packed", "U8", {8, 32}), part("x.weight_scale", "F32", {8, 2}),
                  part("x.weight_global_scale", "F32", {1})},
                 "'x' is stored in compressed-tensors' format 'some'"}),
    [](const auto& case_info) { return case_info.param.name; });

TEST(HfQuantization, PartsThatFitAreTaken) {
  EXPECT_TRUE(unpack_status(kGptq, gptq_parts()).ok());
  EXPECT_TRUE(unpack_status(kBitsandbytes, nf4_parts(kNf4State)).ok());
  EXPECT_TRUE(unpack_status(kBitsandbytes, int8_parts(0)).ok());
  EXPECT_TRUE(unpack_status(kBitsandbytes,
                            nested_parts(R"({"shape":[8,64],"blocksize":64,"nested_offset":0.5})"))
                  .ok());
  EXPECT_TRUE(unpack_status(kCompressed, packed_parts()).ok());
  EXPECT_TRUE(unpack_status(R"({"quant_method":"compressed-tensors",
                                "transform_config":{"config_groups":{}}})",
                            packed_parts())
                  .ok());
}

TEST(HfQuantization, GptqsModulesMayHaveBitsOfTheirOwn) {
  EXPECT_TRUE(unpack_status(R"({"quant_method":"gptq","bits":8,"dynamic":{"+:x":{"bits":4}}})",
                            gptq_parts())
                  .ok());
}

TEST(HfQuantization, TilesOfCompressedTensorsHaveAScaleEach) {
  PlainTensor weight = part("x.weight", "F8_E4M3", {16, 16});
  std::ranges::fill(weight.data, std::byte{0x38});  // 1.0
  PlainTensor scales = part("x.weight_scale", "F32", {2, 2});
  const std::array<float, 4> factors = {1.0f, 2.0f, 3.0f, 4.0f};
  std::memcpy(scales.data.data(), factors.data(), sizeof(factors));
  ModelFileContent content;
  const auto matrices = unpack(R"({"quant_method":"compressed-tensors","config_groups":{
                                   "g":{"weights":{"block_structure":[8,8]}}}})",
                               {weight, scales}, content)
                            .value();
  std::vector<float> values(256);
  dequantize_row(matrices.at(0).dtype, matrices.at(0).data, values);
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], factors.at(i / 128 * 2 + i % 16 / 8)) << i;
}

TEST(HfQuantization, ScalesOfCachesAreLeftOut) {
  const auto bytes = test::safetensors_bytes(
      {part("x.weight", "F8_E4M3", {4, 4}), part("x.weight_scale", "F32", {1}),
       part("a.self_attn.k_scale", "F32", {1}), part("a.self_attn.kv_scale", "F32", {1}),
       part("a.norm.weight", "F32", {4})});
  auto tensors = read_safetensors(bytes).value();
  const json::Value config =
      json::parse(R"({"quantization_config":{"quant_method":"fp8"}})").value();
  ModelFileContent content;
  ASSERT_TRUE(unpack_hf_quantized(HfObject(*config.as_object(), "config.json"),
                                  *find_hf_family("LlamaForCausalLM"), tensors, content)
                  .has_value());
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(tensors[0].name, "a.norm.weight");
}

// Parts whose numbers are 0, and their zero points the nibbles of `zeros`.
std::vector<float> gptq_values(const std::string& format, std::uint32_t zeros) {
  PlainTensor words = part("x.qzeros", "I32", {2, 1});
  for (const std::size_t group : {0u, 1u})
    std::memcpy(words.data.data() + group * sizeof(zeros), &zeros, sizeof(zeros));
  PlainTensor scales = part("x.scales", "F16", {2, 8});
  for (std::size_t i = 1; i < scales.data.size(); i += 2)
    scales.data[i] = std::byte{0x3c};  // 1.0
  ModelFileContent content;
  const auto matrices =
      unpack(R"({"quant_method":"gptq","bits":4,"checkpoint_format":")" + format + "\"}",
             with(with(without(gptq_parts(), "x.g_idx"), words), scales), content)
          .value();
  std::vector<float> values(matrices.at(0).shape.num_elements());
  dequantize_row(matrices.at(0).dtype, matrices.at(0).data, values);
  return values;
}

// The first version has a word less 0x11111111, with borrows.
TEST(HfQuantization, GptqsFirstFormatBorrowsForZeroPointsOfZero) {
  constexpr std::uint32_t kZeros = 0x70f00830;
  const std::vector<float> values = gptq_values("gptq", kZeros - 0x11111111);
  EXPECT_EQ(values, gptq_values("gptq_v2", kZeros));
  EXPECT_EQ(values.at(0), 0.0f);
  EXPECT_EQ(values.at(64), -3.0f);
  EXPECT_EQ(values.at(5 * 64), -15.0f);
}

}  // namespace
}  // namespace hearth
