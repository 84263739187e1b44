// The order in which sampling looks at a row of logits, and selection in that order without
// sorting.
//
// Tokens are ordered by logit, largest first, ties by id, lowest first. Every filter (top-k, top-p,
// min-p) keeps a beginning of this order, so a filter's result is one number: the key of the last
// token it keeps.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace hearth {

// A token's place in the order, larger is earlier: the logit's bits made monotonic, then the id.
using OrderKey = std::uint64_t;
inline constexpr OrderKey kKeepAll = 0;

// Signed and monotonic in `logit`; both zeros are the same. NaNs lie outside [key(-inf),
// key(+inf)].
inline std::int32_t monotonic_bits(float logit) {
  const auto bits = std::bit_cast<std::int32_t>(logit + 0.0f);  // -0 becomes +0.
  return bits ^ ((bits >> 31) & std::numeric_limits<std::int32_t>::max());
}

inline float from_monotonic_bits(std::int32_t bits) {
  return std::bit_cast<float>(bits ^ ((bits >> 31) & std::numeric_limits<std::int32_t>::max()));
}

inline OrderKey order_key(float logit, std::int32_t id) {
  const auto high = static_cast<std::uint32_t>(monotonic_bits(logit)) ^ 0x80000000u;
  return OrderKey{high} << 32 | ~static_cast<std::uint32_t>(id);
}

// The last key among those of tokens with at least this logit.
inline OrderKey last_key(float logit) {
  return order_key(logit, std::numeric_limits<std::int32_t>::max());
}

inline std::int32_t key_id(OrderKey key) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(key));
}

// A row of logits cut into blocks whose largest values are known, so that later passes skip what
// cannot matter. Borrows the row. One is kept per sampler for its memory. Not thread-safe.
class LogitRow {
 public:
  static constexpr std::size_t kBlockLen = 256;
  struct Block {
    std::int32_t first_id = 0;
    std::span<const float> logits;
  };

  // Allocates for rows of `size` logits; smaller and equal ones then allocate nothing.
  explicit LogitRow(std::size_t size);

  // One pass over the row. False when it holds a NaN or +inf.
  bool assign(std::span<const float> logits);

  std::span<const float> logits() const { return logits_; }
  std::int32_t argmax() const { return argmax_; }
  float max() const { return logits_[static_cast<std::size_t>(argmax_)]; }

  static std::size_t num_blocks(std::size_t size) { return (size + kBlockLen - 1) / kBlockLen; }
  std::size_t num_blocks() const { return block_max_.size(); }
  Block block(std::size_t idx) const;
  // Whether some token of the block is at `lowest` or before it.
  bool block_reaches(std::size_t idx, OrderKey lowest) const {
    return order_key(block_max_[idx], 0) >= lowest;
  }
  float block_max(std::size_t idx) const { return block_max_[idx]; }
  // A key that at least `count` tokens reach: the count-th of the blocks' largest. kKeepAll when
  // there are fewer blocks. Cheap, and close to the count-th token when large logits are spread.
  OrderKey reached_by(std::size_t count);

 private:
  std::span<const float> logits_;
  std::vector<float> block_max_;
  std::vector<float> ordered_max_;  // Scratch of reached_by().
  std::int32_t argmax_ = 0;
};

// Finds where a running total over the order reaches a target, in linear time: a histogram over
// logits, then repeated halving within the bucket where it happens. Keeps its memory.
class OrderSelector {
 public:
  using BlockMeasure = std::array<std::uint64_t, LogitRow::kBlockLen>;

  struct Scope {
    OrderKey lowest = kKeepAll;      // Only tokens up to this one count.
    double buckets_per_unit = 16.0;  // Resolution of the histogram over logits; any value is right.
  };

  // For rows of up to `size` logits.
  explicit OrderSelector(std::size_t size) : size_(size) {}

  // The key of the first token at which the running total of `measure` reaches target(total), which
  // is in [1, total]. measure(block, values) sets the measure of every token of the block.
  template <typename Measure, typename Target>
  OrderKey select(const LogitRow& row, const Scope& scope, Measure&& measure, Target&& target) {
    histogram_.fill(0);
    for_each(row, scope, measure, kBuckets - 1,
             [&](std::size_t bucket, const Candidate& candidate) {
               histogram_[bucket] += candidate.measure;
             });
    std::uint64_t rest =
        target(std::accumulate(histogram_.begin(), histogram_.end(), std::uint64_t{0}));
    std::size_t crossing = 0;
    while (crossing + 1 < kBuckets && histogram_[crossing] < rest)
      rest -= histogram_[crossing++];

    crossing_.clear();
    crossing_.reserve(size_);
    for_each(row, scope, measure, crossing, [&](std::size_t bucket, const Candidate& candidate) {
      if (bucket == crossing) crossing_.push_back(candidate);
    });
    return halve(crossing_, rest);
  }

 private:
  static constexpr std::size_t kBuckets = 512;
  struct Candidate {
    OrderKey key = 0;
    std::uint64_t measure = 0;
  };

  // Rounding keeps the order of logits, so a later token never comes into an earlier bucket.
  static std::size_t bucket_of(const LogitRow& row, const Scope& scope, float logit) {
    const double distance = (double{row.max()} - logit) * scope.buckets_per_unit;
    return static_cast<std::size_t>(std::min(distance, kBuckets - 1.0));
  }

  // Visits the tokens of `scope` in the blocks that have some in buckets up to last_bucket.
  template <typename Measure, typename Visit>
  void for_each(const LogitRow& row, const Scope& scope, Measure& measure, std::size_t last_bucket,
                Visit&& visit) {
    BlockMeasure values;
    for (std::size_t idx = 0; idx < row.num_blocks(); ++idx) {
      if (!row.block_reaches(idx, scope.lowest)) continue;
      if (bucket_of(row, scope, row.block_max(idx)) > last_bucket) continue;
      const LogitRow::Block block = row.block(idx);
      measure(block, values);
      for (std::size_t i = 0; i < block.logits.size(); ++i) {
        const float logit = block.logits[i];
        const OrderKey key = order_key(logit, block.first_id + static_cast<std::int32_t>(i));
        if (key < scope.lowest) continue;
        visit(bucket_of(row, scope, logit), Candidate{key, values[i]});
      }
    }
  }

  static OrderKey halve(std::span<Candidate> candidates, std::uint64_t target);

  std::array<std::uint64_t, kBuckets> histogram_{};
  std::vector<Candidate> crossing_;
  std::size_t size_;
};

}  // namespace hearth
