#include "cli/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>

#include "base/status.h"
#include "base/utf8.h"

namespace hearth {

struct LineReader::Impl {
  explicit Impl(Interrupt& i) : interrupt(i) {}

  static Impl& of(EditLine* handle) {
    Impl* self = nullptr;
    el_get(handle, EL_CLIENTDATA, &self);
    return *self;
  }
  static char* prompt_of(EditLine* handle) { return of(handle).prompt.data(); }
  static int read_character(EditLine* handle, wchar_t* character);

  Interrupt& interrupt;
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
  bool interrupted = false;
};

// What the editor reads its input with: 1 with a character, 0 at the end, -1 to give up the line.
// The editor's own reader would sleep through a signal that comes just before it.
int LineReader::Impl::read_character(EditLine* handle, wchar_t* character) {
  Impl& self = of(handle);
  std::string bytes;
  for (;;) {
    if (!self.interrupt.wait_for_input(STDIN_FILENO)) {
      self.interrupted = true;
      return -1;
    }
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count <= 0) return 0;
    bytes.push_back(byte);
    if (utf8::incomplete_suffix_length(bytes) == bytes.size()) continue;
    *character = static_cast<wchar_t>(utf8::decode(bytes).code_point);
    return 1;
  }
}

LineReader::LineReader(Interrupt& interrupt) : impl_(std::make_unique<Impl>(interrupt)) {
  // The editor counts columns of UTF-8 text. No other thread runs yet that could read the locale.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  std::setlocale(LC_CTYPE, "C.UTF-8");
  impl_->editor = el_init("hearth", stdin, stdout, stderr);
  impl_->history = history_init();
  HEARTH_CHECK(impl_->editor != nullptr && impl_->history != nullptr);
  HistEvent event;
  history(impl_->history, &event, H_SETSIZE, 1000);
  el_set(impl_->editor, EL_CLIENTDATA, impl_.get());
  el_set(impl_->editor, EL_PROMPT, &Impl::prompt_of);
  el_set(impl_->editor, EL_GETCFN, &Impl::read_character);
  el_set(impl_->editor, EL_EDITOR, "emacs");
  el_set(impl_->editor, EL_HIST, history, impl_->history);
  el_set(impl_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineReader::~LineReader() {
  el_end(impl_->editor);
  history_end(impl_->history);
}

LineReader::Line LineReader::read(const std::string& prompt) {
  impl_->prompt = prompt;
  impl_->interrupted = false;
  int length = 0;
  // The editor itself would do this only after it has shown the prompt: what is typed in between
  // would be echoed twice.
  el_set(impl_->editor, EL_PREP_TERM, 1);
  const char* typed = el_gets(impl_->editor, &length);
  if (typed == nullptr) {
    if (!impl_->interrupted) return {.outcome = Outcome::kEnd, .text = {}};
    el_reset(impl_->editor);
    return {.outcome = Outcome::kInterrupted, .text = {}};
  }
  std::string text(typed, static_cast<std::size_t>(length));
  if (text.find_first_not_of(" \t\r\n") != std::string::npos) {
    HistEvent event;
    history(impl_->history, &event, H_ENTER, text.c_str());
  }
  while (text.ends_with('\n') || text.ends_with('\r'))
    text.pop_back();
  return {.outcome = Outcome::kLine, .text = std::move(text)};
}

}  // namespace hearth
