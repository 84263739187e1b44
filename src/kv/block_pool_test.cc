#include "kv/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>

#include "kv/siphash.h"

namespace hearth {
namespace {

BlockHash name(std::uint64_t number) {
  return BlockHash{{number, number * 0x9e3779b97f4a7c15ULL}};
}

// Bytes 0, 1, 2, ... under the key 00 01 .. 0f. The 16 result bytes in hexadecimal.
std::string siphash_of_counting_bytes(unsigned length) {
  SipHash128 hasher({0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL});
  std::uint64_t word = 0;
  for (unsigned byte = 0; byte < length; ++byte) {
    word |= std::uint64_t{byte} << (8 * (byte % 8));
    if (byte % 8 == 7) {
      hasher.add_word(word);
      word = 0;
    }
  }
  std::string text;
  for (const std::uint64_t half : hasher.finish(word, length % 8)) {
    for (unsigned byte = 0; byte < 8; ++byte) {
      text += fmt::format("{:02X}", (half >> (8 * byte)) & 0xff);
    }
  }
  return text;
}

TEST(SipHash128Test, AgreesWithOpenSsl) {
  // openssl mac -macopt hexkey:000102..0f -macopt size:16 -in FILE SIPHASH; the first two are also
  // in the authors' own table.
  EXPECT_EQ(siphash_of_counting_bytes(0), "A3817F04BA25A8E66DF67214C7550293");
  EXPECT_EQ(siphash_of_counting_bytes(1), "DA87C1D86B99AF44347659119B22FC45");
  EXPECT_EQ(siphash_of_counting_bytes(4), "F88164C12D9C8FAF7D0F6E7C7BCD5579");
  EXPECT_EQ(siphash_of_counting_bytes(8), "3B62A9BA6258F5610F83E264F31497B4");
  EXPECT_EQ(siphash_of_counting_bytes(15), "5493E99933B0A8117E08EC0F97CFC3D9");
  EXPECT_EQ(siphash_of_counting_bytes(16), "6EE2A4CA67B054BBFD3315BF85230577");
  EXPECT_EQ(siphash_of_counting_bytes(31), "2939B0183223FAFC1723DE4F52C43D35");
  EXPECT_EQ(siphash_of_counting_bytes(63), "5150D1772F50834A503E069A973FBD7C");
}

TEST(BlockHasherTest, DependsOnKeyPrefixOrderAndLength) {
  const BlockHasher hasher({1, 2});
  const std::vector<std::int32_t> tokens = {5, 6, 7};
  const BlockHash base = hasher.hash({}, tokens);
  EXPECT_EQ(base, BlockHasher({1, 2}).hash({}, tokens));
  EXPECT_NE(base, BlockHasher({1, 3}).hash({}, tokens));
  EXPECT_NE(base, hasher.hash(base, tokens));
  EXPECT_NE(base, hasher.hash({}, std::vector<std::int32_t>{6, 5, 7}));
  EXPECT_NE(base, hasher.hash({}, std::vector<std::int32_t>{5, 6, 7, 0}));
  EXPECT_NE(base, hasher.hash({}, std::vector<std::int32_t>{5, 6}));
}

TEST(BlockHasherTest, RandomKeysDiffer) {
  EXPECT_NE(BlockHasher::random_key(), BlockHasher::random_key());
}

TEST(BlockPoolTest, HandsOutEveryBlockOnceThenRefuses) {
  BlockPool pool(3, 16);
  std::set<BlockId> seen;
  for (int i = 0; i < 3; ++i)
    seen.insert(pool.allocate().value());
  EXPECT_EQ(seen, (std::set<BlockId>{0, 1, 2}));
  EXPECT_FALSE(pool.allocate().has_value());
  EXPECT_EQ(pool.num_available(), 0u);
  EXPECT_TRUE(pool.check_integrity().ok());
}

TEST(BlockPoolTest, ContentSurvivesItsLastUserUntilTheMemoryIsWanted) {
  BlockPool pool(2, 16);
  const BlockId kept = pool.allocate().value();
  pool.register_content(kept, name(1));
  pool.release(kept);
  EXPECT_EQ(pool.stats().cached, 1u);
  EXPECT_EQ(pool.find_and_reference(name(1)), kept);
  EXPECT_EQ(pool.stats().in_use, 1u);
  pool.release(kept);

  ASSERT_TRUE(pool.allocate().has_value());  // The free one.
  EXPECT_EQ(pool.allocate(), kept);          // Evicted.
  EXPECT_FALSE(pool.find_and_reference(name(1)).has_value());
  EXPECT_TRUE(pool.check_integrity().ok());
}

TEST(BlockPoolTest, EvictsTheLeastRecentlyReleasedFirst) {
  BlockPool pool(3, 16);
  std::array<BlockId, 3> blocks = {};
  for (std::uint64_t i = 0; i < 3; ++i) {
    blocks[i] = pool.allocate().value();
    pool.register_content(blocks[i], name(i));
  }
  for (const std::size_t i : {1u, 0u, 2u})
    pool.release(blocks[i]);
  pool.release(pool.find_and_reference(name(1)).value());  // Used again: now the newest.
  EXPECT_EQ(pool.allocate(), blocks[0]);
  EXPECT_EQ(pool.allocate(), blocks[2]);
  EXPECT_EQ(pool.allocate(), blocks[1]);
}

TEST(BlockPoolTest, SharedBlockStaysInUseUntilTheLastRelease) {
  BlockPool pool(1, 16);
  const BlockId block = pool.allocate().value();
  pool.add_reference(block);
  pool.release(block);
  EXPECT_EQ(pool.stats().in_use, 1u);
  EXPECT_FALSE(pool.allocate().has_value());
  pool.release(block);
  EXPECT_EQ(pool.stats().free, 1u);
}

TEST(BlockPoolTest, FirstBlockWithAContentKeepsTheName) {
  BlockPool pool(2, 16);
  const BlockId first = pool.allocate().value();
  const BlockId second = pool.allocate().value();
  pool.register_content(first, name(7));
  pool.register_content(second, name(7));
  pool.release(second);
  EXPECT_EQ(pool.stats().free, 1u);
  EXPECT_EQ(pool.find_and_reference(name(7)), first);
  EXPECT_TRUE(pool.check_integrity().ok());
}

TEST(BlockPoolTest, ForgottenContentIsNeitherFoundNorCached) {
  BlockPool pool(1, 16);
  const BlockId block = pool.allocate().value();
  pool.register_content(block, name(7));
  pool.forget_content(block);
  EXPECT_FALSE(pool.find_and_reference(name(7)).has_value());
  pool.release(block);
  EXPECT_EQ(pool.stats().free, 1u);
  EXPECT_TRUE(pool.check_integrity().ok());
}

TEST(BlockPoolTest, ClearCacheForgetsBlocksInUseToo) {
  BlockPool pool(2, 16);
  const BlockId used = pool.allocate().value();
  const BlockId cached = pool.allocate().value();
  pool.register_content(used, name(1));
  pool.register_content(cached, name(2));
  pool.release(cached);
  pool.clear_cache();
  EXPECT_FALSE(pool.find_and_reference(name(1)).has_value());
  EXPECT_FALSE(pool.find_and_reference(name(2)).has_value());
  EXPECT_EQ(pool.stats().free, 1u);
  EXPECT_EQ(pool.stats().in_use, 1u);
  EXPECT_TRUE(pool.check_integrity().ok());
}

TEST(BlockPoolDeathTest, ReleasingAFreeBlockIsABrokenInvariant) {
  BlockPool pool(1, 16);
  EXPECT_DEATH(pool.release(0), "references");
}

// The same behaviour, written as plainly as possible.
class PlainPool {
 public:
  explicit PlainPool(int num_blocks) {
    for (int i = 0; i < num_blocks; ++i)
      references_[i] = 0;
  }

  bool can_allocate() const {
    return std::ranges::any_of(references_, [](const auto& entry) { return entry.second == 0; });
  }
  // Which block an allocation must evict: none while a free one is left.
  std::optional<BlockId> next_victim() const {
    const bool has_free = std::ranges::any_of(references_, [this](const auto& entry) {
      return entry.second == 0 && !names_.contains(entry.first);
    });
    return has_free || lru_.empty() ? std::nullopt : std::optional(lru_.front());
  }
  void allocated(BlockId block) {
    ASSERT_EQ(references_.at(block), 0);
    if (const auto victim = next_victim(); victim.has_value()) {
      ASSERT_EQ(block, *victim);
    }
    lru_.remove(block);
    names_.erase(block);
    references_[block] = 1;
  }
  void reference(BlockId block) {
    lru_.remove(block);
    ++references_[block];
  }
  void release(BlockId block) {
    if (--references_[block] == 0 && names_.contains(block)) lru_.push_back(block);
  }
  void register_content(BlockId block, std::uint64_t content) {
    if (!find(content).has_value()) names_[block] = content;
  }
  void forget(BlockId block) { names_.erase(block); }
  void clear() {
    names_.clear();
    lru_.clear();
  }
  std::optional<BlockId> find(std::uint64_t content) const {
    for (const auto& [block, named] : names_) {
      if (named == content) return block;
    }
    return std::nullopt;
  }
  bool named(BlockId block) const { return names_.contains(block); }
  std::vector<BlockId> in_use() const {
    std::vector<BlockId> blocks;
    for (const auto& [block, count] : references_) {
      if (count > 0) blocks.push_back(block);
    }
    return blocks;
  }
  std::size_t num_cached() const { return lru_.size(); }

 private:
  std::map<BlockId, int> references_;
  std::map<BlockId, std::uint64_t> names_;
  std::list<BlockId> lru_;
};

// One random operation on both pools.
void step(BlockPool& pool, PlainPool& plain, std::mt19937& random) {
  const auto pick = [&](std::size_t bound) { return random() % bound; };
  const std::vector<BlockId> in_use = plain.in_use();
  const std::uint64_t content = pick(40);
  switch (pick(8)) {
    case 0:
    case 1: {
      const auto block = pool.allocate();
      ASSERT_EQ(block.has_value(), plain.can_allocate());
      if (block.has_value()) plain.allocated(*block);
      return;
    }
    case 2: {
      const auto block = pool.find_and_reference(name(content));
      ASSERT_EQ(block, plain.find(content));
      if (block.has_value()) plain.reference(*block);
      return;
    }
    case 3:
      if (pick(50) == 0) {
        pool.clear_cache();
        plain.clear();
      }
      return;
    default:
      break;
  }
  if (in_use.empty()) return;
  const BlockId block = in_use[pick(in_use.size())];
  switch (pick(8)) {
    case 0:
      pool.add_reference(block);
      plain.reference(block);
      return;
    case 1:
      pool.forget_content(block);
      plain.forget(block);
      return;
    case 2:
    case 3:
    case 4:
      if (plain.named(block)) return;
      pool.register_content(block, name(content));
      plain.register_content(block, content);
      return;
    default:
      pool.release(block);
      plain.release(block);
  }
}

TEST(BlockPoolTest, BehavesLikeThePlainModelUnderRandomOperations) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const int num_blocks = 1 + static_cast<int>(random() % 20);
    BlockPool pool(static_cast<std::size_t>(num_blocks), 16);
    PlainPool plain(num_blocks);
    for (int i = 0; i < 1500; ++i) {
      ASSERT_NO_FATAL_FAILURE(step(pool, plain, random)) << "seed " << seed << " step " << i;
      const BlockPool::Stats stats = pool.stats();
      ASSERT_EQ(stats.in_use, plain.in_use().size()) << "seed " << seed << " step " << i;
      ASSERT_EQ(stats.cached, plain.num_cached()) << "seed " << seed << " step " << i;
      ASSERT_EQ(stats.in_use + stats.cached + stats.free, stats.total);
      ASSERT_EQ(pool.check_integrity(), Status()) << "seed " << seed << " step " << i;
    }
  }
}

}  // namespace
}  // namespace hearth
