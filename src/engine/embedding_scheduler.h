// Which texts an encoder reads next: plain data in and out, no model, no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/embedding_job.h"
#include "models/encoder.h"

namespace hearth {

// Fair by tokens: the job that has got the fewest goes next, one text at a time, and a newcomer
// starts level with the one that is served now (start-time fair queueing, Goyal et al. 1996). So a
// single text beside a list of thousands is in the next batch, and the list takes all that others
// leave. One thread.
class EmbeddingScheduler {
 public:
  // A batch has at least one text, however long: max_batch_tokens covers the longest.
  explicit EmbeddingScheduler(const EncoderLimits& limits);

  struct Item {
    std::shared_ptr<EmbeddingJob> job;
    std::uint32_t input = 0;
    std::size_t num_tokens = 0;
  };

  void add(std::shared_ptr<EmbeddingJob> job);
  bool has_work() const { return !queue_.empty(); }

  // Takes jobs out that were cancelled or have ended otherwise. The span lives until the next call.
  std::span<const std::shared_ptr<EmbeddingJob>> remove_leavers();
  // Takes everything out. The same span.
  std::span<const std::shared_ptr<EmbeddingJob>> remove_all();

  // The next batch, longest texts first; empty without work. The caller may move the jobs out; the
  // span lives until the next call. A job whose last text it holds is not known here any more.
  std::span<Item> next_batch();

 private:
  struct Entry {
    std::shared_ptr<EmbeddingJob> job;
    std::uint64_t served = 0;  // Tokens, from where the job began.
    std::uint64_t number = 0;  // Of arrival; settles ties.
  };
  static bool later(const Entry& a, const Entry& b);
  void push(Entry entry);
  Entry pop();

  const EncoderLimits limits_;
  std::vector<Entry> queue_;  // A heap: who is to be served first is at the front.
  std::vector<Entry> passed_over_;
  std::vector<std::shared_ptr<EmbeddingJob>> removed_;
  std::vector<Item> batch_;
  std::uint64_t now_ = 0;  // What the job served last had been served.
  std::uint64_t next_number_ = 0;
};

}  // namespace hearth
