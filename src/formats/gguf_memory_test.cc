// What a hostile file can make the reader allocate.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/gguf.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/gguf_writer.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxExtraBytes = std::size_t{64} << 20;

using test::ByteSink;
using test::GgufWriter;
namespace gguf_value = test::gguf_value;

struct Outcome {
  StatusCode code = StatusCode::kOk;
  std::size_t extra_bytes = 0;
};

Outcome read_and_measure(const std::vector<std::byte>& bytes) {
  const std::size_t before = test::live_bytes();
  test::reset_peak_bytes();
  AllocationBudget budget;
  const auto directory = read_gguf_directory(bytes, budget);
  Outcome outcome;
  outcome.extra_bytes = test::peak_bytes() - before;
  if (!directory.has_value()) outcome.code = directory.error().code();
  return outcome;
}

// Repeats `item` so that the claims are all backed by bytes of the file.
std::vector<std::byte> file_of(std::uint64_t count, const ByteSink& item, bool as_entries) {
  ByteSink body;
  if (!as_entries) body.put(std::uint64_t{1}).put('k').put(gguf_value::kArray);
  if (!as_entries) body.put(gguf_value::kText).put(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    body.put_bytes(item.bytes());
  }
  ByteSink file;
  file.put('G').put('G').put('U').put('F').put(std::uint32_t{3}).put(std::uint64_t{0});
  file.put(as_entries ? count : std::uint64_t{1}).put_bytes(body.bytes());
  return file.take();
}

TEST(GgufMemoryTest, BytesThatWidenInMemoryAreRefusedBeforeTheyAreAllocated) {
  GgufWriter writer;
  writer.add("wide", std::vector<std::uint8_t>(24'000'000));
  const Outcome outcome = read_and_measure(writer.bytes());
  EXPECT_EQ(outcome.code, StatusCode::kOutOfRange);
  EXPECT_LT(outcome.extra_bytes, kMaxExtraBytes);
}

TEST(GgufMemoryTest, ManyArraysShareOneBudget) {
  GgufWriter writer;
  for (int i = 0; i < 20; ++i) {
    writer.add("wide" + std::to_string(i), std::vector<std::uint8_t>(1'000'000));
  }
  const Outcome outcome = read_and_measure(writer.bytes());
  EXPECT_EQ(outcome.code, StatusCode::kOutOfRange);
  EXPECT_LT(outcome.extra_bytes, kMaxExtraBytes);
}

TEST(GgufMemoryTest, MillionsOfEmptyTextsAreRefused) {
  const Outcome outcome =
      read_and_measure(file_of(4'000'000, ByteSink().put(std::uint64_t{0}), false));
  EXPECT_EQ(outcome.code, StatusCode::kOutOfRange);
  EXPECT_LT(outcome.extra_bytes, kMaxExtraBytes);
}

TEST(GgufMemoryTest, MillionsOfEntriesAreRefused) {
  ByteSink entry;
  entry.put_text("k").put(gguf_value::kBool).put(std::uint8_t{0});
  const Outcome outcome = read_and_measure(file_of(2'000'000, entry, true));
  EXPECT_EQ(outcome.code, StatusCode::kOutOfRange);
  EXPECT_LT(outcome.extra_bytes, kMaxExtraBytes);
}

TEST(GgufMemoryTest, ALargeVocabularyFits) {
  GgufWriter writer;
  writer.add("tokens", std::vector<std::string>(262'144, "token"));
  writer.add("scores", std::vector<float>(262'144));
  writer.add("types", std::vector<std::int32_t>(262'144));
  writer.add("merges", std::vector<std::string>(514'906, "to ken"));
  const Outcome outcome = read_and_measure(writer.bytes());
  EXPECT_EQ(outcome.code, StatusCode::kOk);
  EXPECT_LT(outcome.extra_bytes, kMaxExtraBytes);
}

}  // namespace
}  // namespace hearth
