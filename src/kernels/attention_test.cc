#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/kernel_test_util.h"
#include "tensor/float16.h"

namespace hearth {
namespace {

struct Case {
  HeadShape heads;
  std::size_t block_size = 16;
  float softcap = 0.0f;
  std::size_t sliding_window = 0;
  std::size_t num_positions = 0;
  DType dtype = DType::kF16;
  std::vector<float> alibi_slopes = {};  // Per head; none: no ALiBi.
  bool bidirectional = false;            // Fed in one piece then.
  bool distance_biases = false;
  std::vector<float> sinks = {};  // Per head; none: no sinks.
};

// A cache of one sequence whose blocks lie in no particular order, in memory full of NaN: in
// regions of three blocks, keys and values of each beside those of another layer.
class Cache {
 public:
  Cache(const Case& c, std::uint32_t seed) : case_(c) {
    const std::size_t num_blocks = (c.num_positions + c.block_size - 1) / c.block_size;
    view_.dtype = c.dtype;
    view_.block_size = c.block_size;
    view_.head_stride = kv_head_bytes(c.dtype, c.heads.head_dim, c.block_size);
    view_.block_stride = view_.head_stride * c.heads.num_kv_heads;
    view_.region_blocks = 3;
    view_.value_head_stride = kv_head_bytes(c.dtype, c.heads.value_len(), c.block_size);
    view_.value_block_stride = view_.value_head_stride * c.heads.num_kv_heads;
    const std::size_t both = view_.block_stride + view_.value_block_stride;
    view_.region_stride = 2 * view_.region_blocks * both;
    const std::size_t regions = num_blocks / view_.region_blocks + 1;  // Room for block 0 as well.
    memory_.assign(regions * view_.region_stride / sizeof(kNan), kNan);
    view_.k = reinterpret_cast<std::byte*>(memory_.data()) + view_.region_blocks * both;
    view_.v = view_.k + view_.region_blocks * view_.block_stride;
    table_.resize(num_blocks);
    std::iota(table_.begin(), table_.end(), 1);
    std::shuffle(table_.begin(), table_.end(), std::mt19937(seed));
  }

  const KvLayerView& view() const { return view_; }
  const std::int32_t* table() const { return table_.data(); }
  // Blocks wholly before `position` are gone.
  void forget_before(std::size_t position) {
    for (std::size_t i = 0; (i + 1) * case_.block_size <= position; ++i)
      table_[i] = 0;
  }

 private:
  static constexpr std::uint16_t kNan = 0x7e7e;
  Case case_;
  std::vector<std::uint16_t> memory_;
  std::vector<std::int32_t> table_;
  KvLayerView view_;
};

struct Sequence {
  Floats q;
  Floats k;
  Floats v;
};

Sequence make_sequence(const Case& c, std::uint32_t seed) {
  const std::size_t kv_heads = c.heads.num_kv_heads;
  return {random_floats(c.num_positions * c.heads.num_heads * c.heads.head_dim, seed, 2.0f),
          random_floats(c.num_positions * kv_heads * c.heads.head_dim, seed + 1, 2.0f),
          random_floats(c.num_positions * kv_heads * c.heads.value_len(), seed + 2)};
}

constexpr std::size_t kBiasReach = 700;

// NaN where no distance is.
const Floats& distance_biases() {
  static const Floats values = [] {
    constexpr std::size_t kHeads = 16;
    const std::size_t stride = DistanceBiases{.reach = kBiasReach}.stride();
    Floats rows = random_floats(kHeads * stride, 41, 2.0f);
    for (std::size_t head = 0; head < kHeads; ++head) {
      std::fill(&rows[head * stride + 2 * kBiasReach + 1], &rows[head * stride] + stride,
                std::numeric_limits<float>::quiet_NaN());
    }
    return rows;
  }();
  return values;
}

AttentionParams params_of(const Case& c) {
  return {.heads = c.heads,
          .scale = 1.0f / std::sqrt(static_cast<float>(c.heads.head_dim)),
          .logit_softcap = c.softcap,
          .sliding_window = c.sliding_window,
          .bidirectional = c.bidirectional,
          .alibi_slopes = c.alibi_slopes.empty() ? nullptr : c.alibi_slopes.data(),
          .distance_biases = {c.distance_biases ? distance_biases().data() : nullptr, kBiasReach},
          .sinks = c.sinks.empty() ? nullptr : c.sinks.data()};
}

ConstMatrixView rows_of(const Floats& data, std::size_t cols, std::size_t first,
                        std::size_t count) {
  return {data.data() + first * cols, count, cols, cols};
}

// Feeds the sequence in chunks of the given length; every chunk is stored, then attends.
Floats run_in_chunks(Device& device, const Case& c, const Sequence& s, std::size_t chunk_len) {
  const std::size_t width = c.heads.num_heads * c.heads.head_dim;
  const std::size_t kv_width = c.heads.num_kv_heads * c.heads.head_dim;
  const std::size_t v_width = c.heads.num_kv_heads * c.heads.value_len();
  const std::size_t out_width = c.heads.num_heads * c.heads.value_len();
  Cache cache(c, 99);
  Floats out(c.num_positions * out_width);
  for (std::size_t first = 0; first < c.num_positions; first += chunk_len) {
    const std::size_t count = std::min(chunk_len, c.num_positions - first);
    if (c.sliding_window != 0 && first >= c.sliding_window) {
      cache.forget_before(first + 1 - c.sliding_window);
    }
    const SequenceRows rows = {0, count, first, cache.table()};
    device.store_kv(rows_of(s.k, kv_width, first, count), rows_of(s.v, v_width, first, count),
                    {&rows, 1}, c.heads, cache.view());
    device.attention(rows_of(s.q, width, first, count), {&rows, 1}, params_of(c), cache.view(),
                     {out.data() + first * out_width, count, out_width, out_width});
  }
  return out;
}

// What the cache holds of one head's keys or values of a position.
Floats as_stored(DType dtype, const float* x, std::size_t head_dim) {
  const auto rounded = [](float value) { return f16_to_f32(f32_to_f16(value)); };
  Floats stored(head_dim);
  for (std::size_t start = 0; start < head_dim; start += kKvGroupLen) {
    const std::size_t end = std::min(start + kKvGroupLen, head_dim);
    float max = 0.0f;
    for (std::size_t i = start; i < end; ++i)
      max = std::max(max, std::fabs(x[i]));
    for (std::size_t i = start; i < end; ++i) {
      stored[i] = dtype == DType::kF16
                      ? rounded(x[i])
                      : rounded(max / 127.0f) * std::nearbyint(x[i] * (127.0f / max));
    }
  }
  return stored;
}

// Softmax attention of one query in double precision over what the cache holds.
std::vector<double> exact_attention(const Case& c, const Sequence& s, std::size_t position,
                                    std::size_t head) {
  const std::size_t dim = c.heads.head_dim;
  const std::size_t value_dim = c.heads.value_len();
  const std::size_t kv_width = c.heads.num_kv_heads * dim;
  const std::size_t kv_head = head / (c.heads.num_heads / c.heads.num_kv_heads);
  const std::size_t window = c.sliding_window == 0 ? c.num_positions * 2 : c.sliding_window;
  const std::size_t before = c.bidirectional ? window / 2 : window - 1;
  const std::size_t after = c.bidirectional ? window / 2 : 0;
  const std::size_t begin = position - std::min(position, before);
  const std::size_t end = std::min(c.num_positions, position + after + 1);
  const float* q = s.q.data() + (position * c.heads.num_heads + head) * dim;
  std::vector<double> scores;
  for (std::size_t p = begin; p < end; ++p) {
    const Floats key = as_stored(c.dtype, s.k.data() + p * kv_width + kv_head * dim, dim);
    double score = 0;
    for (std::size_t i = 0; i < dim; ++i)
      score += double{q[i]} * key[i];
    score *= params_of(c).scale;
    if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
    if (!c.alibi_slopes.empty()) {
      score -= double{c.alibi_slopes[head]} * static_cast<double>(position - p);
    }
    if (c.distance_biases) {
      const DistanceBiases table = params_of(c).distance_biases;
      score += double{table.values[head * table.stride() + table.reach + p - position]};
    }
    scores.push_back(score);
  }
  double max = *std::max_element(scores.begin(), scores.end());
  if (!c.sinks.empty()) max = std::max(max, double{c.sinks[head]});
  double sum = c.sinks.empty() ? 0.0 : std::exp(c.sinks[head] - max);
  std::vector<double> out(value_dim);
  for (std::size_t p = begin; p < end; ++p) {
    const double weight = std::exp(scores[p - begin] - max);
    sum += weight;
    const float* stored = s.v.data() + (p * c.heads.num_kv_heads + kv_head) * value_dim;
    const Floats value = as_stored(c.dtype, stored, value_dim);
    for (std::size_t i = 0; i < value_dim; ++i)
      out[i] += weight * value[i];
  }
  for (double& value : out)
    value /= sum;
  return out;
}

class AttentionTest : public ::testing::TestWithParam<Case> {};

TEST_P(AttentionTest, MatchesSoftmaxInDoublePrecision) {
  const Case& c = GetParam();
  const Sequence s = make_sequence(c, 1);
  const auto device = make_device("auto");
  const Floats out = run_in_chunks(*device, c, s, c.num_positions);
  const std::size_t dim = c.heads.value_len();
  for (std::size_t position = 0; position < c.num_positions; position += 7) {
    for (std::size_t head = 0; head < c.heads.num_heads; ++head) {
      const auto exact = exact_attention(c, s, position, head);
      for (std::size_t i = 0; i < dim; ++i) {
        ASSERT_NEAR(out[(position * c.heads.num_heads + head) * dim + i], exact[i], 2e-5)
            << "position " << position << " head " << head << " component " << i;
      }
    }
  }
}

TEST_P(AttentionTest, ChunkingThreadsAndKernelSetChangeNothing) {
  const Case& c = GetParam();
  const Sequence s = make_sequence(c, 2);
  const Floats expected = run_in_chunks(*make_device("reference"), c, s, c.num_positions);
  for (const std::string& set : supported_sets()) {
    if (set == "reference") continue;
    for (std::size_t chunk : {c.num_positions, std::size_t{64}, std::size_t{37}, std::size_t{1}}) {
      EXPECT_TRUE(same_bits(run_in_chunks(*make_device(set), c, s, chunk), expected))
          << set << " chunk " << chunk;
    }
    for (std::size_t threads : {2U, 3U}) {
      for (std::size_t chunk : {std::size_t{1}, std::size_t{100}}) {
        EXPECT_TRUE(same_bits(run_in_chunks(*make_device(set, threads), c, s, chunk), expected))
            << set << " threads " << threads << " chunk " << chunk;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionTest,
    ::testing::Values(
        Case{.heads = {9, 3, 64}, .num_positions = 300},
        // Values of another size than keys: as latent attention has them, and in general.
        Case{.heads = {20, 1, 72, 64}, .num_positions = 270},
        Case{.heads = {20, 1, 72, 64}, .num_positions = 270, .dtype = DType::kQ8_0},
        Case{.heads = {6, 3, 24, 40}, .block_size = 32, .num_positions = 60},
        Case{.heads = {6, 3, 24, 40}, .num_positions = 60, .dtype = DType::kQ8_0},
        Case{.heads = {4, 4, 20}, .num_positions = 70},
        Case{.heads = {2, 1, 6}, .num_positions = 33},
        Case{.heads = {8, 2, 80}, .block_size = 32, .num_positions = 300},
        Case{.heads = {20, 1, 32}, .block_size = 64, .num_positions = 90},
        Case{.heads = {4, 2, 96}, .softcap = 3.0f, .num_positions = 150},
        Case{.heads = {4, 2, 128}, .sliding_window = 40, .num_positions = 330},
        Case{.heads = {2, 2, 16}, .sliding_window = 300, .num_positions = 700},
        Case{.heads = {6, 2, 256}, .block_size = 16, .num_positions = 40},
        Case{.heads = {3, 3, 24},
             .num_positions = 600,
             .alibi_slopes = {0.0625f, 0.00390625f, 0.25f}},
        Case{.heads = {4, 2, 40},
             .num_positions = 290,
             .dtype = DType::kQ8_0,
             .alibi_slopes = {0.5f, 0.01f, 0.003f, 0.1f}},
        Case{.heads = {6, 2, 32}, .softcap = 3.0f, .num_positions = 300, .distance_biases = true},
        // Below all scores, among them, and so far above that nothing else is left.
        Case{.heads = {8, 2, 64},
             .num_positions = 530,
             .sinks = {-90.0f, -4.0f, 0.0f, 1.5f, 3.0f, 6.0f, 40.0f, 900.0f}},
        Case{.heads = {4, 2, 36},
             .sliding_window = 20,
             .num_positions = 300,
             .sinks = {0.3f, 2.0f, 5.0f, -7.0f}},
        Case{.heads = {3, 1, 20},
             .num_positions = 70,
             .dtype = DType::kQ8_0,
             .sinks = {0.0f, 4.0f, -2.0f}},
        Case{.heads = {9, 3, 64}, .num_positions = 300, .dtype = DType::kQ8_0},
        Case{.heads = {16, 16, 32}, .num_positions = 65, .dtype = DType::kQ8_0},
        Case{.heads = {4, 4, 20}, .num_positions = 70, .dtype = DType::kQ8_0},
        Case{.heads = {2, 1, 6}, .num_positions = 33, .dtype = DType::kQ8_0},
        Case{.heads = {8, 2, 80}, .block_size = 32, .num_positions = 300, .dtype = DType::kQ8_0},
        Case{.heads = {40, 2, 36}, .softcap = 3.0f, .num_positions = 150, .dtype = DType::kQ8_0},
        Case{.heads = {4, 2, 128},
             .sliding_window = 40,
             .num_positions = 330,
             .dtype = DType::kQ8_0}));

class BidirectionalAttentionTest : public ::testing::TestWithParam<Case> {};

TEST_P(BidirectionalAttentionTest, MatchesSoftmaxWithEveryKernelSetAndAnyThreads) {
  const Case& c = GetParam();
  const Sequence s = make_sequence(c, 6);
  const Floats expected = run_in_chunks(*make_device("reference"), c, s, c.num_positions);
  const std::size_t dim = c.heads.head_dim;
  for (std::size_t position = 0; position < c.num_positions; position += 7) {
    for (std::size_t head = 0; head < c.heads.num_heads; ++head) {
      const auto exact = exact_attention(c, s, position, head);
      for (std::size_t i = 0; i < dim; ++i) {
        ASSERT_NEAR(expected[(position * c.heads.num_heads + head) * dim + i], exact[i], 2e-5)
            << "position " << position << " head " << head << " component " << i;
      }
    }
  }
  for (const std::string& set : supported_sets()) {
    for (std::size_t threads : {1U, 2U, 3U}) {
      EXPECT_TRUE(
          same_bits(run_in_chunks(*make_device(set, threads), c, s, c.num_positions), expected))
          << set << " threads " << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, BidirectionalAttentionTest,
    ::testing::Values(
        Case{.heads = {12, 12, 32}, .num_positions = 1, .bidirectional = true},
        Case{.heads = {12, 12, 32}, .num_positions = 77, .bidirectional = true},
        Case{.heads = {4, 2, 64}, .num_positions = 290, .bidirectional = true},
        Case{.heads = {3, 3, 20}, .sliding_window = 9, .num_positions = 60, .bidirectional = true},
        Case{.heads = {2, 2, 64},
             .sliding_window = 128,
             .num_positions = 700,
             .bidirectional = true},
        Case{.heads = {12, 12, 64},
             .num_positions = 77,
             .bidirectional = true,
             .distance_biases = true},
        Case{.heads = {4, 2, 20},
             .num_positions = 700,
             .bidirectional = true,
             .distance_biases = true},
        Case{.heads = {3, 3, 20},
             .sliding_window = 9,
             .num_positions = 289,
             .bidirectional = true,
             .distance_biases = true},
        Case{.heads = {4, 4, 32},
             .num_positions = 290,
             .dtype = DType::kQ8_0,
             .bidirectional = true,
             .distance_biases = true},
        Case{.heads = {4, 4, 32},
             .num_positions = 290,
             .dtype = DType::kQ8_0,
             .bidirectional = true}));

// Every number of rows and of positions around the kernels' tiles, so that tiles of all shapes meet
// all borders: decoding, a few rows (as in checking a guess) and prompts.
TEST(AttentionSweepTest, AllSetsAgreeAtEveryNumberOfRowsAndPositions) {
  for (const DType dtype : {DType::kF16, DType::kQ8_0}) {
    for (const std::size_t positions : {1U, 15U, 16U, 17U, 31U, 33U, 63U, 65U, 257U, 289U}) {
      const Case c = {.heads = {6, 3, 40}, .num_positions = positions, .dtype = dtype};
      const Sequence s = make_sequence(c, 4);
      const Floats expected = run_in_chunks(*make_device("reference"), c, s, positions);
      for (const std::string& set : supported_sets()) {
        for (std::size_t chunk = 1; chunk <= 9; ++chunk) {
          EXPECT_TRUE(same_bits(run_in_chunks(*make_device(set), c, s, chunk), expected))
              << dtype_info(dtype).name << " " << set << " positions " << positions << " chunk "
              << chunk;
        }
      }
    }
  }
}

void expect_independence_of_company(const Case& c) {
  const std::size_t width = c.heads.num_heads * c.heads.head_dim;
  const std::size_t kv_width = c.heads.num_kv_heads * c.heads.head_dim;
  const Sequence a = make_sequence(c, 5);
  const Sequence b = make_sequence(c, 15);
  for (const std::string& set : supported_sets()) {
    const auto device = make_device(set, 2);
    const Floats alone_a = run_in_chunks(*device, c, a, c.num_positions);
    const Floats alone_b = run_in_chunks(*device, c, b, c.num_positions);
    // Both in one batch, each with its own cache behind one pool of blocks.
    const Case both = {.heads = c.heads, .num_positions = 2 * 64, .bidirectional = c.bidirectional};
    Cache cache(both, 7);
    const SequenceRows rows[2] = {{0, c.num_positions, 0, cache.table()},
                                  {c.num_positions, c.num_positions, 0, cache.table() + 4}};
    const auto joined = [](Floats x, const Floats& y) {
      x.insert(x.end(), y.begin(), y.end());
      return x;
    };
    const Floats q = joined(a.q, b.q);
    const Floats k = joined(a.k, b.k);
    const Floats v = joined(a.v, b.v);
    Floats out(q.size());
    const std::size_t total = 2 * c.num_positions;
    device->store_kv(rows_of(k, kv_width, 0, total), rows_of(v, kv_width, 0, total), rows, c.heads,
                     cache.view());
    device->attention(rows_of(q, width, 0, total), rows, params_of(c), cache.view(),
                      view(out, total));
    EXPECT_TRUE(same_bits(out, joined(alone_a, alone_b))) << set;
  }
}

TEST(AttentionBatchTest, ASequenceDoesNotDependOnItsCompany) {
  expect_independence_of_company({.heads = {6, 2, 48}, .num_positions = 60});
  expect_independence_of_company({.heads = {6, 2, 48}, .num_positions = 60, .bidirectional = true});
}

TEST(AttentionNanTest, ABadKeyReachesTheRowsAfterItAndNoneBefore) {
  for (const auto& [dtype, bad] : {std::pair{DType::kF16, std::numeric_limits<float>::quiet_NaN()},
                                   std::pair{DType::kF16, 1e30f},
                                   std::pair{DType::kQ8_0, std::numeric_limits<float>::quiet_NaN()},
                                   std::pair{DType::kQ8_0, 1e30f}}) {
    const Case c = {.heads = {3, 1, 32}, .num_positions = 50, .dtype = dtype};
    Sequence s = make_sequence(c, 3);
    for (std::size_t i = 0; i < 32; ++i)
      s.v[21 * 32 + i] = bad;
    for (const std::string& set : supported_sets()) {
      const Floats out = run_in_chunks(*make_device(set), c, s, c.num_positions);
      for (std::size_t position = 0; position < c.num_positions; ++position) {
        EXPECT_EQ(std::isfinite(out[position * 96]), position < 21) << set << " " << position;
      }
    }
  }
}

}  // namespace
}  // namespace hearth
