// A model's chat template: messages in, prompt out, with every span marked as the template's own
// text or a user's.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

// Bounds on the rendering of one (untrusted) template.
struct TemplateLimits {
  std::size_t max_steps = 2'000'000;  // Statements and expression nodes evaluated.
  std::size_t max_output_bytes = 64u << 20;
  std::size_t max_value_bytes = 256u << 20;  // Of all values the template builds.
  std::size_t max_depth = 64;                // Nesting of calls, blocks and expressions.
};

struct RenderedPrompt {
  struct Span {
    std::string text;
    SpecialText special;  // kParse: written by the template. kPlain: came from the input values.
  };
  std::vector<Span> spans;  // Never two neighbours of the same kind.
  std::string text() const;
};

struct RenderOptions {
  // What strftime_now shows, in local time; unset: the machine's clock.
  std::optional<std::chrono::system_clock::time_point> now = {};
  // For the owner to end the render early, from any thread (the client left, the server shuts
  // down): render() then gives kCancelled within a few milliseconds. Left out: never.
  std::stop_token stop = {};
};

// A compiled Jinja template. Immutable; render() is safe from several threads.
class ChatTemplate {
 public:
  // kInvalidArgument with line and column when the source does not parse.
  static Result<ChatTemplate> compile(std::string_view source, TemplateLimits limits = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // `context` is an object: messages, tools, add_generation_prompt, bos_token, eos_token and
  // whatever else the template reads. Text that comes from `context` (message contents, names, tool
  // descriptions) is marked kPlain however the template transformed it, except the members named
  // bos_token, eos_token, unk_token and pad_token. kInvalidArgument when the template itself
  // refuses (raise_exception: its message is passed on) or fails on this input; kOutOfRange on a
  // limit; kCancelled once options.stop was requested.
  Result<RenderedPrompt> render(const json::Value& context,
                                const RenderOptions& options = {}) const;

  std::string_view source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace hearth
