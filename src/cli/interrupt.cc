#include "cli/interrupt.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <iterator>

namespace hearth {
namespace {

// A signal handler reaches nothing else. The event is made once and never closed.
std::atomic<int> wake_fd = -1;
std::atomic<bool> pending = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void add_wake() {
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then a waiter wakes anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd.load(), &one, sizeof(one));
}

void on_interrupt(int) {
  const int saved_errno = errno;
  pending = true;
  add_wake();
  errno = saved_errno;
}

void set_handler(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

Result<std::unique_ptr<Interrupt>> Interrupt::install() {
  if (wake_fd.load() < 0) wake_fd = eventfd(0, EFD_CLOEXEC);
  if (wake_fd.load() < 0) {
    return error(StatusCode::kInternal, "cannot create an event: {}", system_error_text(errno));
  }
  return std::unique_ptr<Interrupt>(new Interrupt());
}

Interrupt::Interrupt() {
  pending = false;
  set_handler(&on_interrupt);
}

Interrupt::~Interrupt() {
  set_handler(SIG_DFL);
}

void Interrupt::wait() {
  std::uint64_t count = 0;
  while (read(wake_fd.load(), &count, sizeof(count)) < 0 && errno == EINTR) {
  }
}

bool Interrupt::wait_for_input(int fd) {
  while (!pending) {
    pollfd events[] = {{.fd = fd, .events = POLLIN, .revents = 0},
                       {.fd = wake_fd.load(), .events = POLLIN, .revents = 0}};
    if (poll(events, std::size(events), -1) < 0) continue;  // EINTR
    if (events[1].revents != 0) wait();                     // Takes the event, does not block.
    if (events[0].revents != 0 && !pending) return true;
  }
  return false;
}

void Interrupt::wake() {
  add_wake();
}

bool Interrupt::take() {
  return pending.exchange(false);
}

}  // namespace hearth
