// The template engine's face: a compiled template and its rendering.
//
// The language is Jinja2's, in the environment that chat templates are written for: sandboxed, its
// values immutable, blocks trimmed, with loop controls, `generation` blocks, raise_exception and
// strftime_now. Templates come from model files and are not trusted: a render has no way to reach
// anything but its input, and is bounded in work, output, memory and depth.
//
// Every byte of the output knows whether the template wrote it or it came from the input.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "jinja/runtime.h"
#include "jinja/text.h"

namespace hearth::jinja {

struct Tree;

struct Rendered {
  std::string text;
  std::vector<Marks::Run> runs;  // Cover the text; neighbours differ in origin.
};

struct RenderInput {
  const json::Object& variables;
  // Variables whose text counts as the template's own.
  std::vector<std::string_view> trusted;
  std::chrono::system_clock::time_point now;  // What strftime_now shows, in local time.
  std::stop_token stop = {};                  // Ends the render early; may never come.
};

// Immutable; render() is safe from several threads.
class Template {
 public:
  // kInvalidArgument with line and column when the source does not parse, kUnimplemented for a tag
  // that loads other templates, kOutOfRange when it is nested too deep.
  static Result<Template> compile(std::string_view source, const Limits& limits);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // kInvalidArgument when the template refuses (raise_exception) or fails on this input,
  // kOutOfRange on a limit, kCancelled soon after input.stop was requested; the message ends with
  // line and column.
  Result<Rendered> render(const RenderInput& input) const;

 private:
  Template(std::string source, std::unique_ptr<const Tree> tree, const Limits& limits);

  std::string source_;  // Normalized.
  std::unique_ptr<const Tree> tree_;
  Limits limits_;
};

}  // namespace hearth::jinja
