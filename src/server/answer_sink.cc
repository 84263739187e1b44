#include "server/answer_sink.h"

#include <iterator>
#include <optional>
#include <utility>

namespace hearth {
namespace {

// One JSON object at the end.
class WholeSink final : public AnswerSink {
 public:
  WholeSink(AnswerFormat format, std::size_t num_choices, std::shared_ptr<HttpExchange> exchange)
      : format_(std::move(format)), exchange_(std::move(exchange)), choices_(num_choices) {}

  void keep_alive() override {}
  void begin(const Usage&) override {}
  void flush() override {}

  void text(std::size_t choice, std::string text, std::vector<ScoredToken> tokens,
            const Usage&) override {
    Choice& to = choices_[choice];
    to.text += text;
    to.tokens.insert(to.tokens.end(), std::make_move_iterator(tokens.begin()),
                     std::make_move_iterator(tokens.end()));
  }

  void end_choice(std::size_t choice, FinishReason reason, const Usage&) override {
    choices_[choice].reason = reason;
  }

  void finish(const Usage& usage) override {
    json::Array choices;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      choices.push_back(
          format_.whole_choice(i, std::move(choice.text), choice.tokens, choice.reason));
    }
    HttpResponse response;
    response.body =
        json::dump(format_.envelope(/*is_chunk=*/false, std::move(choices), usage_json(usage)));
    exchange_->respond(std::move(response));
  }

  void fail(const ApiError& error) override { exchange_->respond(error_response(error)); }

 private:
  struct Choice {
    std::string text;
    std::vector<ScoredToken> tokens;
    FinishReason reason = FinishReason::kStop;
  };

  AnswerFormat format_;
  std::shared_ptr<HttpExchange> exchange_;
  std::vector<Choice> choices_;
};

// Server-sent events. The head is held back until there is something to say, so that an early error
// is a plain HTTP error.
class StreamSink final : public AnswerSink {
 public:
  StreamSink(AnswerFormat format, const SinkOptions& options,
             std::shared_ptr<HttpExchange> exchange)
      : format_(std::move(format)), options_(options), exchange_(std::move(exchange)) {}

  void keep_alive() override {
    send_head();
    exchange_->write(": keep-alive\n\n");
  }

  void begin(const Usage& so_far) override {
    send_head();
    if (format_.kind() != AnswerKind::kChat) return;
    // In this order: clients place choices by their first chunk.
    for (std::size_t i = 0; i < options_.num_choices; ++i)
      chunk(format_.role_choice(i), so_far);
  }

  void text(std::size_t choice, std::string text, std::vector<ScoredToken> tokens,
            const Usage& so_far) override {
    chunk(format_.text_choice(choice, std::move(text), tokens), so_far);
  }

  void end_choice(std::size_t choice, FinishReason reason, const Usage& so_far) override {
    chunk(format_.end_choice(choice, reason), so_far);
  }

  void finish(const Usage& usage) override {
    if (options_.include_usage) event(format_.envelope(/*is_chunk=*/true, {}, usage_json(usage)));
    end();
  }

  void fail(const ApiError& error) override {
    if (!head_sent_) {
      exchange_->respond(error_response(error));
      return;
    }
    event(error_body(error));
    end();
  }

  void flush() override {
    if (!pending_.empty()) exchange_->write(std::exchange(pending_, {}));
  }

 private:
  void send_head() {
    if (std::exchange(head_sent_, true)) return;
    HttpResponse head;
    head.content_type = "text/event-stream; charset=utf-8";
    head.headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}};
    exchange_->begin_stream(std::move(head));
  }

  void chunk(json::Value choice, const Usage& so_far) {
    std::optional<json::Value> usage;
    if (options_.continuous_usage) {
      usage = usage_json(so_far);
    } else if (options_.include_usage) {
      usage = json::Value();
    }
    event(format_.envelope(/*is_chunk=*/true, {std::move(choice)}, std::move(usage)));
  }

  void event(const json::Value& data) { pending_ += "data: " + json::dump(data) + "\n\n"; }

  void end() {
    pending_ += "data: [DONE]\n\n";
    flush();
    exchange_->end_stream();
  }

  AnswerFormat format_;
  SinkOptions options_;
  std::shared_ptr<HttpExchange> exchange_;
  bool head_sent_ = false;
  std::string pending_;
};

}  // namespace

std::unique_ptr<AnswerSink> make_answer_sink(AnswerFormat format, const SinkOptions& options,
                                             std::shared_ptr<HttpExchange> exchange) {
  if (options.stream) {
    return std::make_unique<StreamSink>(std::move(format), options, std::move(exchange));
  }
  return std::make_unique<WholeSink>(std::move(format), options.num_choices, std::move(exchange));
}

}  // namespace hearth
