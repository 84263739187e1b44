#include "engine/speculation.h"

#include <algorithm>
#include <utility>

namespace hearth {
namespace {

constexpr double kFading = 0.9;
constexpr double kPrior = 1.0;  // Of hits and of misses: one guess in two is right.
constexpr std::uint32_t kFirstProbeInterval = 16;
constexpr std::uint32_t kLongestProbeInterval = 128;

}  // namespace

double Acceptance::rate() const {
  return (hits_ + kPrior) / (hits_ + misses_ + 2 * kPrior);
}

// One more guess pays while it yields more tokens for its row than the step does without it.
std::size_t Acceptance::draft_len(StepEstimate& step, std::size_t room) {
  std::size_t length = 0;
  double probability = rate();
  while (length < room && probability * step.cost() > step.tokens) {
    step.tokens += probability;
    step.rows += 1.0;
    probability *= rate();
    ++length;
  }
  if (length > 0 || room == 0) return length;
  if (steps_to_probe_ > 0) {
    --steps_to_probe_;
    return 0;
  }
  return 1;
}

void Acceptance::record(std::size_t proposed, std::size_t accepted) {
  const bool missed = accepted < proposed;
  hits_ = hits_ * kFading + static_cast<double>(accepted);
  misses_ = misses_ * kFading + (missed ? 1.0 : 0.0);
  if (missed) {
    probe_interval_ = std::clamp(2 * probe_interval_, kFirstProbeInterval, kLongestProbeInterval);
    steps_to_probe_ = probe_interval_;
  } else {
    probe_interval_ = 1;
    steps_to_probe_ = 0;
  }
}

Speculation::Speculation(std::unique_ptr<DraftProposer> proposer, std::size_t max_tokens,
                         std::size_t max_num_seqs)
    : proposer_(std::move(proposer)), max_tokens_(max_tokens) {
  if (proposer_ == nullptr) return;
  sequences_.reserve(max_num_seqs);
  tasks_.reserve(max_num_seqs);
  drafts_.resize(max_num_seqs * max_tokens);
}

void Speculation::propose(Scheduler& scheduler) {
  if (proposer_ == nullptr) return;
  scheduler.list_decoding(sequences_);
  const auto num_rows = static_cast<double>(scheduler.num_tokens_behind());
  StepEstimate step{.rows = num_rows, .tokens = num_rows};
  tasks_.clear();
  for (const DecodingSequence& sequence : sequences_) {
    const std::size_t room = std::min(max_tokens_, sequence.max_draft_len);
    const std::size_t length = acceptance_[sequence.id].draft_len(step, room);
    if (length == 0) continue;
    const auto draft = std::span(drafts_).subspan(tasks_.size() * max_tokens_, length);
    tasks_.push_back({.id = sequence.id,
                      .tokens = sequence.tokens,
                      .max_len = sequence.max_len,
                      .draft = draft});
  }
  proposer_->propose(tasks_);
  for (const DraftTask& task : tasks_)
    scheduler.set_draft(task.id, task.draft.first(task.num_tokens));
}

void Speculation::record(const SequenceId& id, std::size_t proposed, std::size_t accepted) {
  if (proposed > 0) acceptance_[id].record(proposed, accepted);
}

void Speculation::end(const SequenceId& id) {
  if (proposer_ == nullptr) return;
  proposer_->end(id);
  acceptance_.erase(id);
}

}  // namespace hearth
