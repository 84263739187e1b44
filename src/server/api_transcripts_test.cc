// Whole answers, byte for byte, against the files in tests/golden/api. Each holds what the engine
// does, a request and the response:
//
//   # Comment.
//   prompt CACHED               the prompt is done
//   token CHOICE TOKEN [LOGPROB [TOKEN:LOGPROB ...]]
//   finish CHOICE stop|length
//   done | fail CODE MESSAGE
//   --- request
//   POST /path
//   BODY
//   --- response
//   STATUS CONTENT-TYPE
//   BODY
//
// A TOKEN is its text or #ID. Ids and times of an answer are replaced by ID and 0. With
// HEARTH_UPDATE_GOLDEN set the responses are written anew; read them before committing.
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/file.h"
#include "server/api_test_util.h"
#include "server/encoder_test_util.h"

namespace hearth {
namespace {

using test::ApiTest;
using test::FakeRequest;

std::filesystem::path golden_directory(const std::string& folder) {
  const char* source = std::getenv("HEARTH_SOURCE_DIR");
  return std::filesystem::path(source == nullptr ? "." : source) / "tests" / "golden" / folder;
}

constexpr const char* kGenerators = "api";
constexpr const char* kEncoders = "api_encoders";

std::vector<std::string> transcript_names(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_directory(folder)))
    names.push_back(entry.path().stem().string());
  std::ranges::sort(names);
  return names;
}

struct Transcript {
  std::vector<std::string> script;
  std::string path;
  std::string body;
  std::string response;
  std::string front;  // The file up to the response.
};

Transcript read_transcript(const std::string& folder, const std::string& name) {
  constexpr std::string_view kRequest = "--- request\nPOST ", kResponse = "--- response\n";
  const std::string text =
      read_text_file(golden_directory(folder) / (name + ".txt"), 1 << 20).value();
  Transcript out;
  const std::size_t request = text.find(kRequest);
  const std::size_t response = text.find(kResponse);
  std::istringstream script(text.substr(0, request));
  for (std::string line; std::getline(script, line);) {
    if (!line.starts_with('#')) out.script.push_back(line);
  }
  const std::size_t path = request + kRequest.size();
  const std::size_t line_end = text.find('\n', path);
  out.path = text.substr(path, line_end - path);
  out.body = text.substr(line_end + 1, response - line_end - 2);
  out.front = text.substr(0, response + kResponse.size());
  out.response = text.substr(response + kResponse.size());
  return out;
}

float to_float(const std::string& text) {
  float value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::uint32_t to_number(const std::string& text) {
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Replaces what stands between `front` and the next of `ends` by `by`, everywhere.
void blank(std::string& text, std::string_view front, std::string_view ends, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(front, at)) != std::string::npos;) {
    at += front.size();
    text.replace(at, text.find_first_of(ends, at) - at, by);
  }
}

std::string normalized(const test::TestResponse& response) {
  std::string body = response.body;
  blank(body, R"("id":"chatcmpl-)", "\"", "ID");
  blank(body, R"("id":"cmpl-)", "\"", "ID");
  blank(body, R"("id":"rerank-)", "\"", "ID");
  blank(body, R"("id":"classify-)", "\"", "ID");
  blank(body, R"("created":)", ",}", "0");
  blank(body, R"("system_fingerprint":"fp_)", "\"", "0");
  return std::to_string(response.status) + " " + response.headers.at("content-type") + "\n" + body +
         "\n";
}

void update(const std::string& folder, const std::string& name, const std::string& content) {
  if (std::getenv("HEARTH_UPDATE_GOLDEN") == nullptr) return;
  std::ofstream(golden_directory(folder) / (name + ".txt")) << content;
}

class ApiTranscripts : public ApiTest, public testing::WithParamInterface<std::string> {
 protected:
  std::int32_t token(const std::string& text) const {
    return text.starts_with('#') ? static_cast<std::int32_t>(to_number(text.substr(1)))
                                 : id_of(text);
  }

  void play(const std::string& line, FakeRequest& request) const {
    std::istringstream in(line);
    std::vector<std::string> words;
    for (std::string word; in >> word;)
      words.push_back(word);
    if (words.empty()) return;
    if (words[0] == "prompt") request.emit(prompt_done(to_number(words[1]), request.request()));
    if (words[0] == "token") request.emit(token_event(words));
    if (words[0] == "finish") {
      request.finish_choice(words[2] == "stop" ? FinishReason::kStop : FinishReason::kLength,
                            to_number(words[1]));
    }
    if (words[0] == "done") request.finish();
    if (words[0] == "fail") {
      request.fail(words[1] == "internal" ? StatusCode::kInternal : StatusCode::kUnavailable,
                   words[2]);
    }
  }

 private:
  TokenGenerated token_event(const std::vector<std::string>& words) const {
    TokenGenerated event{.choice = to_number(words[1]), .id = token(words[2]), .logprobs = {}};
    if (words.size() < 4) return event;
    PositionLogprobs logprobs{.chosen = {event.id, to_float(words[3])}, .rank = 0, .top = {}};
    for (std::size_t i = 4; i < words.size(); ++i) {
      const std::size_t colon = words[i].rfind(':');
      logprobs.top.push_back(
          {token(words[i].substr(0, colon)), to_float(words[i].substr(colon + 1))});
    }
    event.logprobs = std::move(logprobs);
    return event;
  }

  static PromptDone prompt_done(std::uint32_t cached, const GenerationRequest& request) {
    PromptDone event{.cached_tokens = cached, .logprobs = {}};
    if (!request.prompt_logprobs) return event;
    for (std::size_t i = 0; i < request.prompt.size(); ++i) {
      event.logprobs.emplace_back();
      if (i == 0) continue;
      const TokenLogprob chosen{request.prompt[i], -0.5f * static_cast<float>(i)};
      event.logprobs.back() = PositionLogprobs{.chosen = chosen, .rank = 0, .top = {chosen}};
    }
    return event;
  }
};

TEST_P(ApiTranscripts, Matches) {
  const Transcript transcript = read_transcript(kGenerators, GetParam());
  engine.set_script([&](FakeRequest& request) {
    for (const std::string& line : transcript.script)
      play(line, request);
  });
  const std::string got = normalized(post(transcript.path, transcript.body));
  update(kGenerators, GetParam(), transcript.front + got);
  EXPECT_EQ(got, transcript.response);
}

// The encoder's outputs are the fake one's; a script line `label NAME` gives it a head.
class EncoderTranscripts : public test::EncoderApiTest,
                           public testing::WithParamInterface<std::string> {};

TEST_P(EncoderTranscripts, Matches) {
  const Transcript transcript = read_transcript(kEncoders, GetParam());
  std::vector<std::string> labels;
  for (const std::string& line : transcript.script) {
    if (line.starts_with("label ")) labels.push_back(line.substr(6));
  }
  if (!labels.empty()) {
    make_classifier(labels,
                    labels.size() == 1 ? HeadActivation::kSigmoid : HeadActivation::kSoftmax);
  }
  const std::string got = normalized(post(transcript.path, transcript.body));
  update(kEncoders, GetParam(), transcript.front + got);
  EXPECT_EQ(got, transcript.response);
}

INSTANTIATE_TEST_SUITE_P(Golden, EncoderTranscripts, testing::ValuesIn(transcript_names(kEncoders)),
                         [](const auto& test) { return test.param; });

INSTANTIATE_TEST_SUITE_P(Golden, ApiTranscripts, testing::ValuesIn(transcript_names(kGenerators)),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace hearth
