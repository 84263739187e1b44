// Who guesses the tokens that a sequence will go on with. A guess is checked by the model in the
// step after it (see speculation.h), so a wrong one costs time and never changes an answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/scheduler.h"

namespace hearth {

// One sequence to continue. The spans outlive the call to propose().
struct DraftTask {
  SequenceId id;
  std::span<const std::int32_t> tokens;  // All that are known: those of the last call, and more.
  std::size_t max_len = 0;               // That `tokens` can grow to.
  std::span<std::int32_t> draft;         // Room for guesses; may be empty.

  std::size_t num_tokens =
      0;  // Set by propose(): how many of `draft` were guessed, from the first.
};

// Owned and called by the engine thread.
class DraftProposer {
 public:
  virtual ~DraftProposer() = default;
  // For all sequences of a step at once, so that a model can compute them as one batch. Allocates
  // nothing for a sequence that it has seen before.
  virtual void propose(std::span<DraftTask> tasks) = 0;
  // Forgets what it knows of a sequence, if anything.
  virtual void end(const SequenceId& id) = 0;
};

}  // namespace hearth
