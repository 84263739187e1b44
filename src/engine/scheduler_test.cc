#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

namespace hearth {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kBlockSize = 4;

Tokens counting_tokens(std::size_t count, std::int32_t first = 0) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

SchedulerOptions small_options() {
  return {.max_model_len = 64,
          .max_num_seqs = 4,
          .max_num_batched_tokens = 16,
          .max_num_logit_rows = 6,
          .prefix_cache = true,
          .hash_key = {1, 2}};
}

const ScheduledSequence* part_of(const StepPlan& plan, const SequenceId& id) {
  const auto found = std::ranges::find(plan.sequences, id, &ScheduledSequence::id);
  return found == plan.sequences.end() ? nullptr : &*found;
}

// A scheduler whose requests are added by hand and whose next token is always the same.
class SchedulerTest : public ::testing::Test {
 protected:
  void make(const SchedulerOptions& options, std::size_t num_blocks = 64) {
    scheduler_.reset();  // Before its pool.
    pool_ = std::make_unique<BlockPool>(num_blocks, kBlockSize);
    scheduler_ = std::make_unique<Scheduler>(options, *pool_);
  }

  void add(RequestId id, Tokens prompt, std::size_t max_tokens = 8, std::uint32_t choices = 1,
           bool prompt_logits = false) {
    add({.id = id,
         .num_choices = choices,
         .max_tokens = max_tokens,
         .prompt_logits = prompt_logits},
        std::move(prompt));
  }

  void add(SchedulerRequest request, Tokens prompt) {
    prompts_.push_back(std::make_unique<Tokens>(std::move(prompt)));
    request.prompt = *prompts_.back();
    scheduler_->add(request);
  }

  // A step in which every sequence that caught up gets a token.
  StepPlan step(std::size_t max_tokens = std::numeric_limits<std::size_t>::max()) {
    StepPlan plan = scheduler_->schedule(max_tokens);
    for (ScheduledSequence& scheduled : plan.sequences) {
      num_tokens_[scheduled.id] = scheduled.tokens.size();
      scheduled.tokens = {};
    }
    scheduler_->commit();
    for (const ScheduledSequence& scheduled : plan.sequences) {
      if (scheduled.caught_up) append(scheduled.id, 7);
    }
    EXPECT_EQ(scheduler_->check_integrity(), Status());
    return plan;
  }

  static std::size_t cached_tokens(const StepPlan& plan, RequestId id) {
    const auto found = std::ranges::find(plan.cache_hits, id, &PrefixCacheHit::id);
    return found == plan.cache_hits.end() ? 0 : found->num_tokens;
  }

  void append(const SequenceId& id, std::int32_t token) {
    scheduler_->append_tokens(id, std::span(&token, 1));
  }

  // Tokens of a sequence in the last step it was part of.
  std::size_t num_tokens(RequestId id, std::uint32_t choice = 0) {
    return num_tokens_[{id, choice}];
  }

  std::vector<std::unique_ptr<Tokens>> prompts_;
  std::map<SequenceId, std::size_t> num_tokens_;
  std::map<SequenceId, std::size_t> num_answered_;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, ALongPromptIsReadInChunksOfTheBudget) {
  make(small_options());
  add(1, counting_tokens(40));
  for (const std::size_t expected : {16u, 16u, 8u}) {
    const StepPlan plan = step();
    EXPECT_EQ(plan.num_tokens, expected);
    EXPECT_EQ(plan.num_logit_rows, 1u) << "what a chunk computed goes unchecked";
    EXPECT_EQ(plan.sequences[0].completes_prompt, expected == 8);
    EXPECT_EQ(plan.sequences[0].caught_up, expected == 8);
  }
  EXPECT_EQ(step().num_tokens, 1u);
}

TEST_F(SchedulerTest, RunningStreamsGetTheirTokenBesideALongPrompt) {
  make(small_options());
  add(1, counting_tokens(3));
  add(2, counting_tokens(5, 100));
  step();
  add(3, counting_tokens(60, 200), 4);
  for (int i = 0; i < 4; ++i) {
    const StepPlan plan = step();
    EXPECT_EQ(num_tokens(1), 1u);
    EXPECT_EQ(num_tokens(2), 1u);
    EXPECT_EQ(num_tokens(3), 14u);
    EXPECT_EQ(plan.num_tokens, 16u);
  }
}

TEST_F(SchedulerTest, BesideStreamsPromptsGetWhatIsLeftOfTheGivenTokens) {
  SchedulerOptions options = small_options();
  options.max_model_len = 400;
  options.max_num_batched_tokens = 100;
  make(options, 200);
  add(1, counting_tokens(90), 20);
  EXPECT_EQ(step(50).num_tokens, 90u) << "alone a prompt gets the whole budget";
  add(2, counting_tokens(300, 1000), 4);
  EXPECT_EQ(step(50).num_tokens, 50u);
  EXPECT_EQ(num_tokens(1), 1u);
  EXPECT_EQ(step(5).num_tokens, 1 + Scheduler::kMinPrefillTokens);
  EXPECT_EQ(step().num_tokens, 100u);
}

TEST_F(SchedulerTest, ShortPromptsPassALongOneThatKeepsHalfTheBudget) {
  make(small_options());
  add(1, counting_tokens(60));
  step();
  add(2, counting_tokens(20, 100));
  add(3, counting_tokens(6, 200));
  const StepPlan plan = step();
  EXPECT_EQ(num_tokens(1), 8u);
  EXPECT_EQ(num_tokens(3), 6u);
  EXPECT_EQ(num_tokens(2), 2u);
  EXPECT_TRUE(part_of(plan, {3, 0})->caught_up);
}

TEST_F(SchedulerTest, PrioritiesComeBeforeTheOrderOfArrival) {
  SchedulerOptions options = small_options();
  options.max_num_seqs = 2;
  make(options, 9);  // For 36 tokens.
  add(1, counting_tokens(4), 20);
  add({.id = 2, .max_tokens = 20, .priority = 1}, counting_tokens(4, 100));
  step();
  add(3, counting_tokens(4, 200), 20);
  add({.id = 4, .max_tokens = 20, .priority = -1}, counting_tokens(4, 300));
  scheduler_->finish({1, 0});
  EXPECT_EQ(step().admitted, std::vector<RequestId>{4});
  // Blocks run out: the one of the lowest priority gives way, though it is the oldest.
  while (scheduler_->num_running_requests() == 2)
    step();
  EXPECT_EQ(num_tokens(4), 1u);
  scheduler_->finish({4, 0});
  EXPECT_EQ(step().admitted, std::vector<RequestId>{3});
}

TEST_F(SchedulerTest, EqualPromptsAreReadInOrderOfArrival) {
  make(small_options());
  add(1, counting_tokens(16));
  add(2, counting_tokens(16, 100));
  EXPECT_EQ(step().sequences.size(), 1u);
  EXPECT_EQ(num_tokens(1), 16u);
  step();
  EXPECT_EQ(num_tokens(2), 15u);
}

TEST_F(SchedulerTest, AKnownPrefixIsTakenFromTheCacheExceptItsLastToken) {
  make(small_options());
  add(1, counting_tokens(12));
  EXPECT_EQ(cached_tokens(step(), 1), 0u);
  add(2, counting_tokens(12));
  EXPECT_EQ(cached_tokens(step(), 2), 8u);
  EXPECT_EQ(num_tokens(2), 4u);
  scheduler_->cancel(1);
  scheduler_->cancel(2);
  add(3, counting_tokens(14));
  EXPECT_EQ(cached_tokens(step(), 3), 12u);
}

TEST_F(SchedulerTest, APrefixSharedByNewcomersIsComputedOnce) {
  make(small_options());
  Tokens first = counting_tokens(24);
  Tokens second = first;
  second.back() = 99;  // Differs in the sixth block.
  add(1, first);
  add(2, second);
  EXPECT_EQ(step().sequences.size(), 1u);
  EXPECT_EQ(num_tokens(1), 16u);
  // What there is by then is taken, and the next shared block left to the other again.
  const StepPlan plan = step();
  EXPECT_EQ(plan.sequences.size(), 1u);
  EXPECT_EQ(num_tokens(1), 8u);
  EXPECT_EQ(cached_tokens(plan, 2), 16u);
  EXPECT_EQ(cached_tokens(step(), 2), 4u);
  EXPECT_EQ(num_tokens(2), 4u);
  scheduler_->cancel(1);
  scheduler_->cancel(2);
  EXPECT_EQ(pool_->stats().in_use, 0u);
}

TEST_F(SchedulerTest, WhoWaitsForASharedPrefixGoesOnWhenTheOtherLeaves) {
  make(small_options());
  add(1, counting_tokens(40));
  add(2, counting_tokens(40));
  step();
  scheduler_->cancel(1);
  const StepPlan plan = step();
  EXPECT_EQ(cached_tokens(plan, 2), 16u);
  EXPECT_EQ(num_tokens(2), 16u);
}

TEST_F(SchedulerTest, ARecomputedPromptIsNoCacheHit) {
  make(small_options(), 8);
  add(1, counting_tokens(12), 8);
  add(2, counting_tokens(12, 100), 8);
  std::size_t num_preempted = 0;
  std::size_t num_cached = 0;
  while (scheduler_->has_work()) {
    const StepPlan plan = step();
    num_preempted += plan.num_preempted;
    num_cached += cached_tokens(plan, 1) + cached_tokens(plan, 2);
    for (const ScheduledSequence& scheduled : plan.sequences) {
      if (scheduled.caught_up && ++num_answered_[scheduled.id] == 7)
        scheduler_->finish(scheduled.id);
    }
  }
  EXPECT_GT(num_preempted, 0u);
  EXPECT_EQ(num_cached, 0u);
}

TEST_F(SchedulerTest, WithoutPrefixCacheRequestsShareNothing) {
  SchedulerOptions options = small_options();
  options.prefix_cache = false;
  make(options);
  add(1, counting_tokens(12));
  step();
  add(2, counting_tokens(12));
  EXPECT_EQ(cached_tokens(step(), 2), 0u);
  scheduler_->cancel(1);
  scheduler_->cancel(2);
  EXPECT_EQ(pool_->stats().cached, 0u);
}

TEST_F(SchedulerTest, ChoicesStartWhenThePromptIsComputedAndShareItsFullBlocks) {
  for (const bool prefix_cache : {true, false}) {
    SchedulerOptions options = small_options();
    options.prefix_cache = prefix_cache;
    make(options);
    add(1, counting_tokens(22), 8, 3);
    EXPECT_EQ(step().sequences.size(), 1u);
    const StepPlan last_chunk = step();
    EXPECT_EQ(last_chunk.sequences.size(), 1u);
    EXPECT_TRUE(last_chunk.sequences[0].completes_prompt);
    const StepPlan plan = step();
    ASSERT_EQ(plan.sequences.size(), 3u);
    for (const std::uint32_t choice : {1u, 2u}) {
      EXPECT_EQ(part_of(plan, {1, choice})->first_position, 20u);
      EXPECT_EQ(num_tokens(1, choice), 2u);
      EXPECT_FALSE(part_of(plan, {1, choice})->completes_prompt);
    }
    EXPECT_EQ(pool_->stats().in_use, 5u + 3u);
  }
}

TEST_F(SchedulerTest, AnotherChoiceTakesThePromptOverWhenTheFirstIsEnded) {
  make(small_options());
  add(1, counting_tokens(30), 8, 2);
  step();
  scheduler_->finish({1, 0});
  const StepPlan plan = step();
  ASSERT_EQ(plan.sequences.size(), 1u);
  EXPECT_EQ(plan.sequences[0].id, (SequenceId{1, 1}));
  EXPECT_EQ(plan.sequences[0].first_position, 16u);
  EXPECT_TRUE(plan.sequences[0].completes_prompt);
}

TEST_F(SchedulerTest, TheNewestGivesWayWhenBlocksRunOutAndComesBackFirst) {
  SchedulerOptions options = small_options();
  make(options, 7);
  add(1, counting_tokens(11), 16);
  add(2, counting_tokens(4, 100), 16);
  step();
  ASSERT_EQ(scheduler_->num_running_requests(), 2u);
  add(3, counting_tokens(3, 200), 4);
  StepPlan plan;
  while ((plan = step()).num_preempted == 0)
    ASSERT_NE(part_of(plan, {1, 0}), nullptr);
  EXPECT_NE(part_of(plan, {1, 0}), nullptr);
  EXPECT_GE(scheduler_->num_waiting_requests(), 1u);
  scheduler_->finish({1, 0});
  plan = step();
  EXPECT_NE(part_of(plan, {2, 0}), nullptr);
}

TEST_F(SchedulerTest, RefusesWhatCanNeverRun) {
  make(small_options(), 8);
  EXPECT_EQ(scheduler_->check_fits({.prompt_len = 16, .max_tokens = 16}), Status());
  const Status no_memory = scheduler_->check_fits({.prompt_len = 16, .max_tokens = 17});
  EXPECT_EQ(no_memory.code(), StatusCode::kOutOfRange);
  EXPECT_EQ(no_memory.message(),
            "a prompt of 16 tokens with an answer of up to 17 needs KV memory for 33 tokens, but "
            "there is memory for 32 in all");
  make(small_options());
  EXPECT_EQ(scheduler_->check_fits({.prompt_len = 63, .max_tokens = 1000}), Status());
  EXPECT_EQ(scheduler_->check_fits({.prompt_len = 64, .max_tokens = 0}), Status());
  EXPECT_EQ(scheduler_->check_fits({.prompt_len = 64, .max_tokens = 1}).message(),
            "the maximum context length is 64 tokens, but the prompt has 64 tokens and the answer "
            "needs at least one");
  EXPECT_EQ(scheduler_->check_fits({.prompt_len = 65, .max_tokens = 0}).code(),
            StatusCode::kOutOfRange);
}

TEST_F(SchedulerTest, DiscardedContentIsNotFoundAgain) {
  make(small_options());
  add(1, counting_tokens(12));
  step();
  scheduler_->discard(1);
  EXPECT_EQ(pool_->stats().cached, 0u);
  EXPECT_EQ(pool_->stats().free, 64u);
}

TEST_F(SchedulerTest, PromptLogitsCoverEveryPositionOnceWithinTheRowLimit) {
  make(small_options());
  add(1, counting_tokens(4, 100));
  step();
  add(2, counting_tokens(20), 4, 1, /*prompt_logits=*/true);
  std::size_t rows = 0;
  bool done = false;
  while (!done) {
    const StepPlan plan = step();
    EXPECT_LE(plan.num_logit_rows, 6u);
    const ScheduledSequence* part = part_of(plan, {2, 0});
    ASSERT_NE(part, nullptr);
    EXPECT_EQ(part->first_position, rows);
    rows += part->num_logit_rows;
    done = part->completes_prompt;
  }
  EXPECT_EQ(rows, 20u);
}

// A random load. A shadow of the KV memory proves that every sequence finds its own tokens, and
// only those, in its blocks.
class Simulation {
 public:
  explicit Simulation(unsigned seed) : random_(seed) {
    options_.max_model_len = 8 + pick(60);
    options_.max_num_seqs = 1 + pick(8);
    options_.max_num_batched_tokens = options_.max_num_seqs + pick(30);
    options_.max_num_logit_rows = options_.max_num_seqs + pick(6);
    options_.max_draft_tokens = pick(5);
    options_.prefix_cache = pick(3) != 0;
    const std::size_t least = (options_.max_model_len + kBlockSize - 1) / kBlockSize;
    pool_ = std::make_unique<BlockPool>(least + pick(2 * least), kBlockSize);
    scheduler_ = std::make_unique<Scheduler>(options_, *pool_);
    memory_.resize(pool_->stats().total * kBlockSize, -1);
  }

  std::size_t num_preempted() const { return num_preempted_; }
  std::size_t num_right_drafts() const { return num_right_drafts_; }

  void run() {
    const std::size_t num_requests = 1 + pick(20);
    std::size_t num_added = 0;
    // Far beyond what any schedule with progress in every step needs.
    for (std::size_t steps_left = 20'000; steps_left > 0; --steps_left) {
      while (num_added < num_requests && pick(3) == 0)
        add(++num_added);
      if (pick(12) == 0) interfere();
      if (scheduler_->has_work()) {
        ASSERT_NO_FATAL_FAILURE(step());
      } else if (num_added == num_requests) {
        break;
      }
      ASSERT_EQ(scheduler_->check_integrity(), Status());
    }
    ASSERT_TRUE(live_.empty()) << "requests were starved";
    ASSERT_FALSE(scheduler_->has_work());
    ASSERT_EQ(pool_->stats().in_use, 0u);
  }

 private:
  struct Choice {
    Tokens tokens;
    std::size_t wanted = 0;
    bool is_streaming = false;  // One token behind since the last step.
    Tokens draft;
    bool is_finished = false;
  };
  struct Live {
    Tokens prompt;
    std::vector<Choice> choices;
    std::size_t num_left = 0;
    bool prompt_logits = false;
    std::int32_t priority = 0;
    bool prompt_done = false;
    std::size_t num_cached = 0;
    std::size_t num_prompt_logits = 0;
  };

  std::size_t pick(std::size_t bound) { return random_() % bound; }

  void add(RequestId id) {
    auto live = std::make_unique<Live>();
    const std::size_t prompt_len = 1 + pick(options_.max_model_len - 1);
    // Few different beginnings, so that prefixes are shared.
    const auto start = static_cast<std::int32_t>(100 * pick(3));
    live->prompt = counting_tokens(prompt_len, start);
    if (pick(2) == 0) live->prompt[pick(prompt_len)] = 99;
    live->prompt_logits = pick(5) == 0;
    if (pick(4) == 0) live->priority = static_cast<std::int32_t>(pick(3)) - 1;
    const std::size_t max_tokens = 1 + pick(40);
    live->choices.resize(1 + pick(3));
    live->num_left = live->choices.size();
    for (Choice& choice : live->choices) {
      choice.tokens = live->prompt;
      choice.wanted = std::min(prompt_len + 1 + pick(max_tokens), options_.max_model_len);
    }
    scheduler_->add({.id = id,
                     .prompt = live->prompt,
                     .num_choices = static_cast<std::uint32_t>(live->choices.size()),
                     .max_tokens = max_tokens,
                     .prompt_logits = live->prompt_logits,
                     .priority = live->priority});
    live_.emplace(id, std::move(live));
  }

  // Cancels, discards or ends one choice of some request.
  void interfere() {
    if (live_.empty()) return;
    const auto victim = std::next(live_.begin(), static_cast<std::ptrdiff_t>(pick(live_.size())));
    const RequestId id = victim->first;
    const std::size_t how = pick(3);
    if (how < 2) {
      if (how == 0) scheduler_->cancel(id);
      if (how == 1) scheduler_->discard(id);
      live_.erase(victim);
      return;
    }
    finish({id, static_cast<std::uint32_t>(pick(victim->second->choices.size()))});
  }

  void finish(const SequenceId& id) {
    Live& live = *live_.at(id.request);
    Choice& choice = live.choices[id.choice];
    if (choice.is_finished) return;
    choice.is_finished = true;
    scheduler_->finish(id);
    if (--live.num_left == 0) live_.erase(id.request);
  }

  void set_drafts() {
    std::vector<DecodingSequence> sequences;
    scheduler_->list_decoding(sequences);
    for (const DecodingSequence& sequence : sequences) {
      Choice& choice = live_.at(sequence.id.request)->choices[sequence.id.choice];
      ASSERT_TRUE(std::ranges::equal(sequence.tokens, choice.tokens));
      choice.draft.resize(pick(options_.max_draft_tokens + 1));
      for (std::int32_t& token : choice.draft)
        token = static_cast<std::int32_t>(pick(4));
      scheduler_->set_draft(sequence.id, choice.draft);
    }
  }

  void step() {
    ASSERT_NO_FATAL_FAILURE(set_drafts());
    const StepPlan& plan = scheduler_->schedule();
    ASSERT_FALSE(plan.sequences.empty());
    ASSERT_LE(plan.num_tokens, options_.max_num_batched_tokens);
    ASSERT_LE(plan.num_logit_rows, options_.max_num_logit_rows);
    ASSERT_LE(plan.sequences.size(), options_.max_num_seqs);
    num_preempted_ += plan.num_preempted;
    for (const RequestId id : plan.admitted) {
      RequestId& last = last_admitted_[live_.at(id)->priority];
      ASSERT_GT(id, last) << "not in order of arrival";
      last = id;
    }
    for (const PrefixCacheHit& hit : plan.cache_hits) {
      Live& live = *live_.at(hit.id);
      live.num_cached += hit.num_tokens;
      ASSERT_LT(live.num_cached, live.prompt.size());
      ASSERT_FALSE(live.prompt_done);
    }
    ASSERT_NO_FATAL_FAILURE(check_streams(plan));
    for (const ScheduledSequence& part : plan.sequences) {
      ASSERT_NO_FATAL_FAILURE(compute(part));
    }
    if (pick(20) == 0) spoil(plan.sequences[pick(plan.sequences.size())]);
    scheduler_->commit();
    for (const ScheduledSequence& part : plan.sequences) {
      if (part.caught_up && live_.contains(part.id.request)) {
        next_tokens(part.id, part.num_draft_tokens);
      }
    }
  }

  // What it computed is wrong, which is noticed before the commit.
  void spoil(const ScheduledSequence& part) {
    for (std::size_t idx = 0; idx < part.tokens.size(); ++idx)
      cell(part, part.first_position + idx) = -2;
    scheduler_->discard(part.id.request);
    live_.erase(part.id.request);
  }

  // Who was one token behind gets exactly that, except the last ones when blocks ran out.
  void check_streams(const StepPlan& plan) {
    std::size_t num_missing = 0;
    std::map<std::pair<std::int32_t, RequestId>, Live*> ordered;
    for (const auto& [id, live] : live_)
      ordered[{live->priority, id}] = live.get();
    for (const auto& [order, live] : ordered) {
      const RequestId id = order.second;
      for (std::uint32_t idx = 0; idx < live->choices.size(); ++idx) {
        Choice& choice = live->choices[idx];
        if (!choice.is_streaming || choice.is_finished) continue;
        const ScheduledSequence* part = part_of(plan, {id, idx});
        if (part == nullptr) {
          ++num_missing;
          choice.is_streaming = false;
          continue;
        }
        ASSERT_EQ(num_missing, 0u) << "an earlier stream than this one was stopped";
        ASSERT_EQ(part->tokens.size(), 1u + part->num_draft_tokens);
      }
    }
    ASSERT_LE(num_missing, plan.num_preempted);
  }

  void compute(const ScheduledSequence& part) {
    Live& live = *live_.at(part.id.request);
    const Tokens& tokens = live.choices[part.id.choice].tokens;
    const std::size_t num_known = part.tokens.size() - part.num_draft_tokens;
    const std::size_t end = part.first_position + num_known;
    ASSERT_GE(num_known, 1u);
    ASSERT_LE(end, tokens.size());
    ASSERT_GE(part.block_table.size() * kBlockSize, end + part.num_draft_tokens);
    ASSERT_LT(end + part.num_draft_tokens, options_.max_model_len + (part.num_draft_tokens == 0));
    ASSERT_EQ(part.caught_up, end == tokens.size());
    ASSERT_TRUE(part.caught_up || part.num_draft_tokens == 0);
    for (std::size_t idx = 0; idx < num_known; ++idx)
      ASSERT_EQ(part.tokens[idx], tokens[part.first_position + idx]);
    const Tokens& draft = live.choices[part.id.choice].draft;
    ASSERT_LE(part.num_draft_tokens, draft.size());
    for (std::size_t idx = 0; idx < part.num_draft_tokens; ++idx)
      ASSERT_EQ(part.tokens[num_known + idx], draft[idx]);
    for (std::size_t idx = 0; idx < part.tokens.size(); ++idx)
      cell(part, part.first_position + idx) = part.tokens[idx];
    for (std::size_t position = 0; position < end; ++position) {
      ASSERT_EQ(cell(part, position), tokens[position])
          << "position " << position << " of request " << part.id.request;
    }
    ASSERT_NO_FATAL_FAILURE(check_logit_rows(part, live, end));
  }

  void check_logit_rows(const ScheduledSequence& part, Live& live, std::size_t end) {
    ASSERT_EQ(part.completes_prompt, !live.prompt_done && end >= live.prompt.size());
    ASSERT_LE(part.num_logit_rows, part.tokens.size());
    if (live.prompt_logits && !live.prompt_done) {
      // After a preemption positions are computed again without their logits.
      ASSERT_EQ(part.num_logit_rows, end - std::min(end, live.num_prompt_logits));
      live.num_prompt_logits = std::max(live.num_prompt_logits, end);
    } else {
      ASSERT_EQ(part.num_logit_rows, 1 + part.num_draft_tokens);
    }
    live.prompt_done |= part.completes_prompt;
  }

  std::int32_t& cell(const ScheduledSequence& part, std::size_t position) {
    const auto block = static_cast<std::size_t>(part.block_table[position / kBlockSize]);
    return memory_.at(block * kBlockSize + position % kBlockSize);
  }

  // Guesses are as right as chance makes them, up to the first wrong one.
  void next_tokens(const SequenceId& id, std::size_t num_drafts) {
    Choice& choice = live_.at(id.request)->choices[id.choice];
    Tokens tokens;
    do {
      const bool is_right = tokens.size() < num_drafts && pick(3) != 0;
      if (!is_right) num_drafts = tokens.size();
      tokens.push_back(is_right ? choice.draft[tokens.size()] : static_cast<std::int32_t>(pick(4)));
    } while (tokens.size() <= num_drafts && choice.tokens.size() + tokens.size() < choice.wanted);
    num_right_drafts_ += tokens.size() - 1;
    choice.tokens.insert(choice.tokens.end(), tokens.begin(), tokens.end());
    choice.draft.clear();
    choice.is_streaming = true;
    scheduler_->append_tokens(id, tokens);
    if (choice.tokens.size() >= choice.wanted) finish(id);
  }

  std::mt19937 random_;
  SchedulerOptions options_;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  Tokens memory_;  // [num_blocks * kBlockSize]
  std::map<RequestId, std::unique_ptr<Live>> live_;
  std::map<std::int32_t, RequestId> last_admitted_;  // By priority.
  std::size_t num_preempted_ = 0;
  std::size_t num_right_drafts_ = 0;
};

TEST(SchedulerSimulationTest, EveryRequestIsServedFairlyFromItsOwnTokens) {
  std::size_t num_preempted = 0;
  std::size_t num_right_drafts = 0;
  for (unsigned seed = 0; seed < 4000; ++seed) {
    Simulation simulation(seed);
    ASSERT_NO_FATAL_FAILURE(simulation.run()) << "seed " << seed;
    num_preempted += simulation.num_preempted();
    num_right_drafts += simulation.num_right_drafts();
  }
  EXPECT_GT(num_preempted, 1000u) << "the load is too light to show anything";
  EXPECT_GT(num_right_drafts, 1000u) << "hardly anything was guessed";
}

}  // namespace
}  // namespace hearth
