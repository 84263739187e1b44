#include <cstdio>
#include <limits>
#include <random>

#include "base/log.h"
#include "cli/chat_session.h"
#include "cli/command.h"
#include "cli/line_reader.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/terminal.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxInputBytes = std::size_t{64} << 20;

constexpr std::string_view kChatHelp =
    R"(Type a message and press Enter; Ctrl-C stops an answer.
  """            begin and end a message of several lines
  /system TEXT   set the system message (nothing: remove it)
  /set           show the settings
  /set NAME N    change one: temperature, top-p, top-k, min-p, seed, max-tokens
  /clear         forget the conversation
  /help          show this
  /exit          leave (also Ctrl-D, or Ctrl-C twice)
)";

// The settings of an answer, once for flags and once for /set.
class AnswerFlags {
 public:
  void declare(OptionSet& options) {
    options.section("Answer");
    options.add(
        temperature_,
        {.name = "temperature",
         .help = "Randomness; 0 always takes the most probable token. -1, also for the three that "
                 "follow: as the model's files recommend."},
        {.min = -1.0, .max = 100.0});
    options.add(top_p_, {.name = "top-p", .help = "Keep the most probable tokens up to this mass."},
                {.min = -1.0, .max = 1.0});
    options.add(top_k_, {.name = "top-k", .help = "Keep this many tokens. 0: all."},
                {.min = -1, .max = 1 << 21});
    options.add(
        min_p_,
        {.name = "min-p", .help = "Drop tokens less probable than this share of the best one."},
        {.min = -1.0, .max = 1.0});
    options.add(seed_, {.name = "seed", .help = "Same seed, same answer. -1: draw one."},
                {.min = -1});
    options.add(max_tokens_,
                {.name = "max-tokens", .help = "Longest answer. 0: up to the end of the context."},
                {.min = 0, .max = std::numeric_limits<std::int32_t>::max()});
  }

  // For the flags that are left at -1.
  void set_defaults(const SamplingParams& defaults) { defaults_ = defaults; }

  AnswerOptions options() const {
    AnswerOptions result;
    result.sampling = defaults_;
    const auto choose = [](double flag, float& target) {
      if (flag >= 0.0) target = static_cast<float>(flag);
    };
    choose(temperature_, result.sampling.temperature);
    choose(top_p_, result.sampling.top_p);
    choose(min_p_, result.sampling.min_p);
    if (top_k_ >= 0) result.sampling.top_k = static_cast<std::uint32_t>(top_k_);
    result.sampling.seed = seed_ < 0 ? std::random_device()() : static_cast<std::uint64_t>(seed_);
    result.max_tokens = static_cast<std::uint32_t>(max_tokens_);
    return result;
  }

  // "temperature 0.7", checked as the flag would be.
  Status set(std::string_view name, std::string_view value) {
    CommandLine line("run", "-");
    declare(line.add_command("set", "-"));
    const std::string words[] = {"set", fmt::format("--{}={}", name, value)};
    const auto parsed = line.parse(words, {});
    return parsed.has_value() ? Status() : parsed.error();
  }

  std::string text() const {
    const SamplingParams sampling = options().sampling;
    return fmt::format("temperature {}, top-p {}, top-k {}, min-p {}, seed {}, max-tokens {}\n",
                       sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p, seed_,
                       max_tokens_);
  }

 private:
  SamplingParams defaults_;
  double temperature_ = -1.0;
  double top_p_ = -1.0;
  std::int64_t top_k_ = -1;
  double min_p_ = -1.0;
  std::int64_t seed_ = -1;
  std::int64_t max_tokens_ = 0;
};

std::string stats_line(const AnswerStats& stats) {
  const auto rate = [](double tokens, double seconds) {
    return seconds > 0.0 ? tokens / seconds : 0.0;
  };
  const auto computed = static_cast<double>(stats.prompt_tokens - stats.cached_tokens);
  const auto later_tokens = static_cast<double>(stats.answer_tokens) - 1.0;
  return fmt::format("[prompt {} tokens ({} cached), {:.1f}/s; answer {} tokens, {:.1f}/s]\n",
                     stats.prompt_tokens, stats.cached_tokens, rate(computed, stats.prompt_seconds),
                     stats.answer_tokens, rate(later_tokens, stats.answer_seconds));
}

// The conversation at a terminal.
class InteractiveChat {
 public:
  InteractiveChat(ChatSession& session, Interrupt& interrupt, AnswerFlags& flags, bool stats)
      : session_(session),
        interrupt_(interrupt),
        flags_(flags),
        stats_(stats),
        reader_(interrupt) {}

  Status run() {
    HEARTH_RETURN_IF_ERROR(print("Type a message, /help for commands.\n"));
    for (bool stopped_before = false; !done_;) {
      const LineReader::Line line = reader_.read(quote_.has_value() ? "... " : ">>> ");
      if (line.outcome == LineReader::Outcome::kEnd) return print("\n");
      if (line.outcome == LineReader::Outcome::kInterrupted) {
        interrupt_.take();
        quote_.reset();
        if (stopped_before) return print("\n");
        stopped_before = true;
        HEARTH_RETURN_IF_ERROR(print("\nCtrl-C again or /exit leaves.\n"));
        continue;
      }
      stopped_before = false;
      HEARTH_RETURN_IF_ERROR(take_line(line.text));
    }
    return {};
  }

 private:
  Status take_line(const std::string& line) {
    constexpr std::string_view kQuote = "\"\"\"";
    if (quote_.has_value()) {
      const std::size_t end = line.find(kQuote);
      *quote_ += line.substr(0, end);
      if (end == std::string::npos) {
        *quote_ += '\n';
        return {};
      }
      const std::string text = *std::exchange(quote_, std::nullopt);
      return answer(text);
    }
    if (line.starts_with(kQuote)) {
      quote_.emplace();
      return line.size() > kQuote.size() ? take_line(line.substr(kQuote.size())) : Status();
    }
    if (line.find_first_not_of(" \t") == std::string::npos) return {};
    return line.front() == '/' ? take_command(line) : answer(line);
  }

  Status take_command(const std::string& line) {
    const std::size_t blank = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, blank);
    const std::string rest = line.substr(std::min(blank + 1, line.size()));
    if (name == "/exit" || name == "/bye") {
      done_ = true;
      return {};
    }
    if (name == "/help") return print(kChatHelp);
    if (name == "/set") return set(rest);
    if (name == "/system") {
      session_.set_system(rest);
      return print(rest.empty() ? "No system message.\n" : "System message set.\n");
    }
    if (name == "/clear") {
      session_.clear();
      return print("Conversation forgotten.\n");
    }
    return print(fmt::format("Unknown command {}; /help shows all.\n", single_line(name)));
  }

  Status set(const std::string& rest) {
    if (rest.empty()) return print(flags_.text());
    const std::size_t blank = std::min(rest.find(' '), rest.size());
    const Status status =
        flags_.set(rest.substr(0, blank), rest.substr(std::min(blank + 1, rest.size())));
    if (!status.ok()) return print(single_line(status.message()) + "\n");
    return print(flags_.text());
  }

  // Errors of one answer are shown and the conversation goes on.
  Status answer(const std::string& text) {
    session_.options = flags_.options();  // Draws a new seed unless one is set.
    const Result<Answer> result = session_.say(text);
    if (!result.has_value()) {
      if (is_closed_output(result.error())) return result.error();
      return print(fmt::format("\n{}\n", single_line(result.error().message())));
    }
    HEARTH_RETURN_IF_ERROR(print(result->interrupted ? " [stopped]\n" : "\n"));
    if (stats_) fmt::print(stderr, "{}", stats_line(result->stats));
    return {};
  }

  ChatSession& session_;
  Interrupt& interrupt_;
  AnswerFlags& flags_;
  bool stats_;
  LineReader reader_;
  std::optional<std::string> quote_;  // A message of several lines, so far.
  bool done_ = false;
};

class RunCommand final : public Command {
 public:
  std::string_view name() const override { return "run"; }
  std::string_view summary() const override { return "Chat with a model, or answer one prompt"; }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model", .help = kModelHelp});
    options.add_positional(
        prompt_, {.name = "prompt",
                  .help = "Answer this and end. Without it: a conversation at a terminal, else the "
                          "prompt is standard input, as with '-'.",
                  .required = false});
    flags_.declare(options);
    options.add(system_, {.name = "system", .help = "System message."});
    options.add(raw_, {.name = "raw",
                       .help = "Continue the prompt as it is, without the chat "
                               "template."});
    options.add(stats_,
                {.name = "stats", .help = "Show token counts and speeds on standard error."});
    model_flags_.declare(options);
  }

  Status check() override {
    if (raw_ && !system_.empty()) {
      return Status(StatusCode::kInvalidArgument, "--system has no meaning with --raw");
    }
    if (raw_ && is_interactive()) {
      return Status(StatusCode::kInvalidArgument, "--raw needs a prompt");
    }
    return {};
  }

  Status run() override {
    log::set_level(log::Level::kWarning);
    const bool interactive = is_interactive();
    if (!interactive && (prompt_.empty() || prompt_ == "-")) {
      HEARTH_ASSIGN_OR_RETURN(prompt_, read_stdin(kMaxInputBytes));
      if (prompt_.empty()) return Status(StatusCode::kInvalidArgument, "the prompt is empty");
    }
    HEARTH_RETURN_IF_ERROR(model_flags_.set_up_process());
    HEARTH_ASSIGN_OR_RETURN(const ServedModelOptions options, model_flags_.resolve(model_));
    Metrics metrics;
    HEARTH_ASSIGN_OR_RETURN(const auto model, ServedModel::load(options, metrics));
    if (model->embedder() != nullptr) {
      return make_status(StatusCode::kInvalidArgument,
                         "'{}' is an encoder: it reads texts and writes none; serve it with "
                         "hearth serve",
                         model_);
    }
    HEARTH_ASSIGN_OR_RETURN(const auto interrupt, Interrupt::install());
    ChatSession session(*model, *interrupt);
    flags_.set_defaults(model->sampling_defaults());
    session.options = flags_.options();
    session.set_system(system_);
    if (interactive) return InteractiveChat(session, *interrupt, flags_, stats_).run();

    HEARTH_ASSIGN_OR_RETURN(const Answer answer,
                            raw_ ? session.complete(prompt_) : session.say(prompt_));
    HEARTH_RETURN_IF_ERROR(print("\n"));
    if (stats_) fmt::print(stderr, "{}", stats_line(answer.stats));
    return answer.interrupted ? Status(StatusCode::kCancelled, "interrupted") : Status();
  }

 private:
  bool is_interactive() const { return prompt_.empty() && stdin_is_terminal(); }

  std::string model_;
  std::string prompt_;
  std::string system_;
  bool raw_ = false;
  bool stats_ = false;
  AnswerFlags flags_;
  ModelFlags model_flags_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() {
  return std::make_unique<RunCommand>();
}

}  // namespace hearth
