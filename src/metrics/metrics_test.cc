#include "metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

namespace hearth {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, EveryUpdateShowsInTheText) {
  Metrics metrics;
  const ModelMetrics& model = metrics.of_model("m");
  model.tokens.generation.increment(7);
  model.engine.requests_running.set(3);
  model.engine.requests_running.add(-1);
  model.request.finished[FinishedReason::kLength].increment();
  model.request.rejected[RejectionReason::kUnavailable].increment(2);
  model.memory.bytes[MemoryKind::kWeights].set(123456789012.0);
  model.memory.kv_blocks[KvBlockState::kFree].set(5);
  model.request.time_to_first_token.observe(0.3);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("\nhearth_generation_tokens_total{model=\"m\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("\nhearth_num_requests_running{model=\"m\"} 2\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\nhearth_requests_finished_total{finished_reason=\"length\",model=\"m\"} 1\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\nhearth_admission_rejections_total{model=\"m\",reason=\"unavailable\"} 2\n"));
  EXPECT_THAT(text,
              HasSubstr("\nhearth_memory_bytes{kind=\"weights\",model=\"m\"} 123456789012\n"));
  EXPECT_THAT(text, HasSubstr("\nhearth_kv_blocks{model=\"m\",state=\"free\"} 5\n"));
  EXPECT_THAT(
      text, HasSubstr("\nhearth_time_to_first_token_seconds_bucket{model=\"m\",le=\"0.25\"} 0\n"));
  EXPECT_THAT(text,
              HasSubstr("\nhearth_time_to_first_token_seconds_bucket{model=\"m\",le=\"0.5\"} 1\n"));
  EXPECT_THAT(
      text, HasSubstr("\nhearth_time_to_first_token_seconds_bucket{model=\"m\",le=\"+Inf\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nhearth_time_to_first_token_seconds_sum{model=\"m\"} 0.3\n"));
}

TEST(Metrics, EachModelHasItsOwnSeries) {
  Metrics metrics;
  metrics.of_model("a").tokens.generation.increment(1);
  metrics.of_model("b").tokens.generation.increment(2);
  metrics.of_model("a").tokens.generation.increment(1);
  metrics.pool.rejected[RejectionReason::kInvalid].increment(3);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("\nhearth_generation_tokens_total{model=\"a\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("\nhearth_generation_tokens_total{model=\"b\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("\nhearth_admission_rejections_total{reason=\"invalid\"} 3\n"));
  const std::string_view name = "# HELP hearth_admission_rejections_total ";
  EXPECT_EQ(text.find(name), text.rfind(name));
}

TEST(Metrics, BucketsHoldTheirUpperBound) {
  Metrics metrics;
  const ModelMetrics& model = metrics.of_model("m");
  model.engine.step_sequences.observe(4);
  EXPECT_THAT(metrics.text(),
              HasSubstr("\nhearth_step_sequences_bucket{model=\"m\",le=\"4\"} 1\n"));
  EXPECT_THAT(metrics.text(),
              HasSubstr("\nhearth_step_sequences_bucket{model=\"m\",le=\"2\"} 0\n"));
}

TEST(Metrics, FamiliesResolveTheSameSeriesForTheSameLabels) {
  const Metrics metrics;
  metrics.http.requests.with({"/v1/completions", "POST", "200"}).increment();
  metrics.http.requests.with({"/v1/completions", "POST", "200"}).increment();
  metrics.http.request_duration.with({"/v1/completions", "POST"}).observe(0.5);
  metrics.http.request_duration.with({"/v1/completions", "POST"}).observe(1.5);
  metrics.info.model.with({"a \"b\"\\c\n", "llama", "Q4_1", "8192"}).set(1);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("handler=\"/v1/completions\",method=\"POST\",status=\"200\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("hearth_http_request_duration_seconds_sum{"
                              "handler=\"/v1/completions\",method=\"POST\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("model=\"a \\\"b\\\"\\\\c\\n\""));
}

TEST(Metrics, AWrongNumberOfLabelsChangesNothing) {
  const Metrics metrics;
  metrics.http.requests.with({"/x"}).increment();
  EXPECT_EQ(metrics.text().find("/x"), std::string::npos);
}

TEST(Metrics, IdleHandlesIgnoreUpdates) {
  Counter().increment();
  Gauge().set(1);
  Histogram().observe(1);
  EXPECT_EQ(Counter().value(), 0);
  EXPECT_EQ(Histogram().count(), 0u);
}

TEST(Metrics, ConcurrentUpdatesAreAllCounted) {
  Metrics metrics;
  const ModelMetrics& model = metrics.of_model("m");
  constexpr int kNumUpdates = 2000;
  const auto work = [&metrics, &model] {
    for (int i = 0; i < kNumUpdates; ++i) {
      model.tokens.generation.increment();
      model.request.inter_token_latency.observe(0.01);
      metrics.http.requests.with({"/h", "GET", "200"}).increment();
    }
  };
  {
    const std::jthread first(work);
    const std::jthread second(work);
    EXPECT_FALSE(metrics.text().empty());
  }
  EXPECT_EQ(model.tokens.generation.value(), 2 * kNumUpdates);
  EXPECT_EQ(model.request.inter_token_latency.count(), 2u * kNumUpdates);
  EXPECT_EQ(metrics.http.requests.with({"/h", "GET", "200"}).value(), 2 * kNumUpdates);
}

TEST(Metrics, DeclarationsFollowTheNamingRules) {
  const Metrics metrics;
  std::set<std::string> names;
  for (const MetricInfo& info : metrics.declarations()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name << " is declared twice";
    EXPECT_TRUE(info.name.starts_with("hearth_")) << info.name;
    EXPECT_EQ(info.name.ends_with("_total"), info.type == MetricType::kCounter) << info.name;
    EXPECT_TRUE(info.unit != "seconds" || info.name.ends_with("_seconds")) << info.name;
    EXPECT_TRUE(info.help.ends_with('.')) << info.name;
    EXPECT_EQ(info.buckets.empty(), info.type != MetricType::kHistogram) << info.name;
    EXPECT_TRUE(std::ranges::is_sorted(info.buckets, std::ranges::less_equal())) << info.name;
  }
}

TEST(Metrics, EveryDeclarationIsDocumentedAndExposed) {
  Metrics metrics;
  const ModelMetrics& model = metrics.of_model("m");
  metrics.http.requests.with({"a", "b", "c"}).increment();
  metrics.http.request_duration.with({"a", "b"}).observe(1);
  metrics.info.build.with({"a", "b", "c"}).set(1);
  metrics.info.model.with({"a", "b", "c", "d"}).set(1);
  model.memory.kv_cache_info.with({"a"}).set(1);
  metrics.pool.memory_used.with({"m"}).set(1);
  metrics.pool.loaded.with({"m"}).set(1);
  metrics.pool.loads.with({"m", "loaded"}).increment();
  metrics.pool.unloads.with({"m", "unused"}).increment();
  metrics.pool.load_duration.with({"m"}).observe(1);
  const std::string page = metrics_markdown();
  const std::string text = metrics.text();
  for (const MetricInfo& info : metrics.declarations()) {
    EXPECT_NE(page.find("| `" + info.name + "` |"), std::string::npos) << info.name;
    EXPECT_NE(text.find("# HELP " + info.name + " " + info.help), std::string::npos) << info.name;
  }
}

TEST(Metrics, TellsTheStateOfTheProcess) {
  const std::string text = Metrics().text();
  const auto value_of = [&text](const std::string& name) {
    const std::size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1.0
                                   : std::strtod(text.c_str() + at + name.size() + 2, nullptr);
  };
  EXPECT_GT(value_of("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(value_of("process_virtual_memory_bytes"), value_of("process_resident_memory_bytes"));
  EXPECT_GE(value_of("process_threads"), 1);
  EXPECT_GE(value_of("process_open_fds"), 3);
  EXPECT_GT(value_of("process_start_time_seconds"), 1.6e9);
  EXPECT_GE(value_of("process_cpu_seconds_total"), 0);
}

}  // namespace
}  // namespace hearth
