#include "sampling/logit_order.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "sampling/exp.h"

namespace hearth {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Values on a coarse grid, so that there are many ties.
std::vector<float> coarse_row(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> row(size);
  for (float& logit : row)
    logit = static_cast<float>(random() % 64) * 0.25f - 8.0f;
  return row;
}

std::vector<OrderKey> sorted_keys(const std::vector<float>& row) {
  std::vector<OrderKey> keys;
  for (std::size_t id = 0; id < row.size(); ++id) {
    keys.push_back(order_key(row[id], static_cast<std::int32_t>(id)));
  }
  std::ranges::sort(keys, std::greater{});
  return keys;
}

TEST(OrderKey, OrdersByLogitThenByLowestId) {
  const float ascending[] = {-kInfinity, -3.0e38f, -1.5f, -1e-45f, 0.0f, 1e-45f, 1.0f, 3.0e38f};
  for (std::size_t i = 1; i < std::size(ascending); ++i) {
    EXPECT_LT(order_key(ascending[i - 1], 0), order_key(ascending[i], 100)) << ascending[i];
  }
  EXPECT_GT(order_key(2.0f, 7), order_key(2.0f, 8));
  EXPECT_EQ(order_key(-0.0f, 3), order_key(0.0f, 3));
  EXPECT_EQ(key_id(order_key(-12.5f, 49151)), 49151);
}

TEST(LogitRow, FindsTheLargestLogitAndItsLowestId) {
  for (std::size_t size = 1; size <= 2 * LogitRow::kBlockLen + 1; ++size) {
    const std::vector<float> logits = coarse_row(size, size);
    LogitRow row(size);
    ASSERT_TRUE(row.assign(logits));
    const auto expected = std::ranges::max_element(logits) - logits.begin();
    ASSERT_EQ(row.argmax(), expected) << "size " << size;
  }
}

TEST(LogitRow, RefusesNanAndPlusInfinityAnywhere) {
  for (const float bad : {kNan, -kNan, kInfinity}) {
    for (std::size_t at = 0; at < 600; at += 23) {
      std::vector<float> logits = coarse_row(600, 1);
      logits[at] = bad;
      LogitRow row(logits.size());
      EXPECT_FALSE(row.assign(logits)) << bad << " at " << at;
    }
  }
  std::vector<float> logits = coarse_row(600, 1);
  logits[300] = -kInfinity;
  LogitRow row(logits.size());
  EXPECT_TRUE(row.assign(logits));
}

TEST(LogitRow, BlockMaximaBoundTheTokensFromBelow) {
  const std::vector<float> logits = coarse_row(20 * LogitRow::kBlockLen, 3);
  const std::vector<OrderKey> sorted = sorted_keys(logits);
  LogitRow row(logits.size());
  ASSERT_TRUE(row.assign(logits));
  for (std::size_t count = 1; count <= 20; ++count) {
    EXPECT_LE(row.reached_by(count), sorted[count - 1]);
    EXPECT_GT(row.reached_by(count), kKeepAll);
  }
  EXPECT_EQ(row.reached_by(21), kKeepAll);
}

TEST(OrderSelector, CountSelectionAgreesWithSorting) {
  std::vector<float> logits = coarse_row(1000, 5);
  for (std::size_t id = 0; id < logits.size(); id += 9)
    logits[id] = -kInfinity;
  const std::vector<OrderKey> sorted = sorted_keys(logits);
  LogitRow row(logits.size());
  ASSERT_TRUE(row.assign(logits));
  OrderSelector selector(logits.size());
  const auto ones = [](const LogitRow::Block&, auto& values) { values.fill(1); };
  for (const double resolution : {0.001, 16.0, 1e9}) {
    for (std::size_t k = 1; k <= logits.size(); k += 7) {
      const auto target = [&](std::uint64_t total) {
        EXPECT_EQ(total, logits.size());
        return k;
      };
      const OrderKey key = selector.select(row, {.buckets_per_unit = resolution}, ones, target);
      ASSERT_EQ(key, sorted[k - 1]) << "k " << k << " resolution " << resolution;
    }
  }
}

TEST(OrderSelector, MassSelectionStopsAtTheFirstTokenThatReachesTheTarget) {
  const std::vector<float> logits = coarse_row(700, 6);
  const std::vector<OrderKey> sorted = sorted_keys(logits);
  const auto mass = [](std::int32_t id) { return static_cast<std::uint64_t>(id) % 5; };
  LogitRow row(logits.size());
  ASSERT_TRUE(row.assign(logits));
  OrderSelector selector(logits.size());
  const auto measure = [&](const LogitRow::Block& block, auto& values) {
    for (std::size_t i = 0; i < block.logits.size(); ++i) {
      values[i] = mass(block.first_id + static_cast<std::int32_t>(i));
    }
  };
  const OrderKey lowest = sorted[500];
  std::size_t expected = 0;
  std::uint64_t reached = mass(key_id(sorted[0]));
  for (std::uint64_t target = 1; target <= 900; target += 3) {
    while (reached < target)
      reached += mass(key_id(sorted[++expected]));
    ASSERT_LE(expected, 500u);
    const auto find = [&](double resolution) {
      return selector.select(row, {.lowest = lowest, .buckets_per_unit = resolution}, measure,
                             [&](std::uint64_t) { return target; });
    };
    ASSERT_EQ(find(16.0), sorted[expected]) << "target " << target;
    ASSERT_EQ(find(0.3), sorted[expected]) << "target " << target;
  }
}

TEST(ExpNonpositive, IsWithinTwoUnitsInTheLastPlace) {
  EXPECT_EQ(exp_nonpositive(0.0), 1.0);
  for (double x = -1e-9; x > -699.0; x *= 1.0007) {
    const double exact = std::exp(x);
    const double unit = std::nextafter(exact, 2.0) - exact;
    ASSERT_LE(std::abs(exp_nonpositive(x) - exact), 2 * unit) << x;
  }
  EXPECT_LT(exp_nonpositive(-kInfinity), 1e-300);
}

}  // namespace
}  // namespace hearth
