// What one streamed answer of the OpenAI API says, event by event, and when.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loadgen/run_result.h"

namespace hearth::loadgen {

using TimePoint = std::chrono::steady_clock::time_point;

struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t cached_tokens = 0;  // Of the prompt, 0 where the server does not say.
  std::uint64_t completion_tokens = 0;
};

// Reads the events of completions and of chat completions alike: a token event is one whose first
// choice carries text. Not thread-safe.
class AnswerReader {
 public:
  // `data` of one event that was complete at `now`. Events after an error are ignored.
  void add(std::string_view data, TimePoint now);

  // Without [DONE], without usage or with fewer tokens than `expected_tokens` the answer is
  // incomplete; an error event or an unreadable one makes it errored. Fills everything but the
  // start time.
  void finish(TimePoint start, TimePoint end, std::uint64_t expected_tokens,
              RequestRecord& record) const;

  bool done() const { return done_; }
  bool failed() const { return !error_.empty(); }

 private:
  std::vector<TimePoint> token_times_;
  std::optional<Usage> usage_;
  std::string error_;
  bool done_ = false;
};

// The message in an error body of the API or in an error event; else the beginning of the text.
std::string error_text(std::string_view body);

}  // namespace hearth::loadgen
