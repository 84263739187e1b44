#include "formats/gguf_file_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using test::shape_of;

std::size_t files_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory),
                                                std::filesystem::directory_iterator()));
}

std::span<const std::byte> bytes_of(std::span<const float> values) {
  return std::as_bytes(values);
}

TEST(GgufFileWriter, WhatIsWrittenIsReadAgain) {
  const test::TempDirectory directory;
  const auto path = directory.path() / "model.gguf";
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string_view("llama"));
  metadata.set("small", std::int64_t{7});
  metadata.set("negative", std::int64_t{-7});
  metadata.set("large", std::numeric_limits<std::uint64_t>::max());
  metadata.set("ratio", 0.5);
  metadata.set("flag", true);
  metadata.set("flags", std::vector<bool>{true, false});
  metadata.set("texts", std::vector<std::string_view>{"a", "", "\xc3\xa9"});
  metadata.set("integers", std::vector<std::int64_t>{1, -2});
  metadata.set("small", std::int64_t{8});  // Replaces.
  const std::vector<float> a(12, 1.5f);
  const std::vector<float> b(5, -2.0f);
  const GgufTensorInfo tensors[] = {{"a", DType::kF32, shape_of({3, 4})},
                                    {"b", DType::kF32, shape_of({5})}};
  auto writer = GgufFileWriter::create(path, metadata, tensors).value();
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(writer.write(bytes_of(std::span(a).first(7))).ok());
  ASSERT_TRUE(writer.write(bytes_of(std::span(a).subspan(7))).ok());
  ASSERT_TRUE(writer.write(bytes_of(b)).ok());
  ASSERT_TRUE(writer.finish().ok());

  const ModelFile file = ModelFile::open(path).value();
  EXPECT_EQ(std::filesystem::file_size(path), writer.file_bytes());
  EXPECT_EQ(files_in(directory.path()), 1u);
  EXPECT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.find_uint32("small").value(), 8u);
  EXPECT_EQ(*file.find("negative"), MetadataValue(std::int64_t{-7}));
  EXPECT_EQ(*file.find("large"), MetadataValue(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(file.find_double("ratio").value(), 0.5);
  EXPECT_EQ(file.find_bool("flag").value(), true);
  EXPECT_EQ(*file.find("flags"), MetadataValue(std::vector<bool>{true, false}));
  EXPECT_EQ(*file.find("integers"), MetadataValue(std::vector<std::int64_t>{1, -2}));
  EXPECT_EQ(file.find_texts("texts").value()->at(2), "\xc3\xa9");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].shape, shape_of({3, 4}));
  EXPECT_TRUE(std::ranges::equal(file.tensors()[0].data, bytes_of(a)));
  EXPECT_TRUE(std::ranges::equal(file.tensors()[1].data, bytes_of(b)));
}

// Other programs insist on the types of some keys.
TEST(GgufFileWriter, MetadataOfAGgufFileKeepsItsTypes) {
  test::GgufWriter source;
  source.add("u8", std::uint8_t{1});
  source.add("i64", std::int64_t{1});
  source.add("f64", 0.1);
  source.add("i16s", std::vector<std::int16_t>{1, 2});
  const std::vector<std::byte> bytes = source.bytes();
  const ModelFile file = ModelFile::parse(bytes).value();
  GgufMetadata metadata;
  for (const MetadataEntry& entry : file.metadata())
    metadata.set(entry);
  const std::vector<std::byte> copy = metadata.bytes();
  ASSERT_GE(bytes.size(), 24 + copy.size());
  EXPECT_EQ(std::memcmp(bytes.data() + 24, copy.data(), copy.size()), 0);
}

TEST(GgufFileWriter, AnUnfinishedFileLeavesTheOldOneAndNothingElse) {
  const test::TempDirectory directory;
  const auto path = directory.path() / "model.gguf";
  test::write_bytes(path, bytes_of(std::vector<float>{1.0f}));
  const GgufTensorInfo tensors[] = {{"a", DType::kF32, shape_of({8})}};
  {
    auto writer = GgufFileWriter::create(path, {}, tensors).value();
    ASSERT_TRUE(writer.write(bytes_of(std::vector<float>(4))).ok());
    EXPECT_EQ(files_in(directory.path()), 2u);
  }
  EXPECT_EQ(files_in(directory.path()), 1u);
  EXPECT_EQ(std::filesystem::file_size(path), sizeof(float));
}

TEST(GgufFileWriter, WhatAKilledProcessLeftGoesAndWhatAnotherWritesStays) {
  const test::TempDirectory folder;
  const auto path = folder.path() / "m.gguf";
  const GgufTensorInfo tensors[] = {{"t", DType::kF32, shape_of({2})}};
  const auto running = GgufFileWriter::create(path, {}, tensors);
  ASSERT_TRUE(running.has_value());
  const auto left = folder.path() / "m.gguf.0123456789abcdef.partial";
  const std::filesystem::path others[] = {folder.path() / "m.gguf.partial",
                                          folder.path() / "n.gguf.0123456789abcdef.partial"};
  for (const auto& file : {left, others[0], others[1]})
    test::write_bytes(file, bytes_of(std::vector<float>{1.0f}));
  const auto second = GgufFileWriter::create(path, {}, tensors);
  ASSERT_TRUE(second.has_value());
  EXPECT_FALSE(std::filesystem::exists(left));
  for (const auto& file : others)
    EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_EQ(files_in(folder.path()), 4u);  // Two being written, two of others.
}

TEST(GgufFileWriter, WhatIsNoRegularFileIsNotReplaced) {
  const test::TempDirectory directory;
  const auto pipe = directory.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::filesystem::path& path : {pipe, directory.path()}) {
    const auto writer = GgufFileWriter::create(path, {}, {});
    ASSERT_FALSE(writer.has_value());
    EXPECT_EQ(writer.error().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
}

TEST(GgufFileWriter, ADiskWithoutRoomIsRefusedBeforeAnythingIsWritten) {
  const test::TempDirectory directory;
  const GgufTensorInfo tensors[] = {{"a", DType::kF32, shape_of({1u << 24, 1u << 24, 1u << 8})}};
  const auto writer = GgufFileWriter::create(directory.path() / "model.gguf", {}, tensors);
  ASSERT_FALSE(writer.has_value());
  EXPECT_EQ(writer.error().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(writer.error().message().find("MiB are needed"), std::string::npos);
  EXPECT_EQ(files_in(directory.path()), 0u);
}

TEST(GgufFileWriter, ADirectoryThatIsNotThereIsNamed) {
  const auto writer = GgufFileWriter::create("/no/such/directory/model.gguf", {}, {});
  ASSERT_FALSE(writer.has_value());
  EXPECT_NE(writer.error().message().find("/no/such/directory/model.gguf"), std::string::npos);
}

TEST(ModelFileSideFiles, MetadataCarriesTokenizerFilesUnlessThereIsATokenizerOfGguf) {
  test::GgufWriter source;
  source.add(ModelFile::kTokenizerJsonKey, "{}");
  const std::vector<std::byte> bytes = source.bytes();
  const ModelFile file = ModelFile::parse(bytes).value();
  EXPECT_EQ(file.side_file("tokenizer.json"), "{}");
  EXPECT_EQ(file.side_file("tokenizer_config.json"), std::nullopt);
  source.add("tokenizer.ggml.model", "gpt2");
  const std::vector<std::byte> both = source.bytes();
  EXPECT_EQ(ModelFile::parse(both).value().side_file("tokenizer.json"), std::nullopt);
}

}  // namespace
}  // namespace hearth
