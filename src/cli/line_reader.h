// One line from a person at a terminal, with editing and history.
#pragma once

#include <memory>
#include <string>

#include "cli/interrupt.h"

namespace hearth {

// Used on one thread. The editing library stays behind this header.
class LineReader {
 public:
  // Borrows the interrupt, which ends a read().
  explicit LineReader(Interrupt& interrupt);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  enum class Outcome { kLine, kInterrupted, kEnd };
  struct Line {
    Outcome outcome = Outcome::kEnd;
    std::string text;  // Without its newline.
  };

  // Shows `prompt` and reads a line. kInterrupted: SIGINT came; what was typed is dropped. Lines
  // that are not blank can be recalled with the arrow keys.
  Line read(const std::string& prompt);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
