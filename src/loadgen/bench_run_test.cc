#include "loadgen/bench_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>

#include "base/file.h"
#include "loadgen/fake_server_test_util.h"
#include "tests/support/temp_directory.h"

namespace hearth::loadgen {
namespace {

using test::FakeReply;
using test::FakeRequest;
using test::FakeServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A server that counts prompts as Hearth does: ids one each, words one each and a template's three.
FakeReply counting_reply(const FakeRequest& request) {
  if (request.is("GET /v1/models ")) return test::models_reply();
  const json::Value body = json::parse(request.body).value();
  std::uint64_t tokens = 0;
  EXPECT_TRUE(body.as_object()->find("max_tokens")->to_uint64(tokens));
  const json::Value* prompt = body.as_object()->find("prompt");
  std::size_t length = 0;
  if (prompt != nullptr && prompt->as_array() != nullptr) {
    length = prompt->as_array()->size();
  } else {
    length = static_cast<std::size_t>(std::ranges::count(request.body, ' ')) + 1 + 3;
  }
  return test::stream_reply(test::answer_events(length, tokens));
}

class BenchRunTest : public ::testing::Test {
 protected:
  BenchOptions options_for(const FakeServer& server) {
    BenchOptions options;
    options.connect.target = parse_target(server.url()).value();
    options.concurrency = {1, 2};
    options.num_requests = 4;
    options.num_warmup = 1;
    options.prompt_tokens = 10;
    options.output_tokens = 3;
    options.output = folder_.path() / "out";
    return options;
  }
  std::string error_of(const BenchOptions& options) {
    const auto run = run_bench(options, observer_);
    return run.has_value() ? "no error" : run.error().message();
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path() / "out"))
      names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }

  test::TempDirectory folder_;
  std::vector<std::string> notes_;
  std::vector<LevelSummary> levels_;
  BenchObserver observer_{
      .on_note = [this](std::string_view text) { notes_.emplace_back(text); },
      .on_progress = [](LoadKind, double, std::size_t) {},
      .on_level = [this](const LevelSummary& level) { levels_.push_back(level); }};
};

TEST_F(BenchRunTest, MeasuresEveryLevelAndWritesEveryFile) {
  const FakeServer server(&counting_reply);
  BenchOptions options = options_for(server);
  options.rates = {500.0};
  const auto run = run_bench(options, observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_EQ(run->model, "small");
  EXPECT_EQ(run->label, "small");
  EXPECT_FALSE(run->interrupted);
  ASSERT_EQ(run->levels.size(), 3u);
  EXPECT_EQ(levels_.size(), 3u);
  for (const LevelSummary& level : run->levels) {
    EXPECT_EQ(level.successful, 4u);
    EXPECT_EQ(level.mean_prompt_tokens, 10.0);
    EXPECT_EQ(level.mean_output_tokens, 3.0);
  }
  EXPECT_EQ(run->levels[2].load, 500.0);
  EXPECT_THAT(notes_, ElementsAre());
  EXPECT_THAT(files(), ElementsAre("e2e-concurrency.png", "e2e-concurrency.svg", "e2e-rate.png",
                                   "e2e-rate.svg", "itl-concurrency.png", "itl-concurrency.svg",
                                   "itl-rate.png", "itl-rate.svg", "level-concurrency-1.json",
                                   "level-concurrency-2.json", "level-rate-500.json", "report.html",
                                   "run.json", "summary.csv", "throughput-concurrency.png",
                                   "throughput-concurrency.svg", "throughput-rate.png",
                                   "throughput-rate.svg", "ttft-concurrency.png",
                                   "ttft-concurrency.svg", "ttft-rate.png", "ttft-rate.svg"));
  const auto again = read_run(options.output);
  ASSERT_TRUE(again.has_value()) << again.error().message();
  EXPECT_EQ(run_json(*again), run_json(*run));
}

TEST_F(BenchRunTest, WarmUpIsNotCounted) {
  std::atomic<std::size_t> posts = 0;
  const FakeServer server([&](const FakeRequest& request) {
    if (request.is("POST")) ++posts;
    return counting_reply(request);
  });
  BenchOptions options = options_for(server);
  options.num_warmup = 3;
  const auto run = run_bench(options, observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_EQ(run->levels[0].successful, 4u);
  EXPECT_EQ(posts, 1u + 2u * (3u + 4u)) << "one probe, then two levels";
}

TEST_F(BenchRunTest, NoPromptIsSentTwice) {
  std::mutex mutex;
  std::multiset<std::string> prompts;
  const FakeServer server([&](const FakeRequest& request) {
    const std::scoped_lock lock(mutex);
    if (request.is("POST")) prompts.insert(request.body.substr(request.body.find("\"prompt\"")));
    return counting_reply(request);
  });
  BenchOptions options = options_for(server);
  options.num_warmup = 0;
  ASSERT_TRUE(run_bench(options, observer_).has_value());
  EXPECT_EQ(prompts.size(), 1u + 2u * 4u);
  for (const std::string& prompt : prompts)
    EXPECT_EQ(prompts.count(prompt), 1u) << prompt;
}

TEST_F(BenchRunTest, WordsStandInWhereIdsAreRefused) {
  const FakeServer server([](const FakeRequest& request) {
    if (request.is("POST") && request.body.contains("\"prompt\":["))
      return test::json_reply(400, R"({"error":"prompt must be text"})");
    return counting_reply(request);
  });
  const auto run = run_bench(options_for(server), observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_EQ(run->levels[0].mean_prompt_tokens, 10.0);
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_THAT(notes_[0], HasSubstr("prompt must be text"));
}

TEST_F(BenchRunTest, ChatPromptsAreCalibratedToTheTemplate) {
  const FakeServer server(&counting_reply);
  BenchOptions options = options_for(server);
  options.endpoint = Endpoint::kChat;
  const auto run = run_bench(options, observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_EQ(run->levels[1].mean_prompt_tokens, 10.0);

  options.prompt_tokens = 2;
  options.output = folder_.path() / "short";
  ASSERT_TRUE(run_bench(options, observer_).has_value());
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_THAT(notes_[0], HasSubstr("about 4 tokens; 2 could not be hit"));
}

TEST_F(BenchRunTest, ADataSetIsUsedAsItIs) {
  std::mutex mutex;
  std::vector<std::string> bodies;
  const FakeServer server([&](const FakeRequest& request) {
    const std::scoped_lock lock(mutex);
    if (request.is("POST")) bodies.push_back(request.body);
    return counting_reply(request);
  });
  BenchOptions options = options_for(server);
  options.dataset = folder_.path() / "set.jsonl";
  options.concurrency = {1};
  ASSERT_TRUE(write_file_atomically(*options.dataset, R"({"prompt":"tell me"})").ok());
  ASSERT_TRUE(run_bench(options, observer_).has_value());
  ASSERT_EQ(bodies.size(), 5u);
  EXPECT_THAT(bodies.back(), HasSubstr(R"("prompt":"tell me")"));
}

TEST_F(BenchRunTest, FailedRequestsAreCountedAndDoNotEndTheRun) {
  std::atomic<std::size_t> posts = 0;
  const FakeServer server([&](const FakeRequest& request) {
    const bool fails = request.is("POST") && ++posts == 4;
    return fails ? test::json_reply(503, R"({"error":{"message":"busy"}})")
                 : counting_reply(request);
  });
  const auto run = run_bench(options_for(server), observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_EQ(run->levels[0].successful, 3u);
  EXPECT_EQ(run->levels[0].errored, 1u);
  EXPECT_EQ(run->levels[0].errors.front().first, "status 503: busy");
  EXPECT_EQ(run->levels[1].successful, 4u);
}

TEST_F(BenchRunTest, MistakesAreToldBeforeAnythingIsWritten) {
  const FakeServer server(&counting_reply);
  BenchOptions options = options_for(server);
  options.model = "medium";
  EXPECT_THAT(error_of(options), HasSubstr("model 'medium' is not served at"));
  EXPECT_THAT(error_of(options), HasSubstr("small, large"));
  options.model = "large";
  options.dataset = folder_.path() / "none";
  EXPECT_THAT(error_of(options), HasSubstr("none"));
  EXPECT_FALSE(std::filesystem::exists(options.output));

  options.dataset.reset();
  options.output = folder_.path();
  ASSERT_TRUE(write_file_atomically(folder_.path() / "mine", "").ok());
  EXPECT_THAT(error_of(options), HasSubstr("is not empty"));
}

TEST_F(BenchRunTest, AServerThatAnswersNoPromptStopsTheRun) {
  const FakeServer server([](const FakeRequest& request) {
    return request.is("GET") ? test::models_reply() : test::json_reply(500, "broken");
  });
  EXPECT_THAT(error_of(options_for(server)),
              HasSubstr("/v1/completions failed: status 500: broken"));
}

TEST_F(BenchRunTest, AnInterruptedRunKeepsWhatItHas) {
  std::atomic<std::size_t> posts = 0;
  const FakeServer server([&](const FakeRequest& request) {
    // A probe, a level of 1 + 4, a warm-up, and then the second request of the second level.
    if (request.is("POST") && ++posts == 9) {
      ::kill(::getpid(), SIGINT);
      return FakeReply{.pieces = {}, .silent = true};
    }
    return counting_reply(request);
  });
  BenchOptions options = options_for(server);
  options.concurrency = {2, 1, 3};
  const auto run = run_bench(options, observer_);
  ASSERT_TRUE(run.has_value()) << run.error().message();
  EXPECT_TRUE(run->interrupted);
  ASSERT_EQ(run->levels.size(), 2u);
  EXPECT_FALSE(run->levels[0].interrupted);
  EXPECT_TRUE(run->levels[1].interrupted);
  EXPECT_EQ(run->levels[1].successful, 1u);
  const auto again = read_run(options.output);
  ASSERT_TRUE(again.has_value()) << again.error().message();
  EXPECT_TRUE(again->interrupted);
}

}  // namespace
}  // namespace hearth::loadgen
