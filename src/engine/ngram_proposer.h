// Guesses from the text itself: the last tokens of a sequence are looked up in what came before,
// and what followed there is proposed. Costs no model and pays where an answer repeats its prompt
// or itself: summaries, edits, quotes, code. (Saxena: "Prompt lookup decoding", 2023.)
//
// The earlier places come from a hash chain over all runs of min_match tokens, as in LZ77: built
// token by token, and bounded in memory and in the places that one look-up visits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/draft_proposer.h"

namespace hearth {

struct NgramOptions {
  // Shorter repetitions are chance, and not worth a guess.
  std::size_t min_match = 3;
  // Among longer ones the most recent wins.
  std::size_t max_match = 16;
  // Places further back than that many tokens are forgotten. A power of two; 8 bytes each.
  std::size_t window = 16384;
};

// Finds repetitions in one growing sequence. A value; not thread-safe.
class NgramIndex {
 public:
  // For sequences of up to max_len tokens.
  NgramIndex(const NgramOptions& options, std::size_t max_len);

  // Where the longest run of max_match to min_match tokens that ends `tokens` stood before: the
  // position after it; of several the last one. 0 when there is none. `tokens` are those of the
  // last call, and more.
  std::size_t find(std::span<const std::int32_t> tokens);

 private:
  std::size_t bucket_of(std::span<const std::int32_t> tokens, std::size_t end) const;
  void add(std::span<const std::int32_t> tokens, std::size_t end);
  std::size_t match_len(std::span<const std::int32_t> tokens, std::size_t end) const;

  NgramOptions options_;
  std::size_t mask_;
  // Both hold positions after a run; 0 is none. Positions of one bucket form a chain, last first.
  std::vector<std::uint32_t> last_;    // [bucket]
  std::vector<std::uint32_t> before_;  // [position & mask_]: the next one in its chain.
  std::size_t next_end_;               // All before this are in the chains.
};

class NgramProposer final : public DraftProposer {
 public:
  explicit NgramProposer(const NgramOptions& options = {}) : options_(options) {}
  void propose(std::span<DraftTask> tasks) override;
  void end(const SequenceId& id) override { indexes_.erase(id); }

 private:
  NgramOptions options_;
  std::unordered_map<SequenceId, NgramIndex, SequenceIdHash> indexes_;
};

}  // namespace hearth
