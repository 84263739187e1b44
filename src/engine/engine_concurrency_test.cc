// Many threads at one engine. What they see must not depend on their timing; run under TSan, too.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "engine/engine_test_util.h"

namespace hearth::test {
namespace {

// One client: asks, and then reads to the end, cancels, ends a choice or walks away.
class Client {
 public:
  Client(TestEngine& engine, unsigned seed) : engine_(engine), random_(seed) {}

  void ask() {
    GenerationRequest request =
        request_of(some_tokens(1 + pick(60), static_cast<std::uint32_t>(pick(4))), 40);
    request.num_choices = static_cast<std::uint32_t>(1 + pick(2));
    request.sampling.temperature = 0.7f;
    request.sampling.seed = pick(100);
    auto handle = engine_->submit(request, [] {});
    if (!handle.has_value()) {
      EXPECT_EQ(handle.error().code(), StatusCode::kResourceExhausted);
      return;
    }
    switch (pick(5)) {
      case 0:
        (*handle)->cancel();
        EXPECT_TRUE(collect(**handle, request.num_choices).terminal.has_value());
        return;
      case 1:
        (*handle)->end_choice(0);
        EXPECT_TRUE(collect(**handle, request.num_choices).finished());
        return;
      case 2:
        return;  // Drops the handle.
      default:
        expect_answer(collect(**handle, request.num_choices), request, engine_.model());
    }
  }

 private:
  std::size_t pick(std::size_t bound) { return random_() % bound; }

  TestEngine& engine_;
  std::mt19937 random_;
};

TEST(EngineConcurrencyTest, ManyClientsAskCancelAndLeaveAtOnce) {
  EngineOptions options = small_engine_options();
  options.max_num_seqs = 6;
  options.max_queued_requests = 8;
  options.kv_cache_bytes = fake_kv_bytes(18);
  TestEngine engine(options);
  std::atomic<bool> watching = true;
  std::thread watcher([&] {
    while (watching) {
      const EngineStatus status = engine->status();
      EXPECT_TRUE(status.healthy);
      EXPECT_LE(status.kv_blocks_in_use + status.kv_blocks_cached, status.kv_blocks_total);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&engine, seed] {
      Client client(engine, seed);
      for (int i = 0; i < 60; ++i)
        client.ask();
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  watching = false;
  watcher.join();

  engine.stop();
  const ModelMetrics& metrics = engine.metrics();
  EXPECT_EQ(metrics.memory.kv_cache_usage.value(), 0.0);
  EXPECT_EQ(metrics.engine.requests_running.value(), 0.0);
  EXPECT_EQ(metrics.engine.requests_waiting.value(), 0.0);
}

TEST(EngineConcurrencyTest, HandlesMayBeUsedWhileTheEngineIsDestroyed) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    TestEngine engine(small_engine_options());
    std::vector<std::thread> threads;
    for (std::uint32_t idx = 0; idx < 3; ++idx) {
      GenerationRequest request = request_of(some_tokens(20, idx), 200);
      request.ignore_eos = true;
      threads.emplace_back([handle = engine.submit(request), idx] {
        if (idx == 1) handle->cancel();
        if (idx == 2) handle->end_choice(0);
        EXPECT_TRUE(collect(*handle).terminal.has_value());
      });
    }
    engine.stop();
    for (std::thread& thread : threads)
      thread.join();
  }
}

}  // namespace
}  // namespace hearth::test
