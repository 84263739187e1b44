#include "server/prompt.h"

#include <gtest/gtest.h>

#include <stop_token>
#include <string>

#include "server/api_test_util.h"

namespace hearth {
namespace {

using test::FakeEngine;
using test::TinyText;

class PromptTest : public testing::Test {
 protected:
  FakeEngine engine_{512};
  ModelRef model_{.name = "tiny",
                  .tokenizer = &TinyText::get().tokenizer(),
                  .chat_template = &TinyText::get().chat_template(),
                  .engine = &engine_};
};

ChatInput chat_of(std::string content) {
  ChatInput input;
  json::Object message{{"role", "user"}, {"content", std::move(content)}};
  input.messages = json::Array{std::move(message)};
  return input;
}

void expect_too_long(const ApiResult<PreparedPrompt>& prompt) {
  ASSERT_FALSE(prompt.has_value());
  EXPECT_EQ(prompt.error().status, 400);
  EXPECT_EQ(prompt.error().code, "context_length_exceeded");
  EXPECT_TRUE(prompt.error().message.contains("maximum context length is 512 tokens"));
  EXPECT_TRUE(prompt.error().message.contains("bytes, which are at least"));
  std::int64_t num_tokens = 0;
  EXPECT_TRUE(prompt.error().details.find("n_prompt_tokens")->to_int64(num_tokens));
  EXPECT_GT(num_tokens, 512);
}

TEST_F(PromptTest, WhatCannotFitIsRefusedBeforeItIsTokenized) {
  const std::string huge(8u << 20, 'a');
  expect_too_long(prepare_text(model_, huge, true, {.must_fit = true}));
  expect_too_long(prepare_chat(model_, chat_of(huge), {.must_fit = true}));
  // A tokenizer that is asked at all would see that it is to stop, which is another error.
  std::stop_source source;
  source.request_stop();
  expect_too_long(prepare_text(model_, huge, true, {.must_fit = true, .stop = source.get_token()}));
}

TEST_F(PromptTest, TheIdsOfALongTextMayStillBeAskedFor) {
  const std::string text(100'000, 'a');
  const auto prompt = prepare_text(model_, text, false);
  ASSERT_TRUE(prompt.has_value());
  EXPECT_EQ(TinyText::get().tokenizer().decode(prompt->ids, true), text);
}

TEST_F(PromptTest, WhatMayFitIsTokenized) {
  const std::string text(512, 'a');
  const auto prompt = prepare_text(model_, text, false, {.must_fit = true});
  ASSERT_TRUE(prompt.has_value());
  EXPECT_EQ(prompt->ids, prepare_text(model_, text, false)->ids);
}

TEST_F(PromptTest, AStopEndsThePreparation) {
  std::stop_source source;
  source.request_stop();
  const PromptOptions options{.stop = source.get_token()};
  const auto chat = prepare_chat(model_, chat_of("hello"), options);
  ASSERT_FALSE(chat.has_value());
  EXPECT_EQ(chat.error().status, 503);
  const auto text = prepare_text(model_, "hello", true, options);
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().status, 503);
}

}  // namespace
}  // namespace hearth
