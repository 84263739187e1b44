// Speculative decoding without loss: guesses at the next tokens of a sequence are computed in the
// same step as its last token, and the sampler then picks position by position, with the same
// random numbers, as it would have done one step at a time. As long as it picks the guess, the next
// position's logits are there already. Rows have the same bits in any company (see
// docs/decisions/0002), so an answer is the same with guesses and without.
//
// A guess costs a row. Reading the weights is what a small step mostly does, so a few rows more
// hardly cost anything then, and their full price in a large one. How many guesses a sequence gets
// follows from that and from how many of its last ones were right; see docs/decisions/0009.
//
// Owned by the engine thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/draft_proposer.h"
#include "engine/scheduler.h"

namespace hearth {

// What a step costs and gives, in rows: reading the weights costs as much as kRowsPerWeightRead.
struct StepEstimate {
  static constexpr double kRowsPerWeightRead = 6.0;
  double rows = 0.0;
  double tokens = 0.0;  // That are expected to stay.

  double cost() const { return kRowsPerWeightRead + rows; }
};

// How often the guesses of one sequence were right lately, and what to bet on the next ones.
class Acceptance {
 public:
  // How many guesses are worth their rows in a step like this, which they are added to; at most
  // `room`. Now and then one more than that, or nobody would notice that guesses have become right.
  std::size_t draft_len(StepEstimate& step, std::size_t room);
  // Of `proposed` > 0 guesses the first `accepted` were right.
  void record(std::size_t proposed, std::size_t accepted);
  // The probability that a guess after right ones is right, too.
  double rate() const;

 private:
  double hits_ = 0.0;  // Both of these fade with every record().
  double misses_ = 0.0;
  std::uint32_t probe_interval_ = 1;  // Steps.
  std::uint32_t steps_to_probe_ = 0;
};

class Speculation {
 public:
  // At most max_tokens guesses for each of max_num_seqs sequences. Without a proposer there are
  // none.
  Speculation(std::unique_ptr<DraftProposer> proposer, std::size_t max_tokens,
              std::size_t max_num_seqs);

  // Proposes guesses for the scheduler's next step.
  void propose(Scheduler& scheduler);
  // Of a sequence's `proposed` guesses that were computed, the first `accepted` were right.
  void record(const SequenceId& id, std::size_t proposed, std::size_t accepted);
  // The sequence goes no further.
  void end(const SequenceId& id);

 private:
  std::unique_ptr<DraftProposer> proposer_;
  std::size_t max_tokens_;
  std::unordered_map<SequenceId, Acceptance, SequenceIdHash> acceptance_;
  std::vector<DecodingSequence> sequences_;
  std::vector<DraftTask> tasks_;
  std::vector<std::int32_t> drafts_;  // [max_num_seqs, max_tokens]
};

}  // namespace hearth
