// Ctrl-C as something to wait for.
#pragma once

#include <memory>

#include "base/status.h"

namespace hearth {

// While an object lives, SIGINT no longer ends the process but is remembered here. One object at a
// time; used on the main thread, except for wake().
class Interrupt {
 public:
  static Result<std::unique_ptr<Interrupt>> install();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Blocks until wake() is called or SIGINT arrives; one of either before the call counts as well.
  void wait();
  // Blocks until something can be read from `fd` (true) or SIGINT has come, before or during the
  // call, and not been taken (false).
  bool wait_for_input(int fd);
  // From any thread, also when no object lives any more.
  static void wake();
  // Whether SIGINT came since the last call.
  bool take();

 private:
  Interrupt();
};

}  // namespace hearth
