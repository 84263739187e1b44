// Byte-pair merging over a list of symbols: the one loop that byte-level BPE and SentencePiece
// share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace hearth {

// A stretch of the text that has become one symbol.
struct Symbol {
  static constexpr std::uint32_t kNone = UINT32_MAX;
  std::size_t begin = 0;   // Byte offset in the text.
  std::size_t length = 0;  // In bytes; 0 once merged into its left neighbour.
  TokenId id = -1;         // -1: not in the vocabulary.
  std::uint32_t prev = kNone;
  std::uint32_t next = kNone;
};

// Working memory of the merge loop, reused from word to word. The best candidate is merged first
// (`Better`: a strict order of priorities), the leftmost one on a tie, until none is left: a heap
// and a linked list, O(n log n) for n symbols.
//
// `Rule` is called with two neighbouring symbols and gives the candidate of merging them, if any.
// Its results must depend on the two symbols only.
template <typename Priority, typename Better>
class SymbolMerger {
 public:
  struct Candidate {
    Priority priority{};
    TokenId merged_id = -1;
  };

  void clear() { symbols_.clear(); }

  void add(std::size_t begin, std::size_t length, TokenId id) {
    const auto idx = static_cast<std::uint32_t>(symbols_.size());
    if (idx > 0) symbols_.back().next = idx;
    symbols_.push_back({.begin = begin,
                        .length = length,
                        .id = id,
                        .prev = idx == 0 ? Symbol::kNone : idx - 1,
                        .next = Symbol::kNone});
  }

  // Once `stop` is requested some merges may be left out.
  template <typename Rule>
  void merge_all(const Rule& rule, const std::stop_token& stop) {
    queue_.clear();
    for (std::uint32_t left = 0; left + 1 < symbols_.size(); ++left)
      consider(left, rule);
    std::size_t num_steps = 0;
    while (!queue_.empty()) {
      if (++num_steps % kStepsPerStopCheck == 0 && stop.stop_requested()) return;
      std::pop_heap(queue_.begin(), queue_.end(), later);
      const Entry entry = queue_.back();
      queue_.pop_back();
      Symbol& left = symbols_[entry.left];
      // A symbol only ever grows, so equal lengths mean that neither side has changed.
      if (left.length != entry.left_length || left.next == Symbol::kNone) continue;
      Symbol& right = symbols_[left.next];
      if (right.length != entry.right_length) continue;
      left.length += right.length;
      left.id = entry.merged_id;
      right.length = 0;
      left.next = right.next;
      if (right.next != Symbol::kNone) symbols_[right.next].prev = entry.left;
      if (left.prev != Symbol::kNone) consider(left.prev, rule);
      consider(entry.left, rule);
    }
  }

  // Calls visit(symbol) for each remaining symbol from left to right.
  template <typename Visit>
  void for_each(const Visit& visit) const {
    if (symbols_.empty()) return;
    for (std::uint32_t idx = 0; idx != Symbol::kNone; idx = symbols_[idx].next) {
      visit(symbols_[idx]);
    }
  }

  static constexpr std::size_t kStepsPerStopCheck = 4096;

 private:
  struct Entry {
    Priority priority{};
    std::uint32_t left = 0;
    TokenId merged_id = -1;
    std::size_t left_length = 0;
    std::size_t right_length = 0;
  };

  // The order of a heap whose top is the best, leftmost entry.
  static bool later(const Entry& a, const Entry& b) {
    const Better better;
    if (better(a.priority, b.priority)) return false;
    if (better(b.priority, a.priority)) return true;
    return a.left > b.left;
  }

  template <typename Rule>
  void consider(std::uint32_t left_idx, const Rule& rule) {
    const Symbol& left = symbols_[left_idx];
    if (left.next == Symbol::kNone) return;
    const Symbol& right = symbols_[left.next];
    const std::optional<Candidate> candidate = rule(left, right);
    if (!candidate) return;
    queue_.push_back({.priority = candidate->priority,
                      .left = left_idx,
                      .merged_id = candidate->merged_id,
                      .left_length = left.length,
                      .right_length = right.length});
    std::push_heap(queue_.begin(), queue_.end(), later);
  }

  std::vector<Symbol> symbols_;
  std::vector<Entry> queue_;
};

}  // namespace hearth
