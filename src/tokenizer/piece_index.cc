#include "tokenizer/piece_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace hearth {

namespace {

constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, odd.

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

std::uint64_t hash_word(std::uint64_t word) {
  return mix(word ^ kMultiplier, kMultiplier);
}

std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = bytes.size() * kMultiplier;
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    hash = hash_word(hash ^ word);
    bytes.remove_prefix(8);
  }
  std::uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  return hash_word(hash ^ rest);
}

std::size_t num_slots_for(std::size_t num_entries) {
  return std::bit_ceil(std::max<std::size_t>(num_entries, 1) * 2);
}

bool MergeTable::insert(std::int32_t left, std::int32_t right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  const std::size_t first = hash_word(key);
  for (std::size_t probe = 0; probe < kMaxProbes; ++probe) {
    Slot& slot = slots_[(first + probe) & (slots_.size() - 1)];
    if (slot.key == key && repeated_ == RepeatedPair::kFirstStays) return true;
    if (slot.key == kEmpty || slot.key == key) {
      slot = {.key = key, .merge = merge};
      return true;
    }
  }
  return false;
}

}  // namespace hearth
