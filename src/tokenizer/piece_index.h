// Hash tables that are filled once at load and then only read: no allocation per look-up, and a
// bound on the probes of every operation, so that a file made of colliding keys is refused, not
// slow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hearth {

// Open addressing with linear probing at a load of at most one half. With a good hash and a million
// entries the longest run stays below 100 slots.
inline constexpr std::size_t kMaxProbes = 1024;

std::uint64_t hash_bytes(std::string_view bytes);
std::uint64_t hash_word(std::uint64_t word);

// Number of slots for `num_entries`: a power of two, at least twice as many.
std::size_t num_slots_for(std::size_t num_entries);

// Text to index, for texts that somebody else keeps: `TextAt` gives the text of an index.
class PieceIndex {
 public:
  explicit PieceIndex(std::size_t num_entries) : slots_(num_slots_for(num_entries), kEmpty) {}

  // A later entry with the same text replaces an earlier one. False: too many collisions.
  template <typename TextAt>
  bool insert(std::uint32_t idx, const TextAt& text_at) {
    const std::string_view text = text_at(idx);
    for (std::size_t probe = 0; probe < kMaxProbes; ++probe) {
      std::uint32_t& slot = slots_[slot_of(text, probe)];
      if (slot == kEmpty || text_at(slot) == text) {
        slot = idx;
        return true;
      }
    }
    return false;
  }

  template <typename TextAt>
  std::optional<std::uint32_t> find(std::string_view text, const TextAt& text_at) const {
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = slot_of(text, 0);; at = (at + 1) & mask) {
      const std::uint32_t slot = slots_[at];
      if (slot == kEmpty) return std::nullopt;
      if (text_at(slot) == text) return slot;
    }
  }

 private:
  static constexpr std::uint32_t kEmpty = UINT32_MAX;
  std::size_t slot_of(std::string_view text, std::size_t probe) const {
    return (hash_bytes(text) + probe) & (slots_.size() - 1);
  }

  std::vector<std::uint32_t> slots_;
};

// A merge rule of byte-pair encoding: what a pair of neighbours becomes, and how early.
struct Merge {
  std::uint32_t rank = 0;
  std::int32_t merged_id = 0;
};

// Which of several rules for one pair stays.
enum class RepeatedPair : std::uint8_t { kFirstStays, kLastStays };

// (left id, right id) to merge rule.
class MergeTable {
 public:
  explicit MergeTable(std::size_t num_entries, RepeatedPair repeated = RepeatedPair::kFirstStays)
      : slots_(num_slots_for(num_entries)), repeated_(repeated) {}

  // False: too many collisions.
  bool insert(std::int32_t left, std::int32_t right, Merge merge);

  const Merge* find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = key_of(left, right);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash_word(key) & mask;; at = (at + 1) & mask) {
      if (slots_[at].key == key) return &slots_[at].merge;
      if (slots_[at].key == kEmpty) return nullptr;
    }
  }

 private:
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = UINT64_MAX;  // Ids are not negative.
  static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
           static_cast<std::uint32_t>(right);
  }

  std::vector<Slot> slots_;
  RepeatedPair repeated_;
};

}  // namespace hearth
