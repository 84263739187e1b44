// Which blocks of key/value memory are free, in use or cached. Integers only: the memory itself is
// KvStorage's, so everything here is tested without a model.
//
// A block holds the keys and values of `block_size` consecutive positions of one sequence. A full
// block whose tokens are all known can be registered under a hash that covers the whole prefix up
// to its end; another sequence with the same prefix then shares it instead of computing it. A block
// with no users keeps its content as cache until its memory is wanted (least recently used first).
//
// Every operation takes constant time and allocates nothing, except clear_cache() and
// check_integrity(), which walk all blocks.
//
// Not thread-safe: owned by the engine thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/status.h"

namespace hearth {

using BlockId = std::int32_t;

// 128 bits, keyed per process, so that collisions can be neither met by chance nor made on purpose.
struct BlockHash {
  std::array<std::uint64_t, 2> words = {0, 0};
  bool operator==(const BlockHash&) const = default;
};

// Hash of one full block given the hash of the prefix before it (a default BlockHash for none; any
// other start makes a chain that only those who start the same way can meet). SipHash-2-4-128 of
// the prefix's hash, then the tokens.
class BlockHasher {
 public:
  // A fixed key in tests, a random one (see random_key) in servers.
  explicit BlockHasher(std::array<std::uint64_t, 2> key);
  // From the operating system's random source.
  static std::array<std::uint64_t, 2> random_key();
  BlockHash hash(const BlockHash& prefix, std::span<const std::int32_t> tokens) const;

 private:
  std::array<std::uint64_t, 2> key_;
};

class BlockPool {
 public:
  struct Stats {
    std::size_t total = 0;
    std::size_t in_use = 0;  // Referenced by at least one sequence.
    std::size_t cached = 0;  // No user, content kept for reuse.
    std::size_t free = 0;    // No user, no content. in_use + cached + free = total.
  };

  BlockPool(std::size_t num_blocks, std::size_t block_size);
  ~BlockPool();

  std::size_t block_size() const;
  Stats stats() const;
  // Blocks that allocate() can hand out now: free + cached.
  std::size_t num_available() const;

  // A block with one reference and no content; evicts the least recently used cached block when
  // none is free. nullopt when every block is in use.
  std::optional<BlockId> allocate();

  // One more user of a block in use.
  void add_reference(BlockId block);
  // One user less. The last one leaves the content in the cache if it was registered.
  void release(BlockId block);

  // Names the content of a full block in use. When that content is already registered under another
  // block, the other one stays and nothing happens.
  void register_content(BlockId block, const BlockHash& hash);
  // The block with this content, with a reference added for the caller; nullopt when there is none.
  std::optional<BlockId> find_and_reference(const BlockHash& hash);
  // Takes the name off a block in use: its content is not to be trusted, or not to be shared.
  void forget_content(BlockId block);
  // Forgets all cached content (blocks in use keep their memory but cannot be found any more).
  void clear_cache();

  // Checks every invariant (counts add up, no block in two states, hash table and lists agree).
  Status check_integrity() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
