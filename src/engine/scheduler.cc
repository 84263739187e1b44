#include "engine/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace hearth {

enum class SequenceState : std::uint8_t {
  kDormant,  // Until the request's prompt is computed by another choice.
  kWaiting,
  kRunning,
  kFinished,
};

struct Scheduler::Sequence {
  SequenceId id;
  Request* request = nullptr;
  SequenceState state = SequenceState::kDormant;
  std::vector<std::int32_t> tokens;  // Prompt and answer; filled at the first admission.
  std::size_t num_computed_tokens = 0;
  std::size_t num_granted_tokens = 0;  // In the step being planned.
  // For the next plan, then what it granted. While that is computed, they also end `tokens`.
  std::vector<std::int32_t> draft;
  std::vector<BlockId> block_table;
  std::vector<BlockHash> block_hashes;  // Of the leading full blocks, as far as they were needed.

  std::size_t num_uncomputed() const { return tokens.size() - num_computed_tokens; }
  auto order() const;
};

struct Scheduler::Request {
  SchedulerRequest spec;
  std::size_t max_len = 0;  // Tokens of one sequence, at most.
  std::vector<Sequence> sequences;
  std::size_t num_unfinished = 0;
  std::size_t num_running = 0;
  bool was_admitted = false;
  bool is_private = false;  // Shares nothing with other requests.
  bool prompt_done = false;
  std::size_t num_prompt_logits = 0;  // Leading prompt positions whose logits have been computed.
  std::size_t num_prompt_known =
      0;  // Leading prompt positions once computed or found in the cache.
};

auto Scheduler::Sequence::order() const {
  return std::pair(request->spec.priority, id);
}

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool& pool)
    : options_(options), pool_(pool), hasher_(options.hash_key), total_blocks_(pool.stats().total) {
  HEARTH_CHECK(options.max_model_len > 0 && options.max_num_seqs > 0);
  HEARTH_CHECK(options.max_num_batched_tokens >= options.max_num_seqs);
  HEARTH_CHECK(options.max_num_logit_rows >= options.max_num_seqs);
  running_.reserve(options.max_num_seqs);
  behind_.reserve(options.max_num_seqs);
  in_flight_.reserve(options.max_num_seqs);
  plan_.sequences.reserve(options.max_num_seqs);
  plan_.admitted.reserve(options.max_num_seqs);
  plan_.cache_hits.reserve(2 * options.max_num_seqs);
}

Scheduler::~Scheduler() {
  while (!requests_.empty())
    cancel(requests_.begin()->first);
}

std::size_t Scheduler::num_blocks_for(std::size_t num_tokens) const {
  return (num_tokens + pool_.block_size() - 1) / pool_.block_size();
}

Status Scheduler::check_fits(const SequenceLimits& limits) const {
  const std::size_t shortest_answer = limits.max_tokens > 0 ? 1 : 0;
  if (limits.prompt_len + shortest_answer > options_.max_model_len) {
    return make_status(StatusCode::kOutOfRange,
                       "the maximum context length is {} tokens, but the prompt has {} tokens{}",
                       options_.max_model_len, limits.prompt_len,
                       shortest_answer > 0 ? " and the answer needs at least one" : "");
  }
  const std::size_t room = options_.max_model_len - limits.prompt_len;
  const std::size_t longest = limits.prompt_len + std::min(limits.max_tokens, room);
  if (num_blocks_for(longest) > total_blocks_) {
    return make_status(StatusCode::kOutOfRange,
                       "a prompt of {} tokens with an answer of up to {} needs KV memory for {} "
                       "tokens, but there is memory for {} in all",
                       limits.prompt_len, limits.max_tokens, longest,
                       total_blocks_ * pool_.block_size());
  }
  return {};
}

void Scheduler::add(const SchedulerRequest& spec) {
  HEARTH_CHECK(!spec.prompt.empty() && spec.num_choices > 0);
  HEARTH_CHECK(check_fits({spec.prompt.size(), spec.max_tokens}).ok());
  auto request = std::make_unique<Request>();
  request->spec = spec;
  request->max_len =
      spec.prompt.size() + std::min(spec.max_tokens, options_.max_model_len - spec.prompt.size());
  request->is_private = spec.prompt_logits || !options_.prefix_cache;
  request->num_unfinished = spec.num_choices;
  request->sequences.resize(spec.num_choices);
  for (std::uint32_t choice = 0; choice < spec.num_choices; ++choice) {
    request->sequences[choice].id = {spec.id, choice};
    request->sequences[choice].request = request.get();
  }
  Sequence& first = request->sequences.front();
  const bool inserted = requests_.emplace(spec.id, std::move(request)).second;
  HEARTH_CHECK(inserted);
  start_waiting(first);
}

Scheduler::Sequence* Scheduler::find(const SequenceId& id) {
  const auto found = requests_.find(id.request);
  if (found == requests_.end() || id.choice >= found->second->sequences.size()) return nullptr;
  Sequence& sequence = found->second->sequences[id.choice];
  return sequence.state == SequenceState::kFinished ? nullptr : &sequence;
}

const StepPlan& Scheduler::schedule(std::size_t max_tokens) {
  plan_.sequences.clear();
  plan_.admitted.clear();
  plan_.cache_hits.clear();
  plan_.num_tokens = plan_.num_draft_tokens = plan_.num_logit_rows = plan_.num_preempted = 0;
  free_tokens_ = options_.max_num_batched_tokens;
  free_logit_rows_ = options_.max_num_logit_rows - options_.max_num_seqs;

  schedule_decodes();
  if (const std::size_t used = options_.max_num_batched_tokens - free_tokens_; used > 0) {
    free_tokens_ = std::min(free_tokens_,
                            std::max(max_tokens - std::min(max_tokens, used), kMinPrefillTokens));
  }
  // Blocks that a preemption freed belong to the earlier sequences it was made for.
  if (plan_.num_preempted == 0) admit_waiting();
  schedule_prefills();
  schedule_drafts();
  for (Sequence* sequence : running_) {
    if (sequence->num_granted_tokens > 0) plan_sequence(*sequence);
  }
  HEARTH_CHECK(!has_work() || !plan_.sequences.empty());
  return plan_;
}

void Scheduler::schedule_decodes() {
  // Growing may remove sequences from the back of the list, never ones before this.
  for (std::size_t idx = 0; idx < running_.size(); ++idx) {
    Sequence& sequence = *running_[idx];
    if (sequence.num_uncomputed() == 1 && grow(sequence)) grant(sequence, 1);
  }
}

// Makes room for all known tokens; false when the sequence itself had to give way.
bool Scheduler::grow(Sequence& sequence) {
  const std::size_t needed = num_blocks_for(sequence.tokens.size());
  while (sequence.block_table.size() < needed) {
    if (const auto block = pool_.allocate(); block.has_value()) {
      sequence.block_table.push_back(*block);
      continue;
    }
    Sequence& last = *running_.back();
    preempt(last);
    if (&last == &sequence) return false;
  }
  return true;
}

void Scheduler::preempt(Sequence& sequence) {
  HEARTH_CHECK(sequence.num_granted_tokens == 0);
  stop_running(sequence);
  release_blocks(sequence, 0);
  start_waiting(sequence);
  ++plan_.num_preempted;
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty() && running_.size() < options_.max_num_seqs && free_tokens_ > 0) {
    Sequence& sequence = *waiting_.front();
    if (!admit(sequence)) return;
    waiting_.pop_front();
    start_running(sequence);
    Request& request = *sequence.request;
    if (request.was_admitted) continue;
    request.was_admitted = true;
    plan_.admitted.push_back(request.spec.id);
  }
}

// Takes the blocks for all known tokens of a waiting sequence, cached ones as far as possible.
// Leaves one block per running sequence, or the newcomer would soon be preempted again.
bool Scheduler::admit(Sequence& sequence) {
  Request& request = *sequence.request;
  if (sequence.tokens.empty()) {
    sequence.block_table.reserve(num_blocks_for(request.max_len));
    sequence.block_hashes.reserve(request.max_len / pool_.block_size());
    sequence.draft.reserve(options_.max_draft_tokens);
    // Last: it tells that nothing of this is left to do.
    sequence.tokens.reserve(request.max_len);
    sequence.tokens.assign(request.spec.prompt.begin(), request.spec.prompt.end());
  }
  reference_cached_prefix(sequence);
  const std::size_t needed = num_blocks_for(sequence.tokens.size()) - sequence.block_table.size();
  if (needed + running_.size() > pool_.num_available()) {
    release_blocks(sequence, 0);
    return false;
  }
  for (std::size_t idx = 0; idx < needed; ++idx) {
    sequence.block_table.push_back(pool_.allocate().value());
  }
  note_cache_hit(sequence, 0);
  return true;
}

// At least one token is left to compute: its logits are needed, and the cache holds none.
void Scheduler::reference_cached_prefix(Sequence& sequence) {
  const std::size_t num_blocks = (sequence.tokens.size() - 1) / pool_.block_size();
  extend_hashes(sequence, num_blocks);
  for (std::size_t idx = 0; idx < num_blocks; ++idx) {
    const auto block = pool_.find_and_reference(sequence.block_hashes[idx]);
    if (!block.has_value()) break;
    sequence.block_table.push_back(*block);
  }
  sequence.num_computed_tokens = sequence.block_table.size() * pool_.block_size();
}

// Counts what the sequence took from the cache from `first_position` on. A recomputed prompt finds
// its own blocks there, which saves nothing that was not spent before.
void Scheduler::note_cache_hit(Sequence& sequence, std::size_t first_position) {
  Request& request = *sequence.request;
  if (request.prompt_done) return;
  const std::size_t known = std::max(first_position, request.num_prompt_known);
  const std::size_t end = std::min(sequence.num_computed_tokens, request.spec.prompt.size());
  if (end <= known) return;
  plan_.cache_hits.push_back({request.spec.id, end - known});
  request.num_prompt_known = end;
}

void Scheduler::schedule_prefills() {
  behind_.clear();
  in_flight_.clear();
  for (Sequence* sequence : running_) {
    if (sequence->num_granted_tokens > 0) continue;
    take_cached_blocks(*sequence);
    behind_.push_back(sequence);
  }
  if (behind_.empty()) return;
  grant_prefill(*behind_.front(), (free_tokens_ + 1) / 2);
  std::ranges::sort(behind_, {}, [](const Sequence* sequence) {
    return std::tuple(sequence->request->spec.priority,
                      sequence->num_uncomputed() - sequence->num_granted_tokens, sequence->id);
  });
  for (Sequence* sequence : behind_)
    grant_prefill(*sequence, free_tokens_);
}

// Replaces blocks that the sequence has not begun by ones that others have computed since it was
// admitted.
void Scheduler::take_cached_blocks(Sequence& sequence) {
  const std::size_t block_size = pool_.block_size();
  const std::size_t first = sequence.num_computed_tokens;
  if (first % block_size != 0) return;
  const std::size_t num_blocks = (sequence.tokens.size() - 1) / block_size;
  extend_hashes(sequence, num_blocks);
  for (std::size_t idx = first / block_size; idx < num_blocks; ++idx) {
    const auto block = pool_.find_and_reference(sequence.block_hashes[idx]);
    if (!block.has_value()) break;
    pool_.release(std::exchange(sequence.block_table[idx], *block));
    sequence.num_computed_tokens += block_size;
  }
  note_cache_hit(sequence, first);
}

// A sequence whose next block another one works on in this step gets nothing: it will find that
// block in the cache.
void Scheduler::grant_prefill(Sequence& sequence, std::size_t max_tokens) {
  const std::size_t next_block = sequence.num_computed_tokens / pool_.block_size();
  const bool has_next = next_block < sequence.block_hashes.size();
  const bool begins = sequence.num_granted_tokens == 0;
  if (begins && has_next &&
      std::ranges::find(in_flight_, sequence.block_hashes[next_block]) != in_flight_.end()) {
    return;
  }
  grant(sequence, max_tokens);
  if (begins && has_next && sequence.num_granted_tokens > 0) {
    in_flight_.push_back(sequence.block_hashes[next_block]);
  }
}

// Up to max_tokens more for the sequence in this step.
void Scheduler::grant(Sequence& sequence, std::size_t max_tokens) {
  std::size_t tokens =
      std::min({max_tokens, free_tokens_, sequence.num_uncomputed() - sequence.num_granted_tokens});
  const Request& request = *sequence.request;
  if (request.spec.prompt_logits && !request.prompt_done && tokens > 0) {
    // One row per token, of which one is set aside for every sequence.
    const std::size_t own_row = sequence.num_granted_tokens == 0 ? 1 : 0;
    tokens = std::min(tokens, free_logit_rows_ + own_row);
    free_logit_rows_ -= tokens - std::min(tokens, own_row);
  }
  sequence.num_granted_tokens += tokens;
  free_tokens_ -= tokens;
}

void Scheduler::list_decoding(std::vector<DecodingSequence>& sequences) const {
  sequences.clear();
  for (const Sequence* sequence : running_) {
    if (sequence->num_uncomputed() != 1 || !sequence->request->prompt_done) continue;
    const std::size_t max_len = sequence->request->max_len;
    // The last token of an answer is never computed.
    const std::size_t room = max_len - std::min(max_len, sequence->tokens.size() + 1);
    sequences.push_back({sequence->id, sequence->tokens, max_len, room});
  }
}

std::size_t Scheduler::num_tokens_behind() const {
  std::size_t tokens = 0;
  for (const Sequence* sequence : running_)
    tokens += sequence->num_uncomputed();
  return std::min(tokens, options_.max_num_batched_tokens);
}

void Scheduler::set_draft(const SequenceId& id, std::span<const std::int32_t> draft) {
  HEARTH_CHECK(draft.size() <= options_.max_draft_tokens);
  Sequence* sequence = find(id);
  HEARTH_CHECK(sequence != nullptr && sequence->state == SequenceState::kRunning);
  sequence->draft.assign(draft.begin(), draft.end());
}

void Scheduler::schedule_drafts() {
  for (Sequence* sequence : running_) {
    if (sequence->draft.empty()) continue;
    if (sequence->num_granted_tokens == sequence->num_uncomputed()) {
      grant_draft(*sequence);
    } else {
      sequence->draft.clear();
    }
  }
}

// As many tokens of its draft as fit into what the step has left. A block is taken only while every
// running sequence could still take one to grow.
void Scheduler::grant_draft(Sequence& sequence) {
  const std::size_t num_known = sequence.tokens.size();
  const std::size_t max_len = sequence.request->max_len;
  std::size_t count = std::min({sequence.draft.size(), free_tokens_, free_logit_rows_,
                                max_len - std::min(max_len, num_known + 1)});
  const std::size_t needed = num_blocks_for(num_known + count);
  while (sequence.block_table.size() < needed && pool_.num_available() > running_.size()) {
    sequence.block_table.push_back(pool_.allocate().value());
  }
  count = std::min(count, sequence.block_table.size() * pool_.block_size() - num_known);
  sequence.draft.resize(count);
  sequence.tokens.insert(sequence.tokens.end(), sequence.draft.begin(), sequence.draft.end());
  sequence.num_granted_tokens += count;
  free_tokens_ -= count;
  free_logit_rows_ -= count;
}

void Scheduler::plan_sequence(Sequence& sequence) {
  const Request& request = *sequence.request;
  const std::size_t first = sequence.num_computed_tokens;
  const std::size_t end = first + sequence.num_granted_tokens;
  ScheduledSequence scheduled;
  scheduled.id = sequence.id;
  scheduled.first_position = first;
  scheduled.tokens = std::span(sequence.tokens).subspan(first, end - first);
  scheduled.block_table = sequence.block_table;
  scheduled.completes_prompt = !request.prompt_done && end >= request.spec.prompt.size();
  scheduled.caught_up = end == sequence.tokens.size();
  if (request.spec.prompt_logits && !request.prompt_done) {
    HEARTH_CHECK(first <= request.num_prompt_logits);
    scheduled.num_logit_rows = end - std::min(end, request.num_prompt_logits);
  } else {
    scheduled.num_draft_tokens = sequence.draft.size();
    scheduled.num_logit_rows = 1 + sequence.draft.size();
  }
  plan_.num_tokens += scheduled.tokens.size();
  plan_.num_draft_tokens += scheduled.num_draft_tokens;
  plan_.num_logit_rows += scheduled.num_logit_rows;
  plan_.sequences.push_back(scheduled);
}

void Scheduler::commit() {
  for (const ScheduledSequence& scheduled : plan_.sequences) {
    Sequence* sequence = find(scheduled.id);
    if (sequence == nullptr) continue;
    HEARTH_CHECK(sequence->state == SequenceState::kRunning);
    Request& request = *sequence->request;
    const std::size_t first = sequence->num_computed_tokens;
    // Which guesses were right is not known yet.
    sequence->tokens.resize(sequence->tokens.size() - scheduled.num_draft_tokens);
    sequence->num_computed_tokens += sequence->num_granted_tokens - scheduled.num_draft_tokens;
    sequence->num_granted_tokens = 0;
    register_full_blocks(*sequence, first);
    request.num_prompt_known =
        std::max(request.num_prompt_known,
                 std::min(sequence->num_computed_tokens, request.spec.prompt.size()));
    request.num_prompt_logits =
        std::max(request.num_prompt_logits,
                 std::min(sequence->num_computed_tokens, request.spec.prompt.size()));
    if (scheduled.completes_prompt && !request.prompt_done) {
      request.prompt_done = true;
      wake_siblings(request);
    }
  }
}

void Scheduler::register_full_blocks(Sequence& sequence, std::size_t first_token) {
  const std::size_t num_full = sequence.num_computed_tokens / pool_.block_size();
  extend_hashes(sequence, num_full);
  for (std::size_t idx = first_token / pool_.block_size(); idx < num_full; ++idx) {
    pool_.register_content(sequence.block_table[idx], sequence.block_hashes[idx]);
  }
}

void Scheduler::extend_hashes(Sequence& sequence, std::size_t num_blocks) {
  const std::size_t block_size = pool_.block_size();
  while (sequence.block_hashes.size() < num_blocks) {
    const std::size_t idx = sequence.block_hashes.size();
    BlockHash prefix;
    if (idx > 0) {
      prefix = sequence.block_hashes.back();
    } else if (sequence.request->is_private) {
      prefix.words = {sequence.id.request, ~std::uint64_t{0}};
    }
    const auto tokens = std::span(sequence.tokens).subspan(idx * block_size, block_size);
    sequence.block_hashes.push_back(hasher_.hash(prefix, tokens));
  }
}

void Scheduler::append_tokens(const SequenceId& id, std::span<const std::int32_t> tokens) {
  Sequence* sequence = find(id);
  HEARTH_CHECK(sequence != nullptr && sequence->state == SequenceState::kRunning);
  HEARTH_CHECK(sequence->num_uncomputed() == 0 && !tokens.empty());
  HEARTH_CHECK(sequence->tokens.size() + tokens.size() <= sequence->request->max_len);
  const std::size_t num_right = tokens.size() - 1;
  HEARTH_CHECK(num_right <= sequence->draft.size());
  HEARTH_CHECK(
      std::ranges::equal(tokens.first(num_right), std::span(sequence->draft).first(num_right)));
  sequence->draft.clear();
  sequence->tokens.insert(sequence->tokens.end(), tokens.begin(), tokens.end());
  const std::size_t first = sequence->num_computed_tokens;
  sequence->num_computed_tokens += num_right;
  register_full_blocks(*sequence, first);
  release_blocks(*sequence,
                 std::min(sequence->block_table.size(), num_blocks_for(sequence->tokens.size())));
}

void Scheduler::finish(const SequenceId& id) {
  if (Sequence* sequence = find(id); sequence != nullptr) remove(*sequence);
}

void Scheduler::cancel(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = *found->second;
  request.prompt_done = true;  // No other choice takes over a prompt that nobody wants.
  std::size_t num_left = request.num_unfinished;
  for (std::size_t choice = 0; num_left > 0; ++choice) {
    if (request.sequences[choice].state == SequenceState::kFinished) continue;
    --num_left;  // The last removal ends the request's life.
    remove(request.sequences[choice]);
  }
}

void Scheduler::discard(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  for (const Sequence& sequence : found->second->sequences) {
    for (const BlockId block : sequence.block_table)
      pool_.forget_content(block);
  }
  cancel(id);
}

void Scheduler::start_waiting(Sequence& sequence) {
  sequence.state = SequenceState::kWaiting;
  const auto place = std::ranges::upper_bound(waiting_, sequence.order(), {},
                                              [](const Sequence* other) { return other->order(); });
  waiting_.insert(place, &sequence);
}

void Scheduler::start_running(Sequence& sequence) {
  sequence.state = SequenceState::kRunning;
  const auto place = std::ranges::upper_bound(running_, sequence.order(), {},
                                              [](const Sequence* other) { return other->order(); });
  running_.insert(place, &sequence);
  if (sequence.request->num_running++ == 0) ++num_running_requests_;
}

void Scheduler::stop_running(Sequence& sequence) {
  sequence.num_granted_tokens = 0;
  sequence.draft.clear();
  std::erase(running_, &sequence);
  if (--sequence.request->num_running == 0) --num_running_requests_;
}

// From the back, so that the end of a cached prefix is evicted before its beginning.
void Scheduler::release_blocks(Sequence& sequence, std::size_t num_kept) {
  while (sequence.block_table.size() > num_kept) {
    pool_.release(sequence.block_table.back());
    sequence.block_table.pop_back();
  }
  sequence.num_computed_tokens =
      std::min(sequence.num_computed_tokens, num_kept * pool_.block_size());
}

void Scheduler::wake_siblings(Request& request) {
  for (Sequence& sequence : request.sequences) {
    if (sequence.state == SequenceState::kDormant) start_waiting(sequence);
  }
}

void Scheduler::remove(Sequence& sequence) {
  Request& request = *sequence.request;
  if (sequence.state == SequenceState::kRunning) stop_running(sequence);
  if (sequence.state == SequenceState::kWaiting) std::erase(waiting_, &sequence);
  const bool was_leading = sequence.state != SequenceState::kDormant;
  sequence.state = SequenceState::kFinished;

  const bool is_last = --request.num_unfinished == 0;
  if (is_last && request.is_private) {  // Nobody can ever ask for this content again.
    for (const BlockId block : sequence.block_table)
      pool_.forget_content(block);
  }
  release_blocks(sequence, 0);
  if (is_last) {
    const RequestId id = request.spec.id;
    requests_.erase(id);
    return;
  }
  if (request.prompt_done || !was_leading) return;
  const auto next = std::ranges::find(request.sequences, SequenceState::kDormant, &Sequence::state);
  if (next != request.sequences.end()) start_waiting(*next);
}

bool Scheduler::was_admitted(RequestId id) const {
  const auto found = requests_.find(id);
  return found != requests_.end() && found->second->was_admitted;
}

Status Scheduler::check_integrity() const {
  HEARTH_RETURN_IF_ERROR(pool_.check_integrity());
  std::vector<BlockId> held;
  for (const auto& [id, request] : requests_) {
    for (const Sequence& sequence : request->sequences) {
      held.insert(held.end(), sequence.block_table.begin(), sequence.block_table.end());
    }
  }
  std::ranges::sort(held);
  const auto repeated = std::ranges::unique(held);
  held.erase(repeated.begin(), repeated.end());
  if (held.size() != pool_.stats().in_use) {
    return make_status(StatusCode::kInternal, "sequences hold {} blocks, the pool has {} in use",
                       held.size(), pool_.stats().in_use);
  }
  return {};
}

}  // namespace hearth
