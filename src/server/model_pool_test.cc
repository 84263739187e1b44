#include "server/model_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "server/fake_engine_test_util.h"

namespace hearth {
namespace {

using test::FakeEngine;

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Counts, across all loads, which fake models are in memory.
class ModelPoolTest : public testing::Test {
 protected:
  ModelPoolOptions options{.memory_bytes = 100 * kMiB};
  FakeClock clock;

  // A model of so much memory; `fails` is asked before each load.
  ModelSpec spec(const std::string& name, std::size_t bytes,
                 const std::function<Status()>& fails = nullptr) {
    ModelSpec spec;
    spec.names = {name, name + "-alias"};
    spec.source = name + ".gguf";
    spec.estimate = [bytes] { return Result<std::size_t>(bytes); };
    spec.load = [this, name, bytes, fails](std::size_t budget) -> Result<LoadedModel> {
      if (fails) HEARTH_RETURN_IF_ERROR(fails());
      if (budget < bytes) return error(StatusCode::kResourceExhausted, "{} is too large", name);
      const std::lock_guard lock(mutex_);
      ++num_loads[name];
      budgets[name] = budget;
      auto engine = std::make_shared<FakeEngine>();
      engines[name] = engine;
      return LoadedModel{.ref = {.name = name, .engine = engine.get()},
                         .owner = std::move(engine),
                         .memory_bytes = bytes,
                         .intact = [this] {
                           return is_lost ? Status(StatusCode::kDataLoss, "cut short") : Status();
                         }};
    };
    return spec;
  }
  template <typename... Specs>
  ModelPool& start(Specs... specs) {
    std::vector<ModelSpec> list;
    (list.push_back(std::move(specs)), ...);
    pool_ = std::make_unique<ModelPool>(options, std::move(list), metrics, clock);
    return *pool_;
  }
  void stop() { pool_.reset(); }

  Status load(std::string_view name) {
    std::promise<Status> done;
    pool_->load(name, [&done](const Status& status) { done.set_value(status); });
    return done.get_future().get();
  }
  std::future<Status> begin_unload(std::string_view name, std::chrono::milliseconds patience) {
    const auto done = std::make_shared<std::promise<Status>>();
    pool_->unload(name, patience, [done](const Status& status) { done->set_value(status); });
    return done->get_future();
  }
  // A lease at once or when the model is loaded.
  ApiResult<ModelLease> acquire(std::string_view name) {
    const auto late = std::make_shared<std::promise<ApiResult<ModelLease>>>();
    auto future = late->get_future();
    auto now = pool_->acquire(
        name, {.on_lease = [late](ApiResult<ModelLease> lease) { late->set_value(lease); }});
    return now ? *std::move(now) : future.get();
  }
  // An answer from its beginning to its end.
  void use(std::string_view name) {
    EXPECT_TRUE(acquire(name).has_value());
    while (pool_->find(name)->num_answers > 0)
      std::this_thread::yield();
  }
  ModelState state(std::string_view name) { return pool_->find(name)->state; }
  int loads_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return num_loads[name];
  }

  Metrics metrics;
  std::atomic<bool> is_lost = false;  // The files of all models that are in memory.
  std::map<std::string, int> num_loads;
  std::map<std::string, std::size_t> budgets;
  std::map<std::string, std::weak_ptr<FakeEngine>> engines;

 private:
  std::mutex mutex_;
  std::unique_ptr<ModelPool> pool_;
};

TEST_F(ModelPoolTest, FindsAModelByEachOfItsNames) {
  ModelPool& pool = start(spec("a", kMiB), spec("b", kMiB));
  ASSERT_TRUE(load("a").ok());
  EXPECT_EQ((*acquire("a"))->name, "a");
  EXPECT_EQ((*acquire("a-alias"))->name, "a");
  const auto unknown = acquire("c");
  EXPECT_EQ(unknown.error().status, 404);
  EXPECT_NE(unknown.error().message.find("a, a-alias, b, b-alias"), std::string::npos);
  EXPECT_EQ(acquire("").error().code, "missing_field");
  EXPECT_EQ(acquire("b").error().code, "model_not_loaded");
  EXPECT_TRUE(acquire("b").error().retry_after_s.has_value());
  EXPECT_FALSE(pool.find("c").has_value());
}

TEST_F(ModelPoolTest, TheOnlyModelNeedsNoName) {
  start(spec("a", kMiB));
  ASSERT_TRUE(load("a").ok());
  EXPECT_EQ((*acquire(""))->name, "a");
}

TEST_F(ModelPoolTest, AModelStaysAsLongAsALease) {
  start(spec("a", kMiB));
  ASSERT_TRUE(load("a").ok());
  ApiResult<ModelLease> lease = acquire("a");
  auto unloaded = begin_unload("a", std::chrono::hours(1));
  EXPECT_EQ(state("a"), ModelState::kUnloading);
  EXPECT_EQ(acquire("a").error().code, "model_not_loaded");
  EXPECT_FALSE(engines["a"].expired());
  lease = std::unexpected(ApiError());
  EXPECT_TRUE(unloaded.get().ok());
  EXPECT_TRUE(engines["a"].expired());
  EXPECT_EQ(state("a"), ModelState::kUnloaded);
}

TEST_F(ModelPoolTest, UnloadingFailsAnswersThatTakeTooLong) {
  start(spec("a", kMiB));
  ASSERT_TRUE(load("a").ok());
  ApiResult<ModelLease> lease = acquire("a");
  auto handle = (*lease)->engine->submit({}, {});
  auto unloaded = begin_unload("a", std::chrono::milliseconds(0));
  std::vector<GenerationEvent> events;
  while (events.empty())
    (*handle)->poll(events);
  EXPECT_TRUE(std::holds_alternative<RequestFailed>(events.front()));
  handle->reset();
  lease = std::unexpected(ApiError());
  EXPECT_TRUE(unloaded.get().ok());
}

TEST_F(ModelPoolTest, AFailedLoadLeavesTheOthersAlone) {
  bool is_broken = true;
  start(spec("a", kMiB), spec("b", kMiB, [&is_broken] {
          return is_broken ? Status(StatusCode::kDataLoss, "b.gguf is cut short") : Status();
        }));
  ASSERT_TRUE(load("a").ok());
  EXPECT_EQ(load("b").code(), StatusCode::kDataLoss);
  EXPECT_EQ(state("b"), ModelState::kFailed);
  EXPECT_NE(acquire("b").error().message.find("b.gguf is cut short"), std::string::npos);
  use("a");
  is_broken = false;
  EXPECT_TRUE(load("b").ok());
  use("b");
}

TEST_F(ModelPoolTest, ARequestLoadsWhatItNeedsAndManyLoadItOnce) {
  options.load_on_demand = true;
  start(spec("a", kMiB), spec("b", kMiB));
  std::vector<std::jthread> clients;
  clients.reserve(16);
  std::atomic<int> num_leases = 0;
  for (int i = 0; i < 16; ++i) {
    clients.emplace_back([this, &num_leases] { num_leases += acquire("a").has_value() ? 1 : 0; });
  }
  clients.clear();
  EXPECT_EQ(num_leases, 16);
  EXPECT_EQ(loads_of("a"), 1);
  EXPECT_EQ(loads_of("b"), 0);
}

TEST_F(ModelPoolTest, WaitingForALoadIsBounded) {
  options.load_on_demand = true;
  options.max_waiting = 2;
  std::promise<void> may_load;
  const auto go = may_load.get_future().share();
  ModelPool& pool = start(spec("a", kMiB, [go] {
    go.wait();
    return Status();
  }));
  std::atomic<int> num_late = 0;
  const auto count = [&num_late](const ApiResult<ModelLease>& lease) {
    num_late += lease.has_value() ? 1 : 0;
  };
  std::stop_source left;
  EXPECT_FALSE(pool.acquire("a", {.on_lease = count}).has_value());
  EXPECT_FALSE(pool.acquire("a", {.stop = left.get_token(), .on_lease = count}).has_value());
  EXPECT_EQ(pool.acquire("a", {.on_lease = count})->error().code, "overloaded");
  left.request_stop();  // Who has left makes room.
  EXPECT_FALSE(pool.acquire("a", {.on_lease = count}).has_value());
  may_load.set_value();
  EXPECT_TRUE(load("a").ok());
  pool.close();
  EXPECT_EQ(num_late, 2);
}

TEST_F(ModelPoolTest, TheLongestUnusedModelMakesRoom) {
  options.load_on_demand = true;
  start(spec("a", 40 * kMiB), spec("b", 40 * kMiB), spec("c", 40 * kMiB));
  use("a");
  clock.advance(std::chrono::seconds(1));
  use("b");
  clock.advance(std::chrono::seconds(1));
  use("a");
  use("c");
  EXPECT_EQ(state("a"), ModelState::kLoaded);
  EXPECT_EQ(state("b"), ModelState::kUnloaded);
  EXPECT_EQ(metrics.pool.unloads.with({"b", "evicted"}).value(), 1);
}

TEST_F(ModelPoolTest, AModelThatAnswersIsNotEvicted) {
  options.load_on_demand = true;
  start(spec("a", 60 * kMiB), spec("b", 60 * kMiB));
  ApiResult<ModelLease> answering = acquire("a");
  const auto refused = acquire("b");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().status, 503);
  for (const char* number : {"60.0 MiB", "100.0 MiB", "40.0 MiB", "for 1 answers"})
    EXPECT_NE(refused.error().message.find(number), std::string::npos) << refused.error().message;
  EXPECT_EQ(state("b"), ModelState::kUnloaded);
  answering = std::unexpected(ApiError());
  use("b");
  EXPECT_EQ(state("a"), ModelState::kUnloaded);
}

TEST_F(ModelPoolTest, ModelsShareTheMemoryThatIsFree) {
  start(spec("a", kMiB), spec("b", 70 * kMiB), spec("c", kMiB));
  ASSERT_TRUE(load("a").ok());
  EXPECT_EQ(budgets["a"], 100 * kMiB / 3);
  ASSERT_TRUE(load("b").ok());
  EXPECT_EQ(budgets["b"], 70 * kMiB);
  ASSERT_TRUE(load("c").ok());
  EXPECT_EQ(budgets["c"], 29 * kMiB);
}

TEST_F(ModelPoolTest, AModelThatIsNotUsedIsUnloaded) {
  options.load_on_demand = true;
  options.ttl = std::chrono::minutes(5);
  start(spec("a", kMiB), spec("b", kMiB));
  ApiResult<ModelLease> answering = acquire("a");
  use("b");
  clock.advance(std::chrono::minutes(6));
  while (state("b") != ModelState::kUnloaded)  // Each look makes the pool look at the clock.
    std::this_thread::yield();
  EXPECT_EQ(state("a"), ModelState::kLoaded);
  EXPECT_EQ(metrics.pool.unloads.with({"b", "unused"}).value(), 1);
}

TEST_F(ModelPoolTest, AModelWhoseFileIsLostHasFailed) {
  start(spec("a", kMiB));
  ASSERT_TRUE(load("a").ok());
  is_lost = true;
  while (state("a") != ModelState::kFailed)
    std::this_thread::yield();
  EXPECT_TRUE(engines["a"].expired());
  const auto refused = acquire("a");
  EXPECT_EQ(refused.error().status, 503);
  EXPECT_NE(refused.error().message.find("cut short"), std::string::npos);
  EXPECT_EQ(metrics.pool.unloads.with({"a", "file_lost"}).value(), 1);
  is_lost = false;
  EXPECT_TRUE(load("a").ok());
  use("a");
}

TEST_F(ModelPoolTest, TheEndFailsWhatWaitsAndWhatRuns) {
  options.load_on_demand = true;
  std::promise<void> may_load;
  const auto go = may_load.get_future().share();
  ModelPool& pool = start(spec("a", kMiB), spec("b", kMiB, [go] {
                            go.wait();
                            return Status();
                          }));
  const auto lease = acquire("a");
  const auto handle = (*lease)->engine->submit({}, {});
  std::promise<ApiResult<ModelLease>> late;
  const auto on_lease = [&late](const ApiResult<ModelLease>& result) { late.set_value(result); };
  EXPECT_FALSE(pool.acquire("b", {.on_lease = on_lease}).has_value());
  pool.stop_answers();
  EXPECT_EQ(late.get_future().get().error().code, "unavailable");
  EXPECT_EQ(acquire("a").error().code, "unavailable");
  std::vector<GenerationEvent> events;
  (*handle)->poll(events);
  EXPECT_EQ(events.size(), 1u);
  may_load.set_value();
}

// Whatever is asked for in whatever order: answers only from models in memory; run under TSan, too.
TEST_F(ModelPoolTest, AStormOfLoadsUnloadsAndRequests) {
  options.load_on_demand = true;
  options.ttl = std::chrono::seconds(1);
  std::atomic<bool> flaky = false;
  ModelPool& pool =
      start(spec("a", 40 * kMiB), spec("b", 40 * kMiB), spec("c", 40 * kMiB, [&] {
              return flaky.exchange(!flaky) ? Status(StatusCode::kDataLoss, "flaky") : Status();
            }));
  std::atomic<int> num_answers = 0;
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 200; ++i) {
      const std::string name(1, static_cast<char>('a' + random() % 3));
      switch (random() % 8) {
        case 0:
          pool.unload(name, std::chrono::milliseconds(0), {});
          break;
        case 1:
          pool.load(name, {});
          break;
        case 2:
          clock.advance(std::chrono::milliseconds(random() % 700));
          break;
        default:
          if (const auto lease = acquire(name)) {
            EXPECT_EQ((*lease)->name, name);
            EXPECT_EQ((*lease)->engine->max_model_len(), 512u);
            ++num_answers;
          }
      }
      for (const ModelStatus& model : pool.list())
        EXPECT_EQ(model.state == ModelState::kLoaded, model.lease != nullptr);
    }
  };
  {
    std::vector<std::jthread> threads;
    threads.reserve(4);
    for (unsigned seed = 0; seed < 4; ++seed)
      threads.emplace_back(work, seed);
  }
  EXPECT_GT(num_answers, 0);
  stop();
  for (const auto& [name, engine] : engines)
    EXPECT_TRUE(engine.expired()) << name;
}

}  // namespace
}  // namespace hearth
