#include "cli/chat_session.h"

#include <chrono>
#include <limits>

#include "cli/terminal.h"
#include "server/prompt.h"
#include "tokenizer/detokenizer.h"

namespace hearth {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_between(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

json::Value message(std::string_view role, std::string_view content) {
  return json::Object{{"role", role}, {"content", content}};
}

// Takes the events of one request: text to standard output and numbers to `stats`.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(const Tokenizer& tokenizer) : detokenizer_(tokenizer, {}) {}

  Status take(const GenerationEvent& event) {
    if (const auto* prompt = std::get_if<PromptDone>(&event)) {
      stats_.cached_tokens = prompt->cached_tokens;
    } else if (const auto* token = std::get_if<TokenGenerated>(&event)) {
      last_token_ = SteadyClock::now();
      if (stats_.answer_tokens++ == 0) first_token_ = last_token_;
      return show(detokenizer_.push(token->id));
    } else if (const auto* failed = std::get_if<RequestFailed>(&event)) {
      return failed->status;
    }
    return {};
  }

  Status finish() {
    HEARTH_RETURN_IF_ERROR(show(detokenizer_.finish()));
    if (stats_.answer_tokens > 0) {
      stats_.prompt_seconds = seconds_between(start_, first_token_);
      stats_.answer_seconds = seconds_between(first_token_, last_token_);
    }
    return {};
  }

  const std::string& text() const { return text_; }
  const AnswerStats& stats() const { return stats_; }

 private:
  Status show(const std::string& piece) {
    text_ += piece;
    return print(stdout_is_terminal() ? without_controls(piece) : piece);
  }

  Detokenizer detokenizer_;
  std::string text_;
  AnswerStats stats_;
  SteadyClock::time_point start_ = SteadyClock::now();
  SteadyClock::time_point first_token_;
  SteadyClock::time_point last_token_;
};

}  // namespace

struct ChatSession::Generated {
  std::string text;
  Answer answer;
};

Result<Answer> ChatSession::say(const std::string& text) {
  turns_.push_back(message("user", text));
  const Result<Generated> generated = answer_conversation();
  if (!generated.has_value()) {
    turns_.pop_back();
    return std::unexpected(generated.error());
  }
  turns_.push_back(message("assistant", generated->text));
  return generated->answer;
}

Result<Answer> ChatSession::complete(const std::string& text) {
  HEARTH_ASSIGN_OR_RETURN(const Generated generated,
                          generate(model_.tokenizer().encode(text, true, SpecialText::kPlain)));
  return generated.answer;
}

Result<ChatSession::Generated> ChatSession::answer_conversation() {
  if (model_.chat_template() == nullptr) {
    return error(StatusCode::kUnimplemented,
                 "{}; use --raw to continue a text, or --chat-template with a Jinja file",
                 model_.chat_template_status().message());
  }
  json::Array messages;
  if (!system_.empty()) messages.push_back(message("system", system_));
  messages.insert(messages.end(), turns_.begin(), turns_.end());
  ChatInput input;
  input.messages = std::move(messages);
  const auto prompt = prepare_chat(ModelRef::of(model_), input);
  if (!prompt.has_value()) return error(StatusCode::kInvalidArgument, "{}", prompt.error().message);
  return generate(prompt->ids);
}

Result<ChatSession::Generated> ChatSession::generate(std::vector<TokenId> prompt) {
  AnswerPrinter printer(model_.tokenizer());
  Answer answer;
  const std::size_t prompt_tokens = prompt.size();
  GenerationRequest request;
  request.id = "run";
  request.prompt = std::move(prompt);
  request.sampling = options.sampling;
  request.max_tokens =
      options.max_tokens > 0 ? options.max_tokens : std::numeric_limits<std::uint32_t>::max();
  request.arrival = SteadyClock::now();
  // An interrupt since the line was typed is not taken here: it stops this answer.
  HEARTH_ASSIGN_OR_RETURN(const auto handle,
                          model_.engine().submit(std::move(request), [] { Interrupt::wake(); }));

  std::vector<GenerationEvent> events;
  for (bool finished = false; !finished;) {
    events.clear();
    finished = handle->poll(events);
    for (const GenerationEvent& event : events)
      HEARTH_RETURN_IF_ERROR(printer.take(event));
    if (interrupt_.take()) {
      answer.interrupted = true;
      handle->cancel();
    }
    if (!finished) interrupt_.wait();
  }
  HEARTH_RETURN_IF_ERROR(printer.finish());
  answer.stats = printer.stats();
  answer.stats.prompt_tokens = prompt_tokens;
  return Generated{.text = printer.text(), .answer = answer};
}

}  // namespace hearth
