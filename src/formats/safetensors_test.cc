#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/safetensors_directory.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using test::PlainTensor;
using test::safetensors_bytes;
using test::TempDirectory;
using ::testing::HasSubstr;

std::vector<std::byte> zeros(std::size_t size) {
  return std::vector<std::byte>(size);
}

TEST(Safetensors, ReadsNamesTypesShapesAndPlaces) {
  const auto data = std::vector<std::byte>{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const auto bytes = safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},)"
      R"("a":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]}})",
      data);
  const auto tensors = read_safetensors(bytes);
  ASSERT_TRUE(tensors.has_value()) << tensors.error().to_string();
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].shape, test::shape_of({2, 1}));
  EXPECT_EQ((*tensors)[1].type, "BF16");
  EXPECT_EQ((*tensors)[1].shape.rank, 0u);
  EXPECT_EQ((*tensors)[1].data.data(), bytes.data() + bytes.size() - 2);
  EXPECT_EQ(to_tensor_view((*tensors)[1])->dtype, DType::kBF16);
  EXPECT_THAT(to_tensor_view((*tensors)[0]).error().message(),
              HasSubstr("has dtype U8, which is not supported; supported: F32, F16, BF16"));
}

TEST(Safetensors, EmptyTensorsTakeNoPlace) {
  const auto bytes = safetensors_bytes(
      {{"none", "F32", {0, 4}, {}}, {"one", "F32", {1}, zeros(4)}, {"last", "F16", {3, 0}, {}}});
  const auto tensors = read_safetensors(bytes);
  ASSERT_TRUE(tensors.has_value()) << tensors.error().to_string();
  EXPECT_THAT(to_tensor_view(tensors->front()).error().message(), HasSubstr("has no element"));
}

struct BadHeader {
  std::string name;
  std::string header;
  StatusCode code;
  std::string message;
};

class MalformedSafetensors : public ::testing::TestWithParam<BadHeader> {};

// All have eight bytes of data.
TEST_P(MalformedSafetensors, IsRefusedWithTheReason) {
  const auto result = read_safetensors(safetensors_bytes(GetParam().header, zeros(8)));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), GetParam().code) << result.error().to_string();
  EXPECT_THAT(result.error().message(), HasSubstr(GetParam().message));
}

std::string one(std::string_view fields) {
  return fmt::format(R"({{"w":{{{}}}}})", fields);
}

INSTANTIATE_TEST_SUITE_P(
    Headers, MalformedSafetensors,
    ::testing::Values(
        BadHeader{"NotJson", "{", StatusCode::kDataLoss, "header is not valid JSON"},
        BadHeader{"NotAnObject", "[]", StatusCode::kDataLoss, "of JSON type array"},
        BadHeader{"DuplicateKey",
                  R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  StatusCode::kDataLoss, "not valid JSON"},
        BadHeader{"TensorIsNoObject", R"({"w":1})", StatusCode::kDataLoss, "'w' is described by"},
        BadHeader{"ControlCharacterInName",
                  R"({"a\nb":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                  StatusCode::kDataLoss, "not printable"},
        BadHeader{"NoType", one(R"("shape":[2],"data_offsets":[0,8])"), StatusCode::kDataLoss,
                  "tensor 'w' has no 'dtype'"},
        BadHeader{"UnknownType", one(R"("dtype":"Q4","shape":[2],"data_offsets":[0,8])"),
                  StatusCode::kUnimplemented, "unknown dtype 'Q4'"},
        BadHeader{"NegativeDimension", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
                  StatusCode::kDataLoss, "'shape' holds something"},
        BadHeader{"FractionalDimension", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
                  StatusCode::kDataLoss, "'shape' holds something"},
        BadHeader{"TooManyDimensions",
                  one(R"("dtype":"F32","shape":[1,1,1,1,2],"data_offsets":[0,8])"),
                  StatusCode::kUnimplemented, "5 dimensions"},
        BadHeader{"ShapeOverflows",
                  one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"),
                  StatusCode::kDataLoss, "does not fit 64 bits"},
        BadHeader{"OverflowHiddenByZero",
                  one(R"("dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0])"),
                  StatusCode::kDataLoss, "does not fit 64 bits"},
        BadHeader{"WrongLength", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
                  StatusCode::kDataLoss, "needs 12 bytes, but its data_offsets span 8"},
        BadHeader{"BackwardOffsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
                  StatusCode::kDataLoss, "not a begin and an end"},
        BadHeader{"ThreeOffsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])"),
                  StatusCode::kDataLoss, "not a begin and an end"},
        BadHeader{"BeyondTheFile", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"),
                  StatusCode::kDataLoss, "ends at byte 12 of the data"},
        BadHeader{"Overlap",
                  R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  StatusCode::kDataLoss, "tensors 'a' and 'b' overlap"},
        BadHeader{"Hole",
                  R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  StatusCode::kDataLoss, "2 bytes between 'a' and tensor 'b'"},
        BadHeader{"HoleInFront", one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"),
                  StatusCode::kDataLoss, "4 bytes between 'the header'"},
        BadHeader{"HoleBehind", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"),
                  StatusCode::kDataLoss, "last 4 bytes of the file"}),
    [](const auto& case_info) { return case_info.param.name; });

TEST(Safetensors, RefusesAHeaderLengthBeyondTheFileOrTheFormat) {
  auto bytes = safetensors_bytes("{}", {});
  EXPECT_TRUE(read_safetensors(bytes).has_value());
  const auto with_length = [&](std::uint64_t length) {
    std::memcpy(bytes.data(), &length, sizeof(length));
    return read_safetensors(bytes).error();
  };
  EXPECT_THAT(with_length(3).message(), HasSubstr("needs 3 bytes at offset 8"));
  EXPECT_THAT(with_length(100'000'001).message(), HasSubstr("allows 100000000 bytes"));
  EXPECT_THAT(with_length(~std::uint64_t{0}).message(), HasSubstr("allows 100000000 bytes"));
  bytes.resize(5);
  EXPECT_THAT(read_safetensors(bytes).error().message(), HasSubstr("header length needs 8"));
}

TEST(Safetensors, RefusesAHeaderThatWouldBecomeAHugeTree) {
  const std::string many(std::size_t{3} << 20, ',');
  EXPECT_EQ(read_safetensors(safetensors_bytes(many, {})).error().code(), StatusCode::kOutOfRange);
  const std::string longer(std::size_t{17} << 20, ' ');
  EXPECT_EQ(read_safetensors(safetensors_bytes(longer, {})).error().code(),
            StatusCode::kOutOfRange);
}

class ShardTest : public ::testing::Test {
 protected:
  ShardTest() {
    write_index(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
    write_shard("one", {{"a", "F32", {1}, zeros(4)}});
    write_shard("two", {{"b", "F32", {1}, zeros(4)}});
  }

  void write_index(std::string_view text) const {
    test::write_bytes(path() / "model.safetensors.index.json",
                      std::as_bytes(std::span(text.data(), text.size())));
  }
  void write_shard(const std::string& name, const std::vector<PlainTensor>& tensors) const {
    test::write_bytes(path() / (name + ".safetensors"), safetensors_bytes(tensors));
  }
  const std::filesystem::path& path() const { return directory_.path(); }

  std::string problem() const {
    const auto opened = open_safetensors_directory(path());
    return opened.has_value() ? "none" : opened.error().to_string();
  }

  TempDirectory directory_;
};

TEST_F(ShardTest, ReadsAllShards) {
  const auto opened = open_safetensors_directory(path());
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  EXPECT_EQ(opened->num_shards, 2u);
  EXPECT_EQ(opened->tensors.size(), 2u);
}

TEST_F(ShardTest, OneFileComesBeforeAnIndex) {
  write_shard("model", {{"c", "F32", {1}, zeros(4)}});
  EXPECT_EQ(open_safetensors_directory(path())->tensors.front().name, "c");
}

TEST_F(ShardTest, NamesAMissingShard) {
  std::filesystem::remove(path() / "two.safetensors");
  EXPECT_THAT(problem(), HasSubstr("names the shard 'two.safetensors', which is missing"));
}

TEST_F(ShardTest, NamesATensorThatAShardLacks) {
  write_shard("two", {{"x", "F32", {1}, zeros(4)}});
  EXPECT_THAT(problem(), HasSubstr("two.safetensors: holds tensor 'x', which"));
  write_shard("two", {});
  EXPECT_THAT(problem(), HasSubstr("two.safetensors: lacks 1 of the tensors"));
}

TEST_F(ShardTest, RefusesAnIndexThatIsNone) {
  write_index("{}");
  EXPECT_THAT(problem(), HasSubstr("has no object 'weight_map'"));
  write_index(R"({"weight_map":{}})");
  EXPECT_THAT(problem(), HasSubstr("names 0 files"));
  write_index(R"({"weight_map":{"a":1}})");
  EXPECT_THAT(problem(), HasSubstr("file of tensor 'a' is no string"));
  write_index(R"({"weight_map":{"a":"../one.safetensors"}})");
  EXPECT_THAT(problem(), HasSubstr("not the name of a .safetensors file in the same directory"));
}

TEST(SafetensorsDirectory, SaysWhichWeightsThereAreInstead) {
  const TempDirectory directory;
  const auto problem = [&] {
    return open_safetensors_directory(directory.path()).error().to_string();
  };
  EXPECT_THAT(problem(), HasSubstr("holds neither model.safetensors nor"));
  test::write_bytes(directory.path() / "pytorch_model.bin", zeros(1));
  EXPECT_THAT(problem(), HasSubstr("as pickle only (pytorch_model.bin), which is never loaded"));
  test::write_bytes(directory.path() / "other.safetensors", zeros(1));
  EXPECT_THAT(problem(), HasSubstr("only other.safetensors"));
}

}  // namespace
}  // namespace hearth
