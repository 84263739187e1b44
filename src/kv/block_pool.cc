#include "kv/block_pool.h"

#include <sys/random.h>

#include <bit>
#include <limits>

#include "kv/siphash.h"

namespace hearth {
namespace {

constexpr BlockId kNoBlock = -1;

std::size_t as_idx(BlockId block) {
  return static_cast<std::size_t>(block);
}

// Open addressing with linear probing over a fixed table at most half full. The keys are the
// blocks' own hashes, so an entry is just a block id.
class HashIndex {
 public:
  explicit HashIndex(std::size_t max_entries)
      : slots_(std::bit_ceil(2 * max_entries), kNoBlock), mask_(slots_.size() - 1) {}

  BlockId find(const BlockHash& hash, const std::vector<BlockHash>& names) const {
    for (std::size_t slot = home(hash); slots_[slot] != kNoBlock; slot = next(slot)) {
      if (names[as_idx(slots_[slot])] == hash) return slots_[slot];
    }
    return kNoBlock;
  }

  void insert(BlockId block, const std::vector<BlockHash>& names) {
    std::size_t slot = home(names[as_idx(block)]);
    while (slots_[slot] != kNoBlock)
      slot = next(slot);
    slots_[slot] = block;
  }

  // Closes the gap by moving later entries of the probe run back, so that no tombstones pile up.
  void erase(BlockId block, const std::vector<BlockHash>& names) {
    std::size_t gap = home(names[as_idx(block)]);
    while (slots_[gap] != block)
      gap = next(gap);
    for (std::size_t slot = next(gap); slots_[slot] != kNoBlock; slot = next(slot)) {
      const std::size_t wanted = home(names[as_idx(slots_[slot])]);
      if (((slot - wanted) & mask_) < ((slot - gap) & mask_)) continue;
      slots_[gap] = slots_[slot];
      gap = slot;
    }
    slots_[gap] = kNoBlock;
  }

  std::size_t count() const {
    std::size_t entries = 0;
    for (const BlockId block : slots_)
      entries += block != kNoBlock ? 1 : 0;
    return entries;
  }

 private:
  std::size_t home(const BlockHash& hash) const { return hash.words[0] & mask_; }
  std::size_t next(std::size_t slot) const { return (slot + 1) & mask_; }

  std::vector<BlockId> slots_;
  std::size_t mask_;
};

}  // namespace

BlockHasher::BlockHasher(std::array<std::uint64_t, 2> key) : key_(key) {}

std::array<std::uint64_t, 2> BlockHasher::random_key() {
  std::array<std::uint64_t, 2> key = {};
  // Requests of up to 256 bytes are never cut short once the source is initialised.
  HEARTH_CHECK(::getrandom(key.data(), sizeof(key), 0) == static_cast<ssize_t>(sizeof(key)));
  return key;
}

BlockHash BlockHasher::hash(const BlockHash& prefix, std::span<const std::int32_t> tokens) const {
  SipHash128 hasher(key_);
  hasher.add_word(prefix.words[0]);
  hasher.add_word(prefix.words[1]);
  std::size_t idx = 0;
  for (; idx + 2 <= tokens.size(); idx += 2) {
    const std::uint64_t low = static_cast<std::uint32_t>(tokens[idx]);
    const std::uint64_t high = static_cast<std::uint32_t>(tokens[idx + 1]);
    hasher.add_word(low | (high << 32));
  }
  if (idx == tokens.size()) return {hasher.finish()};
  return {hasher.finish(static_cast<std::uint32_t>(tokens[idx]), 4)};
}

// A block is in exactly one state: in use (references > 0), cached (no references, has a name, in
// the LRU list) or free (no references, no name, on the free stack).
struct BlockPool::Impl {
  Impl(std::size_t num_blocks, std::size_t block_len)
      : block_size(block_len),
        references(num_blocks, 0),
        named(num_blocks, 0),
        names(num_blocks),
        newer(num_blocks, kNoBlock),
        older(num_blocks, kNoBlock),
        index(num_blocks) {
    free_stack.reserve(num_blocks);
    // Low ids are handed out first: memory behind high ids stays untouched while load is light.
    for (std::size_t idx = num_blocks; idx > 0; --idx) {
      free_stack.push_back(static_cast<BlockId>(idx - 1));
    }
  }

  bool in_range(BlockId block) const { return block >= 0 && as_idx(block) < references.size(); }

  void check_in_use(BlockId block) const {
    HEARTH_CHECK(in_range(block) && references[as_idx(block)] > 0);
  }

  void append_to_lru(BlockId block) {
    older[as_idx(block)] = newest;
    newer[as_idx(block)] = kNoBlock;
    if (newest != kNoBlock) newer[as_idx(newest)] = block;
    newest = block;
    if (oldest == kNoBlock) oldest = block;
    ++num_cached;
  }

  void remove_from_lru(BlockId block) {
    const BlockId before = older[as_idx(block)];
    const BlockId after = newer[as_idx(block)];
    (before != kNoBlock ? newer[as_idx(before)] : oldest) = after;
    (after != kNoBlock ? older[as_idx(after)] : newest) = before;
    older[as_idx(block)] = newer[as_idx(block)] = kNoBlock;
    --num_cached;
  }

  void remove_name(BlockId block) {
    index.erase(block, names);
    named[as_idx(block)] = 0;
    names[as_idx(block)] = BlockHash{};
  }

  Status check_block(BlockId block) const;
  Status check_lists() const;

  std::size_t block_size;
  std::vector<std::uint32_t> references;
  std::vector<std::uint8_t> named;
  std::vector<BlockHash> names;
  std::vector<BlockId> newer, older;  // The LRU list, through the cached blocks.
  BlockId oldest = kNoBlock;
  BlockId newest = kNoBlock;
  std::size_t num_cached = 0;
  std::vector<BlockId> free_stack;
  HashIndex index;
};

BlockPool::BlockPool(std::size_t num_blocks, std::size_t block_size) {
  HEARTH_CHECK(num_blocks > 0 && block_size > 0);
  HEARTH_CHECK(num_blocks <= static_cast<std::size_t>(std::numeric_limits<BlockId>::max()));
  impl_ = std::make_unique<Impl>(num_blocks, block_size);
}

BlockPool::~BlockPool() = default;

std::size_t BlockPool::block_size() const {
  return impl_->block_size;
}

BlockPool::Stats BlockPool::stats() const {
  Stats stats;
  stats.total = impl_->references.size();
  stats.cached = impl_->num_cached;
  stats.free = impl_->free_stack.size();
  stats.in_use = stats.total - stats.cached - stats.free;
  return stats;
}

std::size_t BlockPool::num_available() const {
  return impl_->free_stack.size() + impl_->num_cached;
}

std::optional<BlockId> BlockPool::allocate() {
  Impl& pool = *impl_;
  BlockId block = kNoBlock;
  if (!pool.free_stack.empty()) {
    block = pool.free_stack.back();
    pool.free_stack.pop_back();
  } else if (pool.oldest != kNoBlock) {
    block = pool.oldest;
    pool.remove_from_lru(block);
    pool.remove_name(block);
  } else {
    return std::nullopt;
  }
  pool.references[as_idx(block)] = 1;
  return block;
}

void BlockPool::add_reference(BlockId block) {
  impl_->check_in_use(block);
  ++impl_->references[as_idx(block)];
}

void BlockPool::release(BlockId block) {
  Impl& pool = *impl_;
  pool.check_in_use(block);
  if (--pool.references[as_idx(block)] > 0) return;
  if (pool.named[as_idx(block)] != 0) {
    pool.append_to_lru(block);
  } else {
    pool.free_stack.push_back(block);
  }
}

void BlockPool::register_content(BlockId block, const BlockHash& hash) {
  Impl& pool = *impl_;
  pool.check_in_use(block);
  HEARTH_CHECK(pool.named[as_idx(block)] == 0 || pool.names[as_idx(block)] == hash);
  if (pool.index.find(hash, pool.names) != kNoBlock) return;
  pool.names[as_idx(block)] = hash;
  pool.named[as_idx(block)] = 1;
  pool.index.insert(block, pool.names);
}

std::optional<BlockId> BlockPool::find_and_reference(const BlockHash& hash) {
  Impl& pool = *impl_;
  const BlockId block = pool.index.find(hash, pool.names);
  if (block == kNoBlock) return std::nullopt;
  if (pool.references[as_idx(block)]++ == 0) pool.remove_from_lru(block);
  return block;
}

void BlockPool::forget_content(BlockId block) {
  impl_->check_in_use(block);
  if (impl_->named[as_idx(block)] != 0) impl_->remove_name(block);
}

void BlockPool::clear_cache() {
  Impl& pool = *impl_;
  while (pool.oldest != kNoBlock) {
    const BlockId block = pool.oldest;
    pool.remove_from_lru(block);
    pool.free_stack.push_back(block);
  }
  for (std::size_t idx = 0; idx < pool.references.size(); ++idx) {
    if (pool.named[idx] != 0) pool.remove_name(static_cast<BlockId>(idx));
  }
}

Status BlockPool::Impl::check_block(BlockId block) const {
  const std::size_t idx = as_idx(block);
  if (named[idx] != 0 && index.find(names[idx], names) != block) {
    return make_status(StatusCode::kInternal, "block {} has a name that does not lead to it",
                       block);
  }
  if (named[idx] == 0 && names[idx] != BlockHash{}) {
    return make_status(StatusCode::kInternal, "block {} kept the name it lost", block);
  }
  return {};
}

Status BlockPool::Impl::check_lists() const {
  std::vector<std::uint8_t> seen(references.size(), 0);
  for (const BlockId block : free_stack) {
    if (!in_range(block) || references[as_idx(block)] != 0 || named[as_idx(block)] != 0 ||
        seen[as_idx(block)]++ != 0) {
      return make_status(StatusCode::kInternal, "block {} is wrongly on the free stack", block);
    }
  }
  std::size_t listed = 0;
  BlockId before = kNoBlock;
  for (BlockId block = oldest; block != kNoBlock; block = newer[as_idx(block)]) {
    if (!in_range(block) || references[as_idx(block)] != 0 || named[as_idx(block)] == 0 ||
        older[as_idx(block)] != before || seen[as_idx(block)]++ != 0) {
      return make_status(StatusCode::kInternal, "block {} is wrongly in the cache list", block);
    }
    before = block;
    ++listed;
  }
  if (listed != num_cached || before != newest) {
    return make_status(StatusCode::kInternal, "the cache list has {} blocks, {} are counted",
                       listed, num_cached);
  }
  for (std::size_t idx = 0; idx < references.size(); ++idx) {
    if (references[idx] == 0 && seen[idx] == 0) {
      return make_status(StatusCode::kInternal, "block {} is lost: no user and in no list", idx);
    }
  }
  return {};
}

Status BlockPool::check_integrity() const {
  std::size_t num_named = 0;
  for (std::size_t idx = 0; idx < impl_->references.size(); ++idx) {
    HEARTH_RETURN_IF_ERROR(impl_->check_block(static_cast<BlockId>(idx)));
    num_named += impl_->named[idx];
  }
  HEARTH_RETURN_IF_ERROR(impl_->check_lists());
  if (const std::size_t indexed = impl_->index.count(); indexed != num_named) {
    return make_status(StatusCode::kInternal, "{} blocks have a name, the index holds {}",
                       num_named, indexed);
  }
  return {};
}

}  // namespace hearth
