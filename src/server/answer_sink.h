// Where a generated answer goes: to the client piece by piece, or collected and sent whole. The
// generation does not know which.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "server/answer_format.h"
#include "server/api_error.h"
#include "server/http_message.h"

namespace hearth {

// Calls come in the order begin, (text | end_choice)*, finish; fail may replace any of them and
// ends the answer. All on the exchange's executor.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;

  // Nothing to say yet, but the client should see that the server is alive.
  virtual void keep_alive() = 0;
  virtual void begin(const Usage& so_far) = 0;
  virtual void text(std::size_t choice, std::string text, std::vector<ScoredToken> tokens,
                    const Usage& so_far) = 0;
  virtual void end_choice(std::size_t choice, FinishReason reason, const Usage& so_far) = 0;
  virtual void finish(const Usage& usage) = 0;
  virtual void fail(const ApiError& error) = 0;
  // What was gathered since the last call may go out now.
  virtual void flush() = 0;
};

struct SinkOptions {
  std::size_t num_choices = 1;
  bool stream = false;
  bool include_usage = false;     // Streams: a last chunk with the usage.
  bool continuous_usage = false;  // Streams: the usage so far in every chunk.
};

std::unique_ptr<AnswerSink> make_answer_sink(AnswerFormat format, const SinkOptions& options,
                                             std::shared_ptr<HttpExchange> exchange);

}  // namespace hearth
