// Byte-pair merging over a list of symbols: the one loop that byte-level BPE and SentencePiece
// share.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/status.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// Two neighbouring symbols; each stands for those that were added at a range of places.
struct SymbolPair {
  TokenId left_id = -1;  // -1: not in the vocabulary.
  TokenId right_id = -1;
  std::uint32_t begin = 0, middle = 0, end = 0;  // Left: [begin, middle), right: [middle, end).
};

// What merging a pair would give.
struct MergeCandidate {
  std::uint32_t order = 0;  // The lowest is merged first.
  TokenId merged_id = -1;   // Not negative.
};

// MergeCandidate::order of a score (no NaN) when the highest is merged first.
inline std::uint32_t order_of_score(float score) {
  constexpr std::uint32_t kSign = 0x8000'0000u;
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // One zero.
  return (bits & kSign) != 0 ? bits : ~(bits | kSign);
}

// Working memory of the merge loop, reused from word to word. The candidate of the lowest order is
// merged first, the leftmost one on a tie, until none is left: a heap and a linked list,
// O(n log n) for n symbols, which may be a whole prompt in one word. So memory counts: 16 bytes a
// symbol, and 10 for each of those that can be merged. At most 2^32 - 2 symbols.
//
// `Rule` is called with a SymbolPair and gives std::optional<MergeCandidate>; the result must
// depend on the pair only. It is called less than three times for each symbol.
class SymbolMerger {
 public:
  static constexpr std::size_t kStepsPerStopCheck = 4096;

  // Forgets all symbols; `num_symbols` are to be expected.
  void start(std::size_t num_symbols) {
    HEARTH_CHECK(num_symbols < kNoSymbol);
    symbols_.clear();
    symbols_.reserve(num_symbols);
  }

  void add(TokenId id) {
    const auto next = static_cast<std::uint32_t>(symbols_.size() + 1);
    symbols_.push_back({.id = id, .edge = next});
  }

  // Once `stop` is requested some merges may be left out.
  template <typename Rule>
  void merge_all(const Rule& rule, const std::stop_token& stop) {
    if (!find_candidates(rule, stop)) return;
    std::size_t num_steps = 0;
    while (!queue_.empty()) {
      if (++num_steps % kStepsPerStopCheck == 0 && stop.stop_requested()) break;
      const std::uint64_t entry = queue_.front();
      std::ranges::pop_heap(queue_, std::greater<>());
      queue_.pop_back();
      if (!is_current(entry)) continue;
      const std::uint32_t left = place_of(entry);
      merge(left);
      if (left > 0) consider(previous(left), rule);
      consider(left, rule);
    }
    constexpr std::size_t kKeptEntries = 1u << 16;
    if (queue_.capacity() > kKeptEntries) queue_ = {};
  }

  // Calls visit(id, begin, end) for each remaining symbol from left to right; the range is of the
  // places of the added symbols it stands for.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (std::uint32_t at = 0; at < symbols_.size(); at = symbols_[at].edge)
      visit(symbols_[at].id, at, symbols_[at].edge);
  }

 private:
  static constexpr std::uint32_t kNoSymbol = UINT32_MAX;
  static constexpr TokenId kNoCandidate = -1;

  // Kept at the first of the places it stands for.
  struct Symbol {
    TokenId id = -1;
    // At the first place: the place after the last one, which is the next symbol's. At the last
    // place, if that is another one: the first place. The former is always greater than its own
    // place and the latter smaller, so the list can be walked both ways with one link.
    std::uint32_t edge = 0;
    // The candidate of merging it with the next symbol.
    std::uint32_t order = 0;
    TokenId merged_id = kNoCandidate;
  };
  static_assert(sizeof(Symbol) == 16);

  // An entry of the queue: the order above the place of the left symbol. It is out of date when
  // that symbol has another candidate by now. Each candidate has its entry.
  static std::uint64_t entry_of(std::uint32_t order, std::uint32_t place) {
    return (std::uint64_t{order} << 32) | place;
  }
  static std::uint32_t place_of(std::uint64_t entry) { return static_cast<std::uint32_t>(entry); }
  bool is_current(std::uint64_t entry) const {
    const Symbol& left = symbols_[place_of(entry)];
    return left.merged_id != kNoCandidate && left.order == entry >> 32;
  }

  std::uint32_t previous(std::uint32_t place) const {
    const std::uint32_t last = place - 1;
    return symbols_[last].edge > last ? last : symbols_[last].edge;
  }

  // False: stopped.
  template <typename Rule>
  bool find_candidates(const Rule& rule, const std::stop_token& stop) {
    queue_.clear();
    std::size_t num_candidates = 0;
    for (std::uint32_t place = 0; place + 1 < symbols_.size(); ++place) {
      if (place % kStepsPerStopCheck == 0 && stop.stop_requested()) return false;
      num_candidates += set_candidate(place, rule) ? 1 : 0;
    }
    queue_.reserve(num_candidates + num_candidates / 4);
    for (std::uint32_t place = 0; place < symbols_.size(); ++place) {
      const Symbol& symbol = symbols_[place];
      if (symbol.merged_id != kNoCandidate) queue_.push_back(entry_of(symbol.order, place));
    }
    std::ranges::make_heap(queue_, std::greater<>());
    return true;
  }

  // Whether the symbol at `place` has a candidate now that it had not before.
  template <typename Rule>
  bool set_candidate(std::uint32_t place, const Rule& rule) {
    Symbol& left = symbols_[place];
    std::optional<MergeCandidate> candidate;
    if (left.edge < symbols_.size()) {
      const Symbol& right = symbols_[left.edge];
      candidate = rule(SymbolPair{.left_id = left.id,
                                  .right_id = right.id,
                                  .begin = place,
                                  .middle = left.edge,
                                  .end = right.edge});
    }
    const bool same = candidate && left.merged_id != kNoCandidate && left.order == candidate->order;
    left.order = candidate ? candidate->order : 0;
    left.merged_id = candidate ? candidate->merged_id : kNoCandidate;
    return candidate && !same;
  }

  template <typename Rule>
  void consider(std::uint32_t place, const Rule& rule) {
    if (!set_candidate(place, rule)) return;
    if (queue_.size() == queue_.capacity()) make_room();
    queue_.push_back(entry_of(symbols_[place].order, place));
    std::ranges::push_heap(queue_, std::greater<>());
  }

  // Drops what is out of date; the queue grows only where that does not help.
  void make_room() {
    std::erase_if(queue_, [this](std::uint64_t entry) { return !is_current(entry); });
    std::ranges::make_heap(queue_, std::greater<>());
    constexpr std::size_t kMinEntries = 64;
    const std::size_t wanted = std::max(kMinEntries, queue_.size() + queue_.size() / 4);
    if (queue_.capacity() < wanted) queue_.reserve(std::max(wanted, queue_.capacity() * 3 / 2));
  }

  // Joins the symbol at `place` with the next one, as its candidate says.
  void merge(std::uint32_t place) {
    Symbol& left = symbols_[place];
    Symbol& right = symbols_[left.edge];
    const std::uint32_t end = right.edge;
    left.id = left.merged_id;
    left.merged_id = kNoCandidate;
    right.merged_id = kNoCandidate;
    left.edge = end;
    symbols_[end - 1].edge = place;
  }

  std::vector<Symbol> symbols_;
  std::vector<std::uint64_t> queue_;
};

}  // namespace hearth
