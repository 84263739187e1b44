#include "engine/ngram_proposer.h"

#include <algorithm>
#include <bit>

#include "base/status.h"

namespace hearth {
namespace {

// Bounds a look-up in a text that repeats a few tokens over and over, or was made to collide.
constexpr std::size_t kMaxVisits = 64;

}  // namespace

NgramIndex::NgramIndex(const NgramOptions& options, std::size_t max_len)
    : options_(options),
      mask_(std::min(std::bit_ceil(std::max<std::size_t>(max_len, 1)), options.window) - 1),
      last_(mask_ + 1),
      before_(mask_ + 1),
      next_end_(options.min_match) {
  HEARTH_CHECK(std::has_single_bit(options.window));
  HEARTH_CHECK(0 < options.min_match && options.min_match <= options.max_match);
}

std::size_t NgramIndex::bucket_of(std::span<const std::int32_t> tokens, std::size_t end) const {
  std::uint64_t hash = 0;
  for (const std::int32_t token : tokens.subspan(end - options_.min_match, options_.min_match)) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
  }
  return static_cast<std::size_t>(hash) & mask_;
}

void NgramIndex::add(std::span<const std::int32_t> tokens, std::size_t end) {
  std::uint32_t& last = last_[bucket_of(tokens, end)];
  before_[end & mask_] = last;
  last = static_cast<std::uint32_t>(end);
}

// How many tokens before `end` are those at the end of all.
std::size_t NgramIndex::match_len(std::span<const std::int32_t> tokens, std::size_t end) const {
  const std::size_t longest = std::min(options_.max_match, end);
  std::size_t length = 0;
  while (length < longest && tokens[end - 1 - length] == tokens[tokens.size() - 1 - length])
    ++length;
  return length;
}

std::size_t NgramIndex::find(std::span<const std::int32_t> tokens) {
  const std::size_t size = tokens.size();
  if (size < options_.min_match) return 0;
  const std::size_t oldest = size - std::min(size, mask_);  // Older places have lost their slot.
  for (next_end_ = std::max(next_end_, oldest); next_end_ < size; ++next_end_)
    add(tokens, next_end_);

  std::size_t best_end = 0;
  std::size_t best_len = options_.min_match - 1;
  std::size_t end = last_[bucket_of(tokens, size)];
  for (std::size_t visits = 0; visits < kMaxVisits && end != 0 && end >= oldest; ++visits) {
    const std::size_t length = match_len(tokens, end);
    if (length > best_len) {
      best_len = length;
      best_end = end;
    }
    if (length == options_.max_match) break;
    end = before_[end & mask_];
  }
  return best_end;
}

void NgramProposer::propose(std::span<DraftTask> tasks) {
  for (DraftTask& task : tasks) {
    NgramIndex& index = indexes_.try_emplace(task.id, options_, task.max_len).first->second;
    std::size_t source = index.find(task.tokens);
    task.num_tokens = source == 0 ? 0 : task.draft.size();
    // A run that reaches the end of the text goes on with its own beginning.
    for (std::size_t idx = 0; idx < task.num_tokens; ++idx, ++source) {
      const std::size_t size = task.tokens.size();
      task.draft[idx] = source < size ? task.tokens[source] : task.draft[source - size];
    }
  }
}

}  // namespace hearth
