#include "loadgen/answer_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"

namespace hearth::loadgen {
namespace {

constexpr std::size_t kMaxErrorBytes = 300;
constexpr std::string_view kDone = "[DONE]";

const json::Value* member(const json::Value* value, std::string_view key) {
  if (value == nullptr || value->as_object() == nullptr) return nullptr;
  return value->as_object()->find(key);
}

std::uint64_t count_of(const json::Value* value) {
  std::uint64_t count = 0;
  return value != nullptr && value->to_uint64(count) ? count : 0;
}

bool is_text(const json::Value* value) {
  return value != nullptr && value->as_string() != nullptr && !value->as_string()->empty();
}

// Reasoning models stream their thoughts under names of their own; those are tokens as well.
bool has_text(const json::Value& event) {
  const json::Value* choices = member(&event, "choices");
  if (choices == nullptr || choices->as_array() == nullptr) return false;
  const json::Array& array = *choices->as_array();
  if (array.empty()) return false;
  const json::Value* delta = member(&array.front(), "delta");
  return is_text(member(&array.front(), "text")) || is_text(member(delta, "content")) ||
         is_text(member(delta, "reasoning_content")) || is_text(member(delta, "reasoning"));
}

double milliseconds_between(TimePoint from, TimePoint to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

std::string shortened(std::string_view text) {
  const std::string clean = utf8::sanitize(text.substr(0, kMaxErrorBytes));
  return text.size() > kMaxErrorBytes ? clean + "..." : clean;
}

// The gaps between token events, scaled so that they have as many tokens to share as the server
// counted: an event may carry several tokens or, rarely, part of one.
std::vector<double> inter_token_gaps(const std::vector<TimePoint>& times, std::uint64_t tokens) {
  std::vector<double> gaps;
  if (times.size() < 2 || tokens < 2) return gaps;
  const double scale = static_cast<double>(times.size() - 1) / static_cast<double>(tokens - 1);
  gaps.reserve(times.size() - 1);
  for (std::size_t i = 1; i < times.size(); ++i)
    gaps.push_back(milliseconds_between(times[i - 1], times[i]) * scale);
  return gaps;
}

}  // namespace

std::string error_text(std::string_view body) {
  const auto parsed = json::parse(body);
  if (!parsed.has_value()) return shortened(body);
  const json::Value* failure = member(&*parsed, "error");
  const json::Value* message = member(failure, "message");
  for (const json::Value* candidate :
       {message, failure, member(&*parsed, "message"), member(&*parsed, "detail")}) {
    if (is_text(candidate)) return shortened(*candidate->as_string());
  }
  return shortened(body);
}

void AnswerReader::add(std::string_view data, TimePoint now) {
  if (failed() || done_) return;
  if (data == kDone) {
    done_ = true;
    return;
  }
  const auto event = json::parse(data);
  if (!event.has_value()) {
    error_ = fmt::format("an event is not JSON: {}", shortened(data));
    return;
  }
  const json::Value* failure = member(&*event, "error");
  if (failure != nullptr && !failure->is_null()) {
    error_ = fmt::format("error in the stream: {}", error_text(data));
    return;
  }
  if (has_text(*event)) token_times_.push_back(now);
  const json::Value* usage = member(&*event, "usage");
  if (usage == nullptr || usage->as_object() == nullptr) return;
  usage_ = Usage{
      .prompt_tokens = count_of(member(usage, "prompt_tokens")),
      .cached_tokens = count_of(member(member(usage, "prompt_tokens_details"), "cached_tokens")),
      .completion_tokens = count_of(member(usage, "completion_tokens"))};
}

void AnswerReader::finish(TimePoint start, TimePoint end, std::uint64_t expected_tokens,
                          RequestRecord& record) const {
  record.e2e_ms = milliseconds_between(start, end);
  record.output_tokens = usage_ ? usage_->completion_tokens : token_times_.size();
  if (usage_) {
    record.prompt_tokens = usage_->prompt_tokens;
    record.cached_tokens = usage_->cached_tokens;
  }
  if (!token_times_.empty()) {
    record.ttft_ms = milliseconds_between(start, token_times_.front());
    record.decode_ms = milliseconds_between(token_times_.front(), token_times_.back());
  }
  record.gaps_ms = inter_token_gaps(token_times_, record.output_tokens);
  record.outcome = Outcome::kIncomplete;
  if (failed()) {
    record.outcome = Outcome::kErrored;
    record.error = error_;
  } else if (!done_) {
    record.error = "the stream ended without [DONE]";
  } else if (!usage_) {
    record.error = "the stream told no usage";
  } else if (token_times_.empty()) {
    record.error = "the stream had no text";
  } else if (record.output_tokens < expected_tokens) {
    record.error = fmt::format("{} of {} tokens came", record.output_tokens, expected_tokens);
  } else {
    record.outcome = Outcome::kSuccess;
  }
}

}  // namespace hearth::loadgen
