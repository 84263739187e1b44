#include "base/content_sums.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <string>

#include "base/checksum.h"
#include "base/file.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

// A registry's folders with one blob of three parts, the last of them short.
class ContentSumsTest : public ::testing::Test {
 protected:
  ContentSumsTest() {
    fs::create_directories(directory_ / "blobs");
    fs::create_directories(directory_ / "sums");
    for (std::size_t i = 0; i < content_.size(); ++i)
      content_[i] = static_cast<char>(i * 31 + i / 251);
    EXPECT_TRUE(write_file_atomically(blob_, content_).ok());
    write_sums();
  }

  void write_sums() {
    const MappedFile file = MappedFile::open(blob_).value();
    EXPECT_TRUE(write_file_atomically(sums_, ContentSums::describe(file.bytes())).ok());
  }

  static void flip(const fs::path& path, std::size_t at) {
    std::FILE* file = std::fopen(path.c_str(), "r+b");
    ASSERT_NE(file, nullptr);
    std::fseek(file, static_cast<long>(at), SEEK_SET);
    const int old = std::fgetc(file);
    std::fseek(file, static_cast<long>(at), SEEK_SET);
    std::fputc(old ^ 0x10, file);
    std::fclose(file);
  }

  Status check(std::size_t begin, std::size_t size, ThreadPool* threads = nullptr) const {
    auto file = MappedFile::open(blob_);
    if (!file.has_value()) return file.error();
    return file->check(file->bytes().subspan(begin, size), threads);
  }

  const test::TempDirectory temp_;
  const fs::path& directory_ = temp_.path();
  const fs::path blob_ = directory_ / "blobs" / "name";
  const fs::path sums_ = directory_ / "sums" / "name";
  std::string content_ = std::string(2 * kChecksumBytes + 1000, '\0');
};

TEST_F(ContentSumsTest, FindsADamagedPartWhereItIsRead) {
  ThreadPool threads(3);
  EXPECT_TRUE(check(0, content_.size(), &threads).ok());
  flip(blob_, kChecksumBytes + 5);
  for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &threads}) {
    const Status found = check(0, content_.size(), pool);
    EXPECT_EQ(found.code(), StatusCode::kDataLoss);
    EXPECT_TRUE(found.message().starts_with(
        "the file 'name' is damaged: bytes 1048576 to 2097151 are not those that were stored;"))
        << found.message();
  }
  EXPECT_TRUE(check(0, kChecksumBytes).ok());
  EXPECT_FALSE(check(0, kChecksumBytes + 1).ok());
  EXPECT_TRUE(check(2 * kChecksumBytes, 1000).ok());
  EXPECT_TRUE(check(kChecksumBytes + 5, 0).ok());
}

TEST_F(ContentSumsTest, APartIsComparedOnceAndStaysWrong) {
  const MappedFile file = MappedFile::open(blob_).value();
  ASSERT_TRUE(file.check(file.bytes().first(1), nullptr).ok());
  flip(blob_, 7);
  flip(blob_, 2 * kChecksumBytes + 999);
  EXPECT_TRUE(file.check(file.bytes().first(10), nullptr).ok());
  // Written to since it was opened, which intact() tells of.
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(file.check(file.bytes().last(1), nullptr).message(),
              "the file 'name' was written to while it was in use");
  }
}

TEST_F(ContentSumsTest, BelongToTheBlobHoweverReached) {
  fs::create_directories(directory_ / "snapshots");
  fs::create_symlink("../blobs/name", directory_ / "snapshots" / "model.gguf");
  EXPECT_EQ(ContentSums::path_of(directory_ / "snapshots" / "model.gguf"), fs::canonical(sums_));
  fs::copy_file(blob_, directory_ / "name");
  EXPECT_EQ(ContentSums::path_of(directory_ / "name"), fs::path());
  EXPECT_FALSE(MappedFile::open(directory_ / "name")->has_checksums());
  fs::remove(sums_);
  EXPECT_FALSE(MappedFile::open(blob_)->has_checksums());
}

TEST_F(ContentSumsTest, DamagedOnesAreRefused) {
  const std::string good = read_text_file(sums_, 1 << 20).value();
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    ASSERT_TRUE(write_file_atomically(sums_, bad).ok());
    const Status found = check(0, 1);
    EXPECT_EQ(found.code(), StatusCode::kDataLoss) << at;
    EXPECT_TRUE(found.message().contains("hearth verify makes them anew")) << found.message();
  }
  for (std::size_t size = 0; size < good.size(); ++size) {
    ASSERT_TRUE(write_file_atomically(sums_, good.substr(0, size)).ok());
    EXPECT_EQ(check(0, 1).code(), StatusCode::kDataLoss) << size;
  }
  ASSERT_TRUE(write_file_atomically(sums_, good).ok());
  ASSERT_TRUE(write_file_atomically(blob_, content_ + "x").ok());
  EXPECT_TRUE(check(0, 1).message().contains("those of 2098152 bytes instead of 2098153"));
}

}  // namespace
}  // namespace hearth
