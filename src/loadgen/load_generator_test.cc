#include "loadgen/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <latch>

#include "loadgen/fake_server_test_util.h"

namespace hearth::loadgen {
namespace {

using test::FakeReply;
using test::FakeRequest;
using test::FakeServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<LoadGenerator> generator_for(
    const FakeServer& server, std::string api_key = {},
    std::chrono::milliseconds timeout = std::chrono::minutes(5)) {
  auto generator = LoadGenerator::create({.target = parse_target(server.url()).value(),
                                          .api_key = std::move(api_key),
                                          .request_timeout = timeout});
  EXPECT_TRUE(generator.has_value()) << generator.error().message();
  return std::move(*generator);
}

std::vector<PlannedRequest> requests_of(std::size_t count, std::uint64_t tokens = 2) {
  return std::vector<PlannedRequest>(count, {.body = "{}", .expected_tokens = tokens});
}

// The record of one request that the server answers with `reply`.
RequestRecord answered(const FakeReply& reply) {
  const FakeServer server([&](const FakeRequest&) { return reply; });
  return generator_for(server)->try_request(Endpoint::kCompletions, requests_of(1).front());
}

std::string identify_error(const FakeReply& reply) {
  const FakeServer server([&](const FakeRequest&) { return reply; });
  const auto identity = generator_for(server)->identify();
  return identity.has_value() ? "no error" : identity.error().message();
}

TEST(LoadGenerator, ReadsTheModelsWithTheKey) {
  std::string head;
  const FakeServer server([&](const FakeRequest& request) {
    head = request.head;
    return test::models_reply();
  });
  const auto identity = generator_for(server, "sesame")->identify();
  ASSERT_TRUE(identity.has_value()) << identity.error().message();
  EXPECT_THAT(identity->models, ElementsAre("small", "large"));
  EXPECT_EQ(identity->vocab_size, 500);
  EXPECT_EQ(identity->server_header, "fake");
  EXPECT_THAT(head, HasSubstr("GET /v1/models HTTP/1.1\r\n"));
  EXPECT_THAT(head, HasSubstr("Authorization: Bearer sesame"));
}

TEST(LoadGenerator, SaysWhatAServerAnsweredInsteadOfModels) {
  EXPECT_THAT(identify_error(test::json_reply(401, R"({"error":{"message":"no key"}})")),
              HasSubstr("/v1/models answered with status 401: no key; see --api-key"));
  EXPECT_THAT(identify_error(test::json_reply(404, "nothing")),
              HasSubstr("status 404: nothing; is this the URL"));
  EXPECT_THAT(identify_error(test::json_reply(500, "x")), HasSubstr("status 500: x"));
  EXPECT_THAT(identify_error(test::json_reply(200, "<html>")), HasSubstr("not JSON"));
  EXPECT_THAT(identify_error(test::json_reply(200, "{}")), HasSubstr("lists no models"));
  EXPECT_THAT(identify_error({.pieces = {"SSH-2.0-x\r\n\r\n"}, .close = true}),
              HasSubstr("cannot reach"));
  EXPECT_THAT(identify_error({.pieces = {}, .close = true}), HasSubstr("closed the connection"));
}

TEST(LoadGenerator, AnUnreachableServerIsNamed) {
  std::string url;
  {
    const FakeServer server([](const FakeRequest&) { return FakeReply{}; });
    url = server.url();
  }
  auto generator = LoadGenerator::create({.target = parse_target(url).value()});
  ASSERT_TRUE(generator.has_value());
  EXPECT_EQ((*generator)->identify().error().message(),
            "cannot reach " + url + "/v1/models: Connection refused");
  const RequestRecord record = (*generator)->try_request(Endpoint::kChat, requests_of(1).front());
  EXPECT_EQ(record.outcome, Outcome::kErrored);
  EXPECT_EQ(record.error, "Connection refused");
}

TEST(LoadGenerator, AClosedLoopSendsEveryRequestOverAsManyConnections) {
  std::atomic<std::size_t> count = 0;
  const FakeServer server([&](const FakeRequest& request) {
    EXPECT_TRUE(request.is("POST /v1/completions ")) << request.head;
    EXPECT_EQ(request.body, "{}");
    ++count;
    return test::stream_reply(test::answer_events(7, 2));
  });
  std::vector<std::size_t> progress;
  const LevelResult level =
      generator_for(server)->run_closed(Endpoint::kCompletions, requests_of(10), 3,
                                        [&](std::size_t done) { progress.push_back(done); });
  EXPECT_EQ(count, 10u);
  EXPECT_EQ(server.num_connections(), 3u);
  EXPECT_THAT(progress, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  ASSERT_EQ(level.records.size(), 10u);
  EXPECT_EQ(level.load, 3.0);
  EXPECT_FALSE(level.interrupted);
  double last_start_s = 0.0;
  for (const RequestRecord& record : level.records) {
    EXPECT_EQ(record.outcome, Outcome::kSuccess) << record.error;
    EXPECT_EQ(record.prompt_tokens, 7u);
    EXPECT_EQ(record.output_tokens, 2u);
    EXPECT_EQ(record.gaps_ms.size(), 1u);
    EXPECT_GT(record.ttft_ms, 0.0);
    EXPECT_GE(record.e2e_ms, record.ttft_ms + record.decode_ms);
    EXPECT_GE(record.start_s, last_start_s);
    last_start_s = record.start_s;
  }
  EXPECT_GT(level.duration_s, 0.0);
  EXPECT_GT(level.client_cpu_s, 0.0);
}

TEST(LoadGenerator, AnOpenLoopDoesNotWaitForAnswers) {
  // None is answered before the last one has come.
  std::latch all_came(4);
  const FakeServer server([&](const FakeRequest&) {
    all_came.arrive_and_wait();
    return test::stream_reply(test::answer_events(7, 2));
  });
  const std::vector<double> arrivals = {0.0, 0.001, 0.002, 0.003};
  const LevelResult level =
      generator_for(server)->run_open(Endpoint::kChat, requests_of(4), arrivals);
  ASSERT_EQ(level.records.size(), 4u);
  EXPECT_EQ(level.kind, LoadKind::kRate);
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    EXPECT_EQ(level.records[i].outcome, Outcome::kSuccess);
    EXPECT_GE(level.records[i].start_s, arrivals[i]);
  }
}

TEST(LoadGenerator, RefusalsAreErrorsWithTheirText) {
  const RequestRecord record =
      answered(test::json_reply(429, R"({"error":{"message":"The queue is full."}})"));
  EXPECT_EQ(record.outcome, Outcome::kErrored);
  EXPECT_EQ(record.error, "status 429: The queue is full.");
}

TEST(LoadGenerator, ErrorsInTheStreamEndIt) {
  const RequestRecord record = answered(
      test::stream_reply({R"({"choices":[{"text":"a"}]})", R"({"error":{"message":"broke"}})"}));
  EXPECT_EQ(record.outcome, Outcome::kErrored);
  EXPECT_EQ(record.error, "error in the stream: broke");
}

TEST(LoadGenerator, ACutStreamIsIncomplete) {
  const RequestRecord record =
      answered(test::stream_reply({R"({"choices":[{"text":"a"}]})"}, false));
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_EQ(record.error, "the stream ended without [DONE]: the server closed the connection");
}

TEST(LoadGenerator, AStreamWithoutItsLastEventIsIncomplete) {
  auto events = test::answer_events(7, 2);
  events.pop_back();
  const RequestRecord record = answered(test::stream_reply(events));
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_EQ(record.error, "the stream ended without [DONE]");
}

TEST(LoadGenerator, TooFewTokensAreIncomplete) {
  const RequestRecord record = answered(test::stream_reply(test::answer_events(7, 1)));
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_EQ(record.error, "1 of 2 tokens came");
}

TEST(LoadGenerator, AnAnswerThatIsNoStreamSaysSo) {
  const RequestRecord record = answered(test::json_reply(200, R"({"choices":[]})"));
  EXPECT_EQ(record.outcome, Outcome::kIncomplete);
  EXPECT_THAT(record.error, HasSubstr("'application/json' instead of a stream"));
}

TEST(LoadGenerator, AnEndlessEventIsRefused) {
  FakeReply reply = test::stream_reply({});
  reply.pieces.pop_back();
  reply.pieces.push_back(test::chunk(std::string(5 << 20, 'x')));
  const RequestRecord record = answered(reply);
  EXPECT_EQ(record.outcome, Outcome::kErrored);
  EXPECT_THAT(record.error, HasSubstr("longer than 4194304 bytes"));
}

TEST(LoadGenerator, ASilentServerTimesOut) {
  for (const bool begins : {false, true}) {
    FakeReply reply{.pieces = {}, .silent = true};
    if (begins) {
      reply = test::stream_reply({R"({"choices":[{"text":"a"}]})"});
      reply.pieces.pop_back();
      reply.silent = true;
    }
    const FakeServer server([&](const FakeRequest&) { return reply; });
    const auto generator = generator_for(server, {}, std::chrono::milliseconds(30));
    const RequestRecord record =
        generator->try_request(Endpoint::kCompletions, requests_of(1).front());
    EXPECT_EQ(record.outcome, Outcome::kErrored);
    EXPECT_EQ(record.error, "no complete answer within 0.03 s");
  }
}

TEST(LoadGenerator, AConnectionThatTheServerClosedWhileIdleIsReplaced) {
  const FakeServer server([](const FakeRequest&) {
    FakeReply reply = test::stream_reply(test::answer_events(7, 2));
    reply.close = true;  // Without having announced it.
    return reply;
  });
  const LevelResult level =
      generator_for(server)->run_closed(Endpoint::kCompletions, requests_of(5), 1);
  ASSERT_EQ(level.records.size(), 5u);
  for (const RequestRecord& record : level.records)
    EXPECT_EQ(record.outcome, Outcome::kSuccess) << record.error;
  EXPECT_EQ(server.num_connections(), 5u);
}

TEST(LoadGenerator, ASignalKeepsWhatHasEnded) {
  std::size_t count = 0;
  const FakeServer server([&](const FakeRequest&) {
    if (++count < 4) return test::stream_reply(test::answer_events(7, 2));
    ::kill(::getpid(), SIGINT);
    return FakeReply{.pieces = {}, .silent = true};
  });
  const auto generator = generator_for(server);
  const LevelResult level = generator->run_closed(Endpoint::kCompletions, requests_of(10), 1);
  EXPECT_TRUE(level.interrupted);
  EXPECT_TRUE(generator->interrupted());
  EXPECT_EQ(level.records.size(), 3u);
  const LevelResult next = generator->run_closed(Endpoint::kCompletions, requests_of(10), 1);
  EXPECT_TRUE(next.interrupted);
  EXPECT_TRUE(next.records.empty());
}

}  // namespace
}  // namespace hearth::loadgen
