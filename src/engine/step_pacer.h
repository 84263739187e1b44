// How many tokens a step may have so that running streams do not pause for longer than wanted while
// prompts are read beside them.
#pragma once

#include <chrono>
#include <cstddef>
#include <limits>

namespace hearth {

// Learns this machine's speed from the steps it is told of. Not thread-safe.
class StepPacer {
 public:
  using Duration = std::chrono::duration<double>;

  // `target`: what a step may take. Zero: any time.
  explicit StepPacer(Duration target) : target_(target) {}

  // As far as is known. More than any step has until one was long enough to learn from.
  std::size_t max_tokens() const {
    const double tokens = tokens_per_second_ * target_.count();
    return tokens > 0.0 && tokens < 1e9 ? static_cast<std::size_t>(tokens)
                                        : std::numeric_limits<std::size_t>::max();
  }

  // Short steps tell nothing: they take as long as reading the weights once, however few they are.
  void note(std::size_t num_tokens, Duration took) {
    if (num_tokens < kTellingTokens || took.count() <= 0.0) return;
    const double rate = static_cast<double>(num_tokens) / took.count();
    tokens_per_second_ += (rate - tokens_per_second_) * (tokens_per_second_ > 0.0 ? kWeight : 1.0);
  }

 private:
  static constexpr std::size_t kTellingTokens = 32;
  static constexpr double kWeight = 0.25;  // Of the newest step.

  Duration target_;
  double tokens_per_second_ = 0.0;
};

}  // namespace hearth
