// Guards of the interpreter's recursion; its two source files share them.
#pragma once

#include "jinja/interpreter.h"

namespace hearth::jinja {

// Evaluation frames per level of macro calls: what keeps the stack below about a megabyte.
inline constexpr std::size_t kFramesPerLevel = 32;

class Interpreter::Nesting {
 public:
  explicit Nesting(Interpreter& interpreter) : interpreter_(interpreter) {
    const std::size_t limit = interpreter_.limits().max_depth;
    if (interpreter_.depth_ >= limit * kFramesPerLevel) {
      interpreter_.over_limit("calls and expressions nested deeper than {} levels", limit);
    }
    ++interpreter_.depth_;
  }
  ~Nesting() { --interpreter_.depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Interpreter& interpreter_;
};

class Interpreter::CallNesting {
 public:
  explicit CallNesting(Interpreter& interpreter) : interpreter_(interpreter) {
    if (interpreter_.call_depth_ >= interpreter_.limits().max_depth) {
      interpreter_.over_limit("macros nested deeper than {} calls",
                              interpreter_.limits().max_depth);
    }
    ++interpreter_.call_depth_;
  }
  ~CallNesting() { --interpreter_.call_depth_; }
  CallNesting(const CallNesting&) = delete;
  CallNesting& operator=(const CallNesting&) = delete;

 private:
  Interpreter& interpreter_;
};

}  // namespace hearth::jinja
