#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  const test::TempDirectory temp_;
  const fs::path& directory_ = temp_.path();
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST_F(FileTest, TellsMissingFilesFromBrokenLinks) {
  EXPECT_EQ(file_exists(directory_ / "file"), false);
  ASSERT_TRUE(write_file_atomically(directory_ / "file", "content").ok());
  fs::create_symlink("file", directory_ / "link");
  EXPECT_EQ(file_exists(directory_ / "file"), true);
  EXPECT_EQ(file_exists(directory_ / "link"), true);
  fs::remove(directory_ / "file");
  const auto broken = file_exists(directory_ / "link");
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().code(), StatusCode::kNotFound);
  EXPECT_TRUE(broken.error().message().contains("is a broken link: its target 'file'"));
}

TEST_F(FileTest, MapsTheWholeFile) {
  const fs::path path = directory_ / "data";
  ASSERT_TRUE(write_file_atomically(path, "content").ok());
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.has_value());
  MappedFile moved = std::move(*file);
  EXPECT_EQ(moved.bytes().size(), 7u);
  EXPECT_EQ(std::memcmp(moved.bytes().data(), "content", 7), 0);
  EXPECT_TRUE(file->bytes().empty());
}

// Kilobytes of the mapping that begins at `address` that are this process's memory now.
std::size_t resident_kilobytes(const void* address) {
  const std::string start = fmt::format("{:x}-", reinterpret_cast<std::uintptr_t>(address));
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  while (std::getline(maps, line) && !line.starts_with(start)) {
  }
  while (std::getline(maps, line)) {
    std::istringstream words(line);
    std::string field;
    std::size_t kilobytes = 0;
    if (words >> field >> kilobytes && field == "Rss:") return kilobytes;
  }
  ADD_FAILURE() << "no mapping at " << start;
  return 0;
}

TEST_F(FileTest, AReleasedPartStopsBeingMemoryOfThisProcessAndCanStillBeRead) {
  const fs::path path = directory_ / "data";
  const std::string content(std::size_t{1} << 20, 'x');
  ASSERT_TRUE(write_file_atomically(path, content).ok());
  const MappedFile file = MappedFile::open(path).value();
  const auto bytes = file.bytes();
  const auto is_intact = [&] {
    return std::memcmp(bytes.data(), content.data(), content.size()) == 0;
  };
  ASSERT_TRUE(is_intact());
  EXPECT_EQ(resident_kilobytes(bytes.data()), 1024u);
  file.release(bytes.subspan(1, 100));  // Not a whole page.
  EXPECT_EQ(resident_kilobytes(bytes.data()), 1024u);
  file.release(bytes.subspan(100, bytes.size() - 200));
  EXPECT_LE(resident_kilobytes(bytes.data()), 128u);
  EXPECT_TRUE(is_intact());
  file.release(bytes);
  EXPECT_EQ(resident_kilobytes(bytes.data()), 0u);
}

TEST_F(FileTest, MapsAnEmptyFileToAnEmptySpan) {
  const fs::path path = directory_ / "empty";
  ASSERT_TRUE(write_file_atomically(path, "").ok());
  EXPECT_TRUE(MappedFile::open(path)->bytes().empty());
}

TEST_F(FileTest, NamesWhyAFileCannotBeMapped) {
  const auto missing = MappedFile::open(directory_ / "missing");
  EXPECT_EQ(missing.error().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.error().message().find("missing"), std::string::npos);
  EXPECT_EQ(MappedFile::open(directory_).error().code(), StatusCode::kInvalidArgument);
  const fs::path fifo = directory_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(fifo).error().code(), StatusCode::kInvalidArgument);
}

TEST_F(FileTest, ReadsTextUpToTheLimit) {
  const fs::path path = directory_ / "text";
  ASSERT_TRUE(write_file_atomically(path, std::string(40'000, 'x')).ok());
  EXPECT_EQ(read_text_file(path, 40'000)->size(), 40'000u);
  const auto too_large = read_text_file(path, 39'999);
  ASSERT_FALSE(too_large.has_value());
  EXPECT_EQ(too_large.error().code(), StatusCode::kOutOfRange);
  EXPECT_NE(too_large.error().message().find("39999"), std::string::npos);
  EXPECT_EQ(read_text_file(directory_ / "no", 1).error().code(), StatusCode::kNotFound);
}

TEST_F(FileTest, ReadsFilesWhoseSizeIsNotKnownBefore) {
  const auto text = read_text_file("/proc/self/status", 1 << 20);
  ASSERT_TRUE(text.has_value());
  EXPECT_NE(text->find("Pid:"), std::string::npos);
}

TEST_F(FileTest, WritingReplacesTheFileAndLeavesNothingElse) {
  const fs::path path = directory_ / "state";
  ASSERT_TRUE(write_file_atomically(path, "old").ok());
  ASSERT_TRUE(write_file_atomically(path, "new").ok());
  EXPECT_EQ(read_text_file(path, 100).value(), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
}

TEST_F(FileTest, AFailedWriteKeepsTheOldStateAndCleansUp) {
  const fs::path path = directory_ / "taken";
  fs::create_directory(path);  // A directory cannot be replaced by a file.
  EXPECT_FALSE(write_file_atomically(path, "x").ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1);
  const Status status = write_file_atomically(directory_ / "no" / "file", "x");
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("no/file"), std::string::npos);
}

TEST(ByteReader, ReadsLittleEndianValuesInOrder) {
  constexpr std::array<unsigned char, 8> kData = {0x01, 0x02, 0x03, 0x04, 0x05, 'a', 'b', 'c'};
  ByteReader reader(std::as_bytes(std::span(kData)));
  EXPECT_EQ(reader.read<std::uint8_t>("a").value(), 1);
  EXPECT_EQ(reader.read<std::uint32_t>("b").value(), 0x05040302u);
  EXPECT_EQ(reader.read_text(3, "c").value(), "abc");
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(ByteReader, AnErrorNamesTheFieldAndKeepsThePosition) {
  ByteReader reader(bytes_of("abc"));
  ASSERT_TRUE(reader.read<std::uint8_t>("first").has_value());
  const auto value = reader.read<std::uint32_t>("tensor count");
  ASSERT_FALSE(value.has_value());
  EXPECT_EQ(value.error().code(), StatusCode::kDataLoss);
  EXPECT_NE(value.error().message().find("tensor count"), std::string::npos);
  EXPECT_EQ(reader.position(), 1u);
  EXPECT_FALSE(reader.read_bytes(std::numeric_limits<std::uint64_t>::max(), "x").has_value());
  EXPECT_EQ(reader.remaining(), 2u);
}

TEST(ByteReader, AlignsFromTheStart) {
  ByteReader reader(bytes_of("0123456789"));
  ASSERT_TRUE(reader.align_to(4, "start").ok());
  EXPECT_EQ(reader.position(), 0u);
  ASSERT_TRUE(reader.read_bytes(5, "x").has_value());
  ASSERT_TRUE(reader.align_to(4, "middle").ok());
  EXPECT_EQ(reader.position(), 8u);
  ASSERT_TRUE(reader.read_bytes(1, "x").has_value());
  EXPECT_FALSE(reader.align_to(16, "end").ok());
  EXPECT_FALSE(reader.align_to(0, "zero").ok());
  EXPECT_FALSE(reader.align_to(3, "three").ok());
  EXPECT_EQ(reader.position(), 9u);
}

TEST(CheckedArithmetic, RefusesWhatDoesNotFit) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(checked_add(kMax - 1, 1, "x").value(), kMax);
  EXPECT_FALSE(checked_add(kMax, 1, "x").has_value());
  EXPECT_EQ(checked_mul(kMax, 1, "x").value(), kMax);
  EXPECT_FALSE(checked_mul(std::uint64_t{1} << 32, std::uint64_t{1} << 32, "x").has_value());
}

// Behind the new end, but on the last page that is left, zeros come without a signal.
TEST_F(FileTest, SurvivesAFileThatIsCutShort) {
  const fs::path path = directory_ / "model.gguf";
  const fs::path other_path = directory_ / "other.gguf";
  std::ofstream(other_path) << "abc";
  constexpr std::size_t kSize = 1 << 20;
  for (const std::size_t left : {std::size_t{0}, std::size_t{5000}, kSize - 100}) {
    std::ofstream(path, std::ios::trunc) << std::string(kSize, 'x');
    const MappedFile file = MappedFile::open(path).value();
    const MappedFile other = MappedFile::open(other_path).value();
    EXPECT_TRUE(file.intact().ok());
    fs::resize_file(path, left);
    std::size_t num_left = 0;
    for (const std::byte byte : file.bytes())
      num_left += byte == std::byte{'x'} ? 1 : 0;
    EXPECT_EQ(num_left, left);
    const Status status = file.intact();
    EXPECT_EQ(status.code(), StatusCode::kDataLoss);
    EXPECT_NE(status.message().find("'model.gguf'"), std::string::npos) << status.message();
    EXPECT_TRUE(other.intact().ok());
  }
}

TEST_F(FileTest, TellsThatAFileWasWrittenTo) {
  const fs::path path = directory_ / "model.gguf";
  std::ofstream(path) << "abcd";
  fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
  MappedFile file = MappedFile::open(path).value();
  const MappedFile moved = std::move(file);
  EXPECT_TRUE(moved.intact().ok());
  std::ofstream(path, std::ios::in | std::ios::out) << "x";
  EXPECT_EQ(moved.intact().message(), "the file 'model.gguf' was written to while it was in use");
}

TEST_F(FileTest, AFileThatWasReplacedIsStillTheOldOne) {
  const fs::path path = directory_ / "model.gguf";
  std::ofstream(path) << "abcd";
  const MappedFile file = MappedFile::open(path).value();
  std::ofstream(directory_ / "new") << "wxyz, and more";
  fs::rename(directory_ / "new", path);
  EXPECT_TRUE(file.intact().ok());
  EXPECT_EQ(file.bytes()[0], std::byte{'a'});
}

}  // namespace
}  // namespace hearth
