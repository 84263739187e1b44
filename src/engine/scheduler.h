// Who computes which tokens in the next step. Plain data in and out: no model, no threads, no
// clock.
//
// There are no prefill and decode phases. A sequence (one choice of one request) has num_tokens
// known and num_computed_tokens behind it, and each step spends a token budget on catching up:
//
// Requests are in order of priority, and of arrival where that is equal:
//
//   1. Sequences one token behind (running streams) get it first.
//   2. Waiting sequences are admitted while slots and blocks last.
//   3. What is left goes to sequences further behind: half of it to the first, so that nobody
//      starves, the rest to those of its priority closest to their end, so that short prompts pass
//      long ones, then to the next priority.
//      A prefix that several of them share is computed by one while the others wait for it.
//   4. What is left even then goes to drafts: guesses at what follows a sequence's known tokens.
//
// Blocks for all known tokens are taken at admission; only growth can run out. Then the last
// running sequence gives its blocks back and waits again, with its tokens kept: it recomputes them
// later. The first running sequence is therefore never stopped, and no schedule is without
// progress.
//
// Equal prefixes share blocks through the pool's content names. When the cache is off, or a request
// wants the logits of its prompt, names are made unique to the request: its own choices still
// share. The prompt of several choices is computed by the first one; the others start when it is
// done.
//
// Logits of the last token are asked for in every part of a step, also where no token is chosen:
// they show whether the numbers behind them are sound, before others can share the blocks.
//
// Not thread-safe, except check_fits().
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "kv/block_pool.h"

namespace hearth {

// Ascending in order of arrival.
using RequestId = std::uint64_t;

struct SequenceId {
  RequestId request = 0;
  std::uint32_t choice = 0;
  auto operator<=>(const SequenceId&) const = default;
};

struct SequenceIdHash {
  std::size_t operator()(const SequenceId& id) const {
    return std::hash<std::uint64_t>()(id.request * 0x9e3779b97f4a7c15ULL + id.choice);
  }
};

struct SchedulerOptions {
  std::size_t max_model_len = 0;           // Tokens of a sequence, prompt and answer.
  std::size_t max_num_seqs = 0;            // Running at once.
  std::size_t max_num_batched_tokens = 0;  // Per step; at least max_num_seqs.
  std::size_t max_num_logit_rows = 0;      // Per step; at least max_num_seqs.
  std::size_t max_draft_tokens = 0;        // Of one sequence in one step.
  bool prefix_cache = true;
  std::array<std::uint64_t, 2> hash_key = {};
};

struct SequenceLimits {
  std::size_t prompt_len = 0;
  std::size_t max_tokens = 0;  // Of the answer.
};

struct SchedulerRequest {
  RequestId id = 0;                           // Larger than all before.
  std::span<const std::int32_t> prompt = {};  // At least one token; outlives the request.
  std::uint32_t num_choices = 1;
  std::size_t max_tokens = 0;
  bool prompt_logits = false;  // The logits of every prompt position are wanted.
  std::int32_t priority = 0;   // Lower ones come first.
};

// One sequence's part of a step. The spans are valid until commit(), the rest until schedule().
struct ScheduledSequence {
  SequenceId id;
  std::size_t first_position = 0;
  std::span<const std::int32_t> tokens;  // To compute now, at first_position and after.
  std::span<const BlockId> block_table;  // Covers all of them.
  std::size_t num_draft_tokens = 0;      // The last that many tokens are guesses.
  std::size_t num_logit_rows = 0;        // Logits are wanted for the last that many tokens.
  bool completes_prompt = false;         // The request's prompt is evaluated with this step.
  bool caught_up = false;                // Every known token is computed: the next can be chosen.
};

// Tokens of a request's prompt that need no computing, beyond those of earlier steps.
struct PrefixCacheHit {
  RequestId id = 0;
  std::size_t num_tokens = 0;
};

// A running sequence behind its prompt, whose last token is computed next. The span is valid until
// append_tokens().
struct DecodingSequence {
  SequenceId id;
  std::span<const std::int32_t> tokens;  // All that are known.
  std::size_t max_len = 0;               // That they can grow to.
  std::size_t max_draft_len = 0;         // More guesses could not become part of the answer.
};

struct StepPlan {
  std::vector<ScheduledSequence> sequences;  // Never empty while there is work.
  std::size_t num_tokens = 0;
  std::size_t num_draft_tokens = 0;  // Of these.
  std::size_t num_logit_rows = 0;
  std::vector<RequestId> admitted;  // For the first time, with this step.
  std::vector<PrefixCacheHit> cache_hits;
  std::size_t num_preempted = 0;
};

class Scheduler {
 public:
  // `pool` outlives the scheduler, which is its only user.
  Scheduler(const SchedulerOptions& options, BlockPool& pool);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // kOutOfRange when a request can never run: longer than the context, or than all KV memory. Safe
  // from any thread.
  Status check_fits(const SequenceLimits& limits) const;

  // Queues a request that fits.
  void add(const SchedulerRequest& spec);

  // Whose drafts the next step has a use for, if nothing changes until then.
  void list_decoding(std::vector<DecodingSequence>& sequences) const;
  // Known tokens of running sequences that are not computed, up to a step's budget.
  std::size_t num_tokens_behind() const;
  // Guesses at what follows the known tokens of a running sequence, at most max_draft_tokens. The
  // next plan computes as many as it has room for, from the first; then they are forgotten.
  void set_draft(const SequenceId& id, std::span<const std::int32_t> draft);

  // The next step. Every plan must be computed and committed before the next is made. Beside
  // running streams, prompts get what is left of `max_tokens`, but at least kMinPrefillTokens;
  // without any the whole budget.
  static constexpr std::size_t kMinPrefillTokens = 32;
  const StepPlan& schedule(std::size_t max_tokens = std::numeric_limits<std::size_t>::max());
  // The planned tokens have been computed and stored. Whose computation went wrong was discarded
  // before: from here on, the rest can be shared.
  void commit();
  // The next tokens of a sequence that has caught up: those of its draft that were right, then one
  // that is still to be computed. They must stay within max_model_len.
  void append_tokens(const SequenceId& id, std::span<const std::int32_t> tokens);

  // The sequence is complete, or not wanted any more. Ids that are gone already are ignored, here
  // and below.
  void finish(const SequenceId& id);
  void cancel(RequestId id);
  // The same as cancel, for a request whose computation went wrong: nothing of it stays in the
  // cache.
  void discard(RequestId id);

  // A sequence of the request has run.
  bool was_admitted(RequestId id) const;
  bool has_work() const { return !requests_.empty(); }
  std::size_t num_running_requests() const { return num_running_requests_; }
  std::size_t num_waiting_requests() const { return requests_.size() - num_running_requests_; }

  // Checks the pool, and that the blocks of all sequences are exactly those in use.
  Status check_integrity() const;

 private:
  struct Request;
  struct Sequence;

  Sequence* find(const SequenceId& id);

  void schedule_decodes();
  bool grow(Sequence& sequence);
  void preempt(Sequence& sequence);
  void admit_waiting();
  bool admit(Sequence& sequence);
  void reference_cached_prefix(Sequence& sequence);
  void note_cache_hit(Sequence& sequence, std::size_t first_position);
  void schedule_prefills();
  void take_cached_blocks(Sequence& sequence);
  void grant_prefill(Sequence& sequence, std::size_t max_tokens);
  void grant(Sequence& sequence, std::size_t max_tokens);
  void schedule_drafts();
  void grant_draft(Sequence& sequence);
  void plan_sequence(Sequence& sequence);

  void register_full_blocks(Sequence& sequence, std::size_t first_token);
  void extend_hashes(Sequence& sequence, std::size_t num_blocks);
  void start_running(Sequence& sequence);
  void stop_running(Sequence& sequence);
  void start_waiting(Sequence& sequence);
  void release_blocks(Sequence& sequence, std::size_t num_kept);
  void wake_siblings(Request& request);
  void remove(Sequence& sequence);
  std::size_t num_blocks_for(std::size_t num_tokens) const;

  SchedulerOptions options_;
  BlockPool& pool_;
  BlockHasher hasher_;
  std::size_t total_blocks_;

  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;
  std::vector<Sequence*> running_;  // In order.
  std::deque<Sequence*> waiting_;   // In order.
  std::size_t num_running_requests_ = 0;

  StepPlan plan_;
  std::size_t free_tokens_ = 0;       // Of this step's budget.
  std::size_t free_logit_rows_ = 0;   // Beyond one per running sequence.
  std::vector<Sequence*> behind_;     // Scratch of schedule_prefills().
  std::vector<BlockHash> in_flight_;  // The block that each granted one of them works on.
};

}  // namespace hearth
