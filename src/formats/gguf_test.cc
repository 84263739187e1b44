#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_llama.h"

namespace hearth {
namespace {

using test::ByteSink;
using test::GgufTensor;
using test::GgufWriter;
using ::testing::HasSubstr;
namespace gguf_value = test::gguf_value;

constexpr std::uint64_t kHuge = std::uint64_t{1} << 62;
constexpr std::size_t kVersionOffset = 4;

Result<GgufDirectory> parse(std::span<const std::byte> bytes) {
  AllocationBudget budget;
  return read_gguf_directory(bytes, budget);
}

// One entry and two tensors of 64 F32 values, ready to be spoilt.
GgufWriter small_file() {
  GgufWriter writer;
  writer.add("general.name", "small");
  const std::vector<float> values(64, 1.0f);
  writer.add_tensor("first", DType::kF32, test::shape_of({2, 32}), values);
  writer.add_tensor("second", DType::kF32, test::shape_of({64}), values);
  return writer;
}

// Reads every byte that the directory promises, so that a sanitizer sees a wrong promise.
std::size_t touch_everything(const GgufDirectory& directory) {
  std::size_t sum = 0;
  const auto touch = [&](const char* data, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      sum += static_cast<unsigned char>(data[i]);
    }
  };
  for (const MetadataEntry& entry : directory.metadata) {
    touch(entry.key.data(), entry.key.size());
    if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
      touch(text->data(), text->size());
    }
    if (const auto* texts = std::get_if<std::vector<std::string_view>>(&entry.value)) {
      for (const std::string_view text : *texts) {
        touch(text.data(), text.size());
      }
    }
  }
  for (const TensorView& tensor : directory.tensors) {
    touch(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return sum;
}

TEST(GgufTest, ReadsEveryValueType) {
  GgufWriter writer;
  writer.add("u8", std::uint8_t{200});
  writer.add("i8", std::int8_t{-100});
  writer.add("u16", std::uint16_t{60'000});
  writer.add("i16", std::int16_t{-30'000});
  writer.add("u32", std::uint32_t{4'000'000'000});
  writer.add("i32", std::int32_t{-2'000'000'000});
  writer.add("u64", std::uint64_t{5});
  writer.add("u64 beyond int64", std::numeric_limits<std::uint64_t>::max());
  writer.add("i64", std::int64_t{-5});
  writer.add("f32", 0.5f);
  writer.add("f64", 0.1);
  writer.add("bool", true);
  writer.add("text", "value");
  const std::vector<std::byte> bytes = writer.bytes();
  const auto directory = parse(bytes);
  ASSERT_TRUE(directory.has_value()) << directory.error().to_string();
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("u8")), 200);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("i8")), -100);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("u16")), 60'000);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("i16")), -30'000);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("u32")), 4'000'000'000);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("i32")), -2'000'000'000);
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("u64")), 5);
  EXPECT_EQ(std::get<std::uint64_t>(*directory->find("u64 beyond int64")),
            std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(std::get<std::int64_t>(*directory->find("i64")), -5);
  EXPECT_EQ(std::get<double>(*directory->find("f32")), 0.5);
  EXPECT_EQ(std::get<double>(*directory->find("f64")), 0.1);
  EXPECT_EQ(std::get<bool>(*directory->find("bool")), true);
  EXPECT_EQ(std::get<std::string_view>(*directory->find("text")), "value");
  EXPECT_EQ(directory->find("absent"), nullptr);
}

TEST(GgufTest, ReadsArraysOfEveryElementType) {
  GgufWriter writer;
  writer.add("u8", std::vector<std::uint8_t>{1, 255});
  writer.add("i16", std::vector<std::int16_t>{-1, 2});
  writer.add("u64", std::vector<std::uint64_t>{1, 2});
  writer.add("u64 beyond int64", std::vector<std::uint64_t>{1, 1ull << 63});
  writer.add("f32", std::vector<float>{0.5f, -1.0f});
  writer.add("bool", std::vector<bool>{true, false, true});
  writer.add("texts", std::vector<std::string>{"a", "", "bc"});
  writer.add("empty", std::vector<std::string>{});
  const std::vector<std::byte> bytes = writer.bytes();
  const auto directory = parse(bytes);
  ASSERT_TRUE(directory.has_value()) << directory.error().to_string();
  using Integers = std::vector<std::int64_t>;
  EXPECT_EQ(std::get<Integers>(*directory->find("u8")), (Integers{1, 255}));
  EXPECT_EQ(std::get<Integers>(*directory->find("i16")), (Integers{-1, 2}));
  EXPECT_EQ(std::get<Integers>(*directory->find("u64")), (Integers{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::uint64_t>>(*directory->find("u64 beyond int64"))[1],
            1ull << 63);
  EXPECT_EQ(std::get<std::vector<double>>(*directory->find("f32")),
            (std::vector<double>{0.5, -1.0}));
  EXPECT_EQ(std::get<std::vector<bool>>(*directory->find("bool")),
            (std::vector<bool>{true, false, true}));
  EXPECT_EQ(std::get<std::vector<std::string_view>>(*directory->find("texts")),
            (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_TRUE(std::get<std::vector<std::string_view>>(*directory->find("empty")).empty());
}

TEST(GgufTest, TurnsDimensionsRoundAndPlacesTheData) {
  const std::vector<std::byte> bytes = small_file().bytes();
  const auto directory = parse(bytes);
  ASSERT_TRUE(directory.has_value()) << directory.error().to_string();
  ASSERT_EQ(directory->tensors.size(), 2u);
  const TensorView& first = directory->tensors[0];
  EXPECT_EQ(first.name, "first");
  EXPECT_EQ(first.shape, test::shape_of({2, 32}));
  EXPECT_EQ(first.data.size(), 256u);
  float value = 0.0f;
  std::memcpy(&value, first.data.data(), sizeof(value));
  EXPECT_EQ(value, 1.0f);
  EXPECT_EQ(directory->tensors[1].data.data(), first.data.data() + 256);
}

TEST(GgufTest, ReadsVersion2AndAnotherAlignment) {
  GgufWriter writer = small_file();
  writer.version = 2;
  writer.alignment = 128;
  writer.add("general.alignment", std::uint32_t{128});
  const std::vector<std::byte> bytes = writer.bytes();
  const auto directory = parse(bytes);
  ASSERT_TRUE(directory.has_value()) << directory.error().to_string();
  EXPECT_EQ(directory->version, 2u);
  EXPECT_EQ((directory->tensors[0].data.data() - bytes.data()) % 128, 0);
}

TEST(GgufTest, ReadsAFileWithoutTensors) {
  GgufWriter writer;
  writer.add("general.name", "only words");
  writer.alignment = 1;  // Nothing behind the metadata, not even padding.
  const std::vector<std::byte> bytes = writer.bytes();
  const auto directory = parse(bytes);
  ASSERT_TRUE(directory.has_value()) << directory.error().to_string();
  EXPECT_TRUE(directory->tensors.empty());
}

struct Malformed {
  const char* name;
  StatusCode code;
  const char* message;  // A part of it.
  std::function<void(GgufWriter&)> spoil;
};

std::span<const std::byte> raw(const ByteSink& sink) {
  return sink.bytes();
}

void set_alignment(GgufWriter& writer, std::uint32_t alignment) {
  writer.add("general.alignment", alignment);
}

const std::vector<Malformed>& malformed_headers() {
  static const std::vector<Malformed> cases = {
      {"BadMagic", StatusCode::kDataLoss, "not a GGUF file",
       [](GgufWriter& w) { w.magic = "GGML"; }},
      {"Version0", StatusCode::kUnimplemented, "version 0", [](GgufWriter& w) { w.version = 0; }},
      {"Version1", StatusCode::kUnimplemented, "version 1", [](GgufWriter& w) { w.version = 1; }},
      {"Version4", StatusCode::kUnimplemented, "version 4", [](GgufWriter& w) { w.version = 4; }},
      {"BigEndian", StatusCode::kUnimplemented, "big-endian",
       [](GgufWriter& w) { w.version = 0x03000000; }},
      {"HugeTensorCount", StatusCode::kDataLoss, "tensor count",
       [](GgufWriter& w) { w.num_tensors = kHuge; }},
      {"HugeMetadataCount", StatusCode::kDataLoss, "metadata count",
       [](GgufWriter& w) { w.num_entries = kHuge; }},
      {"OneTensorMoreThanThereIs", StatusCode::kDataLoss, "tensor",
       [](GgufWriter& w) { w.num_tensors = 3; }},
      {"OneEntryMoreThanThereIs", StatusCode::kDataLoss, "at offset",
       [](GgufWriter& w) { w.num_entries = 2; }},
  };
  return cases;
}

const std::vector<Malformed>& malformed_metadata() {
  static const std::vector<Malformed> cases = {
      {"EmptyKey", StatusCode::kDataLoss, "metadata key", [](GgufWriter& w) { w.add("", true); }},
      {"LongKey", StatusCode::kDataLoss, "has 1025 bytes; 1 to 1024",
       [](GgufWriter& w) { w.add(std::string(1025, 'k'), true); }},
      {"KeyWithControlCharacter", StatusCode::kDataLoss, "printable",
       [](GgufWriter& w) { w.add("a\nb", true); }},
      {"KeyNotUtf8", StatusCode::kDataLoss, "printable",
       [](GgufWriter& w) { w.add("a\xff", true); }},
      {"DuplicateKey", StatusCode::kDataLoss, "'general.name' is there twice",
       [](GgufWriter& w) { w.add("general.name", "again"); }},
      {"UnknownValueType", StatusCode::kDataLoss, "'bad' has unknown value type 13",
       [](GgufWriter& w) { w.add_raw("bad", 13, {}); }},
      {"UnknownElementType", StatusCode::kDataLoss, "unknown value type 99",
       [](GgufWriter& w) {
         w.add_raw("bad", gguf_value::kArray,
                   raw(ByteSink().put(std::uint32_t{99}).put(std::uint64_t{0})));
       }},
      {"NestedArray", StatusCode::kUnimplemented, "array of arrays",
       [](GgufWriter& w) {
         w.add_raw("bad", gguf_value::kArray,
                   raw(ByteSink().put(gguf_value::kArray).put(std::uint64_t{0})));
       }},
      {"HugeText", StatusCode::kDataLoss, "'bad'",
       [](GgufWriter& w) { w.add_raw("bad", gguf_value::kText, raw(ByteSink().put(kHuge))); }},
      {"HugeArrayOfTexts", StatusCode::kDataLoss, "'bad'",
       [](GgufWriter& w) {
         w.add_raw("bad", gguf_value::kArray, raw(ByteSink().put(gguf_value::kText).put(kHuge)));
       }},
      {"HugeArrayOfNumbers", StatusCode::kDataLoss, "'bad'",
       [](GgufWriter& w) {
         w.add_raw("bad", gguf_value::kArray, raw(ByteSink().put(gguf_value::kFloat64).put(kHuge)));
       }},
      {"BoolOf2", StatusCode::kDataLoss, "bool with value 2",
       [](GgufWriter& w) {
         w.add_raw("bad", gguf_value::kBool, raw(ByteSink().put(std::uint8_t{2})));
       }},
      {"Alignment0", StatusCode::kDataLoss, "general.alignment' is 0",
       [](GgufWriter& w) { set_alignment(w, 0); }},
      {"Alignment3", StatusCode::kDataLoss, "general.alignment' is 3",
       [](GgufWriter& w) { set_alignment(w, 3); }},
      {"Alignment4", StatusCode::kDataLoss, "general.alignment' is 4",
       [](GgufWriter& w) { set_alignment(w, 4); }},
      {"Alignment2To31", StatusCode::kDataLoss, "general.alignment' is 2147483648",
       [](GgufWriter& w) { set_alignment(w, 1u << 31); }},
      {"AlignmentText", StatusCode::kDataLoss, "is not an integer",
       [](GgufWriter& w) { w.add("general.alignment", "32"); }},
  };
  return cases;
}

const std::vector<Malformed>& malformed_tensors() {
  static const std::vector<Malformed> cases = {
      {"EmptyName", StatusCode::kDataLoss, "tensor name",
       [](GgufWriter& w) { w.tensors()[0].name.clear(); }},
      {"LongName", StatusCode::kDataLoss, "has 257 bytes; 1 to 256",
       [](GgufWriter& w) { w.tensors()[0].name.assign(257, 'n'); }},
      {"DuplicateName", StatusCode::kDataLoss, "'second' is there twice",
       [](GgufWriter& w) { w.tensors()[0].name = "second"; }},
      {"NoDimensions", StatusCode::kDataLoss, "'first' has 0 dimensions",
       [](GgufWriter& w) { w.tensors()[0].dims.clear(); }},
      {"FiveDimensions", StatusCode::kDataLoss, "'first' has 5 dimensions",
       [](GgufWriter& w) { w.tensors()[0].dims = {64, 1, 1, 1, 1}; }},
      {"HugeDimensionCount", StatusCode::kDataLoss, "has 4294967295 dimensions",
       [](GgufWriter& w) { w.tensors()[0].num_dims = 0xffffffff; }},
      {"DimensionOf0", StatusCode::kDataLoss, "dimension of size 0",
       [](GgufWriter& w) { w.tensors()[0].dims = {32, 0}; }},
      {"ProductOverflows", StatusCode::kDataLoss, "'first'",
       [](GgufWriter& w) { w.tensors()[0].dims = {kHuge, kHuge}; }},
      {"ProductOverflowsToASmallNumber", StatusCode::kDataLoss, "'first'",
       [](GgufWriter& w) { w.tensors()[0].dims = {1ull << 32, 1ull << 32, 1, 1}; }},
      {"BytesOverflow", StatusCode::kDataLoss, "'first'",
       [](GgufWriter& w) { w.tensors()[0].dims = {kHuge}; }},
      {"PartOfABlock", StatusCode::kDataLoss, "stores blocks of 32",
       [](GgufWriter& w) {
         w.tensors()[0].dims = {33, 32};
         w.tensors()[0].type = 2;
       }},
      {"UnsupportedType", StatusCode::kUnimplemented,
       "type 40 (NVFP4), which is not supported; supported: F32, F16, BF16,",
       [](GgufWriter& w) { w.tensors()[0].type = 40; }},
      {"UnknownType", StatusCode::kUnimplemented, "type 1000 (unknown)",
       [](GgufWriter& w) { w.tensors()[0].type = 1000; }},
      {"MisalignedOffset", StatusCode::kDataLoss, "offset 8, not a multiple of 32",
       [](GgufWriter& w) { w.tensors()[0].offset = 8; }},
      {"OffsetOverflows", StatusCode::kDataLoss, "'second'",
       [](GgufWriter& w) { w.tensors()[1].offset = ~std::uint64_t{31}; }},
      {"OffsetPastTheEnd", StatusCode::kDataLoss, "'second' ends at byte",
       [](GgufWriter& w) { w.tensors()[1].offset = 1 << 20; }},
      {"OverlapOfTheSame", StatusCode::kDataLoss, "overlap",
       [](GgufWriter& w) { w.tensors()[1].offset = 0; }},
      {"OverlapInPart", StatusCode::kDataLoss, "tensors 'first' and 'second' overlap",
       [](GgufWriter& w) { w.tensors()[1].offset = 224; }},
      {"TooLittleData", StatusCode::kDataLoss, "'second' ends at byte",
       [](GgufWriter& w) { w.tensors()[1].data.pop_back(); }},
  };
  return cases;
}

class MalformedGgufTest : public ::testing::TestWithParam<Malformed> {};

std::string malformed_name(const ::testing::TestParamInfo<Malformed>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Header, MalformedGgufTest, ::testing::ValuesIn(malformed_headers()),
                         malformed_name);
INSTANTIATE_TEST_SUITE_P(Metadata, MalformedGgufTest, ::testing::ValuesIn(malformed_metadata()),
                         malformed_name);
INSTANTIATE_TEST_SUITE_P(Tensor, MalformedGgufTest, ::testing::ValuesIn(malformed_tensors()),
                         malformed_name);

TEST_P(MalformedGgufTest, IsRefusedWithTheFieldNamed) {
  GgufWriter writer = small_file();
  const std::vector<std::byte> good = writer.bytes();
  ASSERT_TRUE(parse(good).has_value());
  GetParam().spoil(writer);
  const std::vector<std::byte> bad = writer.bytes();
  const auto directory = parse(bad);
  ASSERT_FALSE(directory.has_value());
  EXPECT_EQ(directory.error().code(), GetParam().code) << directory.error().to_string();
  EXPECT_THAT(directory.error().message(), HasSubstr(GetParam().message));
}

TEST(GgufRobustnessTest, EveryTruncationOfASmallFileIsRefused) {
  const std::vector<std::byte> whole = small_file().bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read past the end.
    const std::vector<std::byte> part(whole.begin(),
                                      whole.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(parse(part).has_value()) << size;
  }
}

TEST(GgufRobustnessTest, TruncationAtEvery4KiBIsRefused) {
  const std::vector<std::byte> whole = test::tiny_llama_bytes();
  ASSERT_TRUE(parse(whole).has_value());
  for (std::size_t size = 0; size < whole.size(); size += 4096) {
    const std::vector<std::byte> part(whole.begin(),
                                      whole.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(parse(part).has_value()) << size;
  }
}

TEST(GgufRobustnessTest, AnyHeaderByteMayHaveAnyValue) {
  std::vector<std::byte> bytes = small_file().bytes();
  const std::size_t header_size = bytes.size() - 512;
  std::size_t num_loaded = 0;
  for (std::size_t i = 0; i < header_size; ++i) {
    const std::byte original = bytes[i];
    for (unsigned value = 0; value < 256; ++value) {
      bytes[i] = static_cast<std::byte>(value);
      const auto directory = parse(bytes);
      if (!directory.has_value()) {
        ASSERT_FALSE(directory.error().message().empty());
        continue;
      }
      ++num_loaded;
      ASSERT_GT(touch_everything(*directory), 0u);
    }
    bytes[i] = original;
  }
  EXPECT_GT(num_loaded, header_size) << "at least every original value loads";
}

TEST(GgufRobustnessTest, EveryByteOfARealHeaderFlippedLoadsOrFails) {
  std::vector<std::byte> bytes = test::tiny_llama_bytes({.dtype = DType::kQ4_0});
  const auto good = parse(bytes);
  ASSERT_TRUE(good.has_value());
  const auto header_size =
      static_cast<std::size_t>(good->tensors.front().data.data() - bytes.data());
  for (std::size_t i = 0; i < header_size; ++i) {
    bytes[i] ^= std::byte{0xff};
    const auto directory = parse(bytes);
    const bool in_fixed_header = i < kVersionOffset + sizeof(std::uint32_t);
    ASSERT_FALSE(in_fixed_header && directory.has_value()) << i;
    bytes[i] ^= std::byte{0xff};
  }
}

TEST(AllocationBudgetTest, RefusesWhatIsBeyondItAndTakesNothingThen) {
  AllocationBudget budget(100);
  EXPECT_TRUE(budget.take(6, 10, "x").ok());
  const Status refused = budget.take(5, 10, "tokens");
  EXPECT_EQ(refused.code(), StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("tokens: 5 entries"));
  EXPECT_EQ(budget.take(~std::uint64_t{0}, ~std::uint64_t{0}, "x").code(), StatusCode::kOutOfRange);
  EXPECT_TRUE(budget.take(4, 10, "x").ok());
  EXPECT_TRUE(budget.take(~std::uint64_t{0}, 0, "x").ok());
}

}  // namespace
}  // namespace hearth
