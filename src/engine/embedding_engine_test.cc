#include "engine/embedding_engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <random>
#include <thread>

#include "engine/engine_test_util.h"
#include "tests/support/fake_encoder.h"

namespace hearth::test {
namespace {

FakeEncoderOptions fake_options() {
  FakeEncoderOptions options;
  options.config = fake_encoder_config();
  return options;
}

EmbeddingInput input_of(std::size_t length, std::int32_t seed) {
  EmbeddingInput input;
  for (std::size_t i = 0; i < length; ++i) {
    input.tokens.push_back((seed * 31 + static_cast<std::int32_t>(i) * 7) % 299);
    input.token_types.push_back(static_cast<std::int32_t>(i % 2));
  }
  return input;
}

EmbeddingRequest texts_of(const std::vector<std::size_t>& lengths, std::int32_t seed = 1) {
  EmbeddingRequest request;
  for (const std::size_t length : lengths)
    request.inputs.push_back(input_of(length, seed++));
  return request;
}

std::vector<float> expected_rows(const EmbeddingRequest& request, std::size_t width = 8) {
  std::vector<float> rows;
  for (const EmbeddingInput& input : request.inputs) {
    for (std::size_t i = 0; i < width; ++i)
      rows.push_back(fake_output(input.tokens, input.token_types, i));
  }
  return rows;
}

class EmbeddingEngineTest : public testing::Test {
 protected:
  EmbeddingEngine& engine() {
    if (!engine_) {
      engine_ =
          EmbeddingEngine::start(std::make_unique<FakeEncoder>(encoder), options, metrics, clock)
              .value();
    }
    return *engine_;
  }
  std::shared_ptr<EmbeddingHandle> submit(const EmbeddingRequest& request,
                                          EmbeddingEngine::Notify notify = {}) {
    return engine().submit(request, std::move(notify)).value();
  }
  StatusCode refusal(EmbeddingRequest request) {
    const auto handle = engine().submit(std::move(request), {});
    return handle ? StatusCode::kOk : handle.error().code();
  }
  // Holds every batch at `gate`.
  void close_gate() {
    encoder.on_encode = [this](auto) { gate.pass(); };
  }
  // The engine's own accounts are settled when it has stopped.
  void stop() { engine().stop(); }

  FakeEncoderOptions encoder = fake_options();
  EmbeddingEngineOptions options;
  Metrics all_metrics;
  const ModelMetrics& metrics = all_metrics.of_model("fake");
  FakeClock clock;
  Gate gate;

 private:
  std::unique_ptr<EmbeddingEngine> engine_;  // Before what its thread uses.
};

TEST_F(EmbeddingEngineTest, RowsComeInTheOrderOfTheInputs) {
  const EmbeddingRequest request = texts_of({3, 32, 1, 17, 9, 30, 31, 2});
  const EmbeddingResult result = submit(request)->wait();
  EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(result.rows, expected_rows(request));
  stop();
  EXPECT_TRUE(engine().idle());
  EXPECT_EQ(metrics.embedding.texts.value(), 8);
  EXPECT_EQ(metrics.embedding.tokens.value(), 125);
  EXPECT_EQ(metrics.embedding.batch_tokens.sum(), 125);
  EXPECT_GE(metrics.embedding.batch_tokens.count(), 2u);  // 64 tokens at most.
  EXPECT_EQ(metrics.embedding.finished[EmbeddingOutcome::kDone].value(), 1);
  EXPECT_EQ(metrics.embedding.requests_waiting.value(), 0);
}

TEST_F(EmbeddingEngineTest, RequestsOfSeveralClientsShareABatch) {
  std::vector<std::size_t> batches;
  encoder.on_encode = [&](std::span<const EncoderInput> inputs) {
    gate.pass();
    batches.push_back(inputs.size());
  };
  const auto first = submit(texts_of({4}));
  gate.await_arrival(1);
  const auto second = submit(texts_of({4}, 50));
  const auto third = submit(texts_of({4, 4}, 60));
  gate.open();
  EXPECT_EQ(second->wait().rows, expected_rows(texts_of({4}, 50)));
  EXPECT_EQ(third->wait().rows, expected_rows(texts_of({4, 4}, 60)));
  stop();
  EXPECT_EQ(batches, (std::vector<std::size_t>{1, 3}));
}

TEST_F(EmbeddingEngineTest, ASingleTextDoesNotWaitForALongList) {
  close_gate();
  const auto list = submit(texts_of(std::vector<std::size_t>(100, 16)));
  gate.await_arrival(1);
  const auto single = submit(texts_of({5}, 200));
  gate.let_one_pass();
  gate.await_arrival(2);
  gate.let_one_pass();
  EXPECT_TRUE(single->wait().status.ok());  // With the second batch, of about 26.
  EXPECT_FALSE(list->poll().has_value());
  gate.open();
  EXPECT_TRUE(list->wait().status.ok());
}

TEST_F(EmbeddingEngineTest, CancellingEndsARequestBeforeTheNextBatch) {
  close_gate();
  const auto list = submit(texts_of(std::vector<std::size_t>(100, 16)));
  gate.await_arrival(1);
  auto dropped = submit(texts_of({5}));
  list->cancel();
  dropped.reset();
  gate.let_one_pass();
  EXPECT_EQ(list->wait().status.code(), StatusCode::kCancelled);
  stop();
  EXPECT_EQ(metrics.embedding.texts.value(), 4);
  EXPECT_EQ(metrics.embedding.finished[EmbeddingOutcome::kCancelled].value(), 2);
  EXPECT_EQ(metrics.embedding.requests_waiting.value(), 0);
}

TEST_F(EmbeddingEngineTest, RefusesAtTheDoorWhenRequestsOrTokensPileUp) {
  options.max_queued_requests = 2;
  options.max_queued_tokens = 40;
  close_gate();
  // One request alone is taken, whatever its size.
  const auto running = submit(texts_of({32, 32}));
  gate.await_arrival(1);
  EXPECT_EQ(refusal(texts_of({1})), StatusCode::kResourceExhausted);
  gate.open();
  EXPECT_TRUE(running->wait().status.ok());
  EXPECT_EQ(metrics.request.rejected[RejectionReason::kQueueFull].value(), 1);
}

TEST_F(EmbeddingEngineTest, BoundsTheMemoryOfResults) {
  options.max_result_bytes = 3 * 8 * sizeof(float);
  close_gate();
  const auto running = submit(texts_of({1, 1}));
  gate.await_arrival(1);
  EXPECT_EQ(refusal(texts_of({1, 1})), StatusCode::kResourceExhausted);
  const auto small = submit(texts_of({1}));
  gate.open();
  EXPECT_TRUE(small->wait().status.ok());
  EXPECT_TRUE(running->wait().status.ok());
  stop();
  EXPECT_EQ(metrics.request.rejected[RejectionReason::kQueueFull].value(), 1);
}

TEST_F(EmbeddingEngineTest, BoundsTheRequestsThatWait) {
  options.max_queued_requests = 2;
  close_gate();
  const auto running = submit(texts_of({1}));
  gate.await_arrival(1);
  const auto second = submit(texts_of({1})), third = submit(texts_of({1}));
  EXPECT_EQ(metrics.embedding.requests_waiting.value(), 2);
  EXPECT_EQ(refusal(texts_of({1})), StatusCode::kResourceExhausted);
  gate.open();
  EXPECT_TRUE(third->wait().status.ok());
}

TEST_F(EmbeddingEngineTest, RefusesWhatTheModelCannotRead) {
  EXPECT_EQ(refusal({}), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(texts_of({3, 0})), StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal(texts_of({33})), StatusCode::kOutOfRange);
  EmbeddingRequest foreign = texts_of({3});
  foreign.inputs[0].tokens[1] = 300;
  EXPECT_EQ(refusal(foreign), StatusCode::kInvalidArgument);
  foreign.inputs[0].tokens[1] = -1;
  EXPECT_EQ(refusal(foreign), StatusCode::kInvalidArgument);
  EmbeddingRequest types = texts_of({3});
  types.inputs[0].token_types[2] = 2;
  EXPECT_EQ(refusal(types), StatusCode::kInvalidArgument);
  types.inputs[0].token_types = {0};
  EXPECT_EQ(refusal(types), StatusCode::kInvalidArgument);
}

TEST_F(EmbeddingEngineTest, ANumericalErrorFailsItsRequestAlone) {
  encoder.poison = 299;
  close_gate();
  const auto running = submit(texts_of({1}));
  gate.await_arrival(1);
  EmbeddingRequest bad = texts_of(std::vector<std::size_t>(30, 8), 7);
  bad.inputs[3].tokens[0] = 299;
  const auto poisoned = submit(bad);
  const auto good = submit(texts_of({8, 8}, 90));
  gate.open();
  const EmbeddingResult result = poisoned->wait();
  EXPECT_EQ(result.status.code(), StatusCode::kInternal);
  EXPECT_TRUE(result.status.message().contains("input 3"));
  EXPECT_EQ(good->wait().rows, expected_rows(texts_of({8, 8}, 90)));
  EXPECT_EQ(metrics.engine.numerical_errors.value(), 1);
}

TEST_F(EmbeddingEngineTest, WithoutMemoryTheBatchFailsAndTheEngineGoesOn) {
  std::atomic<bool> fail = true;
  encoder.on_encode = [&](auto) {
    if (fail.exchange(false)) throw std::bad_alloc();
  };
  EXPECT_EQ(submit(texts_of({8}))->wait().status.code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(submit(texts_of({8}))->wait().status.ok());
}

TEST_F(EmbeddingEngineTest, StoppingFailsWhatIsLeft) {
  close_gate();
  const auto running = submit(texts_of(std::vector<std::size_t>(9, 16)));
  gate.await_arrival(1);
  const auto waiting = submit(texts_of({3}));
  std::thread stopper([this] { stop(); });
  while (refusal(texts_of({1})) != StatusCode::kUnavailable) {  // Until the stop has begun.
  }
  gate.open();
  stopper.join();
  EXPECT_TRUE(engine().idle());
  EXPECT_EQ(running->poll()->status.code(), StatusCode::kUnavailable);  // Of 9 texts 4 were read.
  EXPECT_FALSE(running->poll().has_value());
  EXPECT_EQ(waiting->wait().status.code(), StatusCode::kUnavailable);
}

TEST_F(EmbeddingEngineTest, DrainingFinishesWhatIsLeft) {
  close_gate();
  const auto running = submit(texts_of({3}));
  gate.await_arrival(1);
  const auto waiting = submit(texts_of({4}, 7));
  engine().drain();
  EXPECT_EQ(refusal(texts_of({1})), StatusCode::kUnavailable);
  gate.open();
  EXPECT_EQ(running->wait().rows, expected_rows(texts_of({3})));
  EXPECT_EQ(waiting->wait().rows, expected_rows(texts_of({4}, 7)));
}

TEST_F(EmbeddingEngineTest, ABatchThatTakesTooLongIsUnhealthy) {
  close_gate();
  EXPECT_TRUE(engine().status().healthy);
  clock.advance(std::chrono::hours(1));
  EXPECT_TRUE(engine().status().healthy);
  const auto running = submit(texts_of({1}));
  gate.await_arrival(1);
  EXPECT_TRUE(engine().status().healthy);
  clock.advance(std::chrono::seconds(121));
  EXPECT_FALSE(engine().status().healthy);
  gate.open();
  EXPECT_TRUE(running->wait().status.ok());
  stop();
  EXPECT_TRUE(engine().status().healthy);
}

TEST_F(EmbeddingEngineTest, LimitsBelowTheModelsAreRefused) {
  encoder.limits.max_batch_tokens = 31;
  const auto started =
      EmbeddingEngine::start(std::make_unique<FakeEncoder>(encoder), options, metrics, clock);
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code(), StatusCode::kInvalidArgument);
}

TEST_F(EmbeddingEngineTest, ASmallerLimitThanTheModelsHolds) {
  options.max_model_len = 10;
  encoder.limits.max_batch_tokens = 10;
  EXPECT_EQ(engine().max_model_len(), 10u);
  EXPECT_EQ(refusal(texts_of({11})), StatusCode::kOutOfRange);
  EXPECT_TRUE(submit(texts_of({10}))->wait().status.ok());
  options.max_model_len = 33;
  const auto larger =
      EmbeddingEngine::start(std::make_unique<FakeEncoder>(encoder), options, metrics, clock);
  ASSERT_FALSE(larger.has_value());
  EXPECT_EQ(larger.error().code(), StatusCode::kOutOfRange);
}

// Whatever clients do, each gets its own rows and one result; run under TSan, too.
TEST_F(EmbeddingEngineTest, ManyClientsAskCancelAndLeaveAtOnce) {
  options.max_queued_requests = 6;
  engine();
  std::vector<std::thread> threads;
  threads.reserve(4);
  std::atomic<int> num_results = 0, num_notified = 0;
  for (std::int32_t client = 0; client < 4; ++client) {
    threads.emplace_back([&, client] {
      std::mt19937 random(static_cast<unsigned>(client));
      for (int i = 0; i < 150; ++i) {
        const EmbeddingRequest request = texts_of(
            std::vector<std::size_t>(1 + random() % 12, 1 + random() % 32), client * 500 + i);
        auto handle = engine().submit(request, [&] { ++num_notified; });
        if (!handle.has_value()) {
          EXPECT_EQ(handle.error().code(), StatusCode::kResourceExhausted);
          continue;
        }
        ++num_results;
        const auto choice = random() % 4;
        if (choice == 0) continue;  // Drops the handle.
        if (choice == 1) (*handle)->cancel();
        const EmbeddingResult result = (*handle)->wait();
        if (result.status.ok()) {
          EXPECT_EQ(result.rows, expected_rows(request));
        } else {
          EXPECT_EQ(result.status.code(), StatusCode::kCancelled);
        }
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  stop();
  EXPECT_TRUE(engine().idle());
  EXPECT_EQ(num_notified, num_results);
  EXPECT_EQ(metrics.embedding.requests_waiting.value(), 0);
  double num_finished = 0;
  for (const auto outcome :
       {EmbeddingOutcome::kDone, EmbeddingOutcome::kCancelled, EmbeddingOutcome::kError})
    num_finished += metrics.embedding.finished[outcome].value();
  EXPECT_EQ(num_finished, num_results);
}

}  // namespace
}  // namespace hearth::test
