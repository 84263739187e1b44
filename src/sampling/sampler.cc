#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "sampling/exp.h"
#include "sampling/logit_order.h"
#include "sampling/random_stream.h"

namespace hearth {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Weights are probabilities relative to the largest one, in units of 2^-42: sums over up to 2^21
// tokens are exact in 64 bits, whatever their order.
constexpr double kWeightRounder = 1024.0;  // Its last place is 2^-42.
constexpr std::size_t kMaxVocabSize = std::size_t{1} << 21;

std::uint64_t weight_of(float logit, double max, double inverse_temperature) {
  const double probability = exp_nonpositive((logit - max) * inverse_temperature);
  return std::bit_cast<std::uint64_t>(probability + kWeightRounder) -
         std::bit_cast<std::uint64_t>(kWeightRounder);
}

// How the logits of tokens that occurred before are changed, and the counts that it takes.
class Penalties {
 public:
  Penalties(const SamplingParams& params, std::size_t vocab_size,
            std::span<const std::int32_t> prompt)
      : repetition_(params.repetition_penalty),
        frequency_(params.frequency_penalty),
        presence_(params.presence_penalty) {
    if (!active()) return;
    seen_.reserve(vocab_size);
    uses_.assign(vocab_size, kUnseen);
    if (repetition_ == 1.0f) return;
    for (const std::int32_t id : prompt)
      mark_seen(id);
  }

  bool active() const { return repetition_ != 1.0f || frequency_ != 0.0f || presence_ != 0.0f; }

  void add_answer_token(std::int32_t id) {
    if (!active()) return;
    mark_seen(id);
    ++uses_[static_cast<std::size_t>(id)];
  }

  void apply(std::span<float> logits) const {
    for (const std::int32_t id : seen_) {
      float& logit = logits[static_cast<std::size_t>(id)];
      logit = logit > 0.0f ? logit / repetition_ : logit * repetition_;
      const std::uint32_t count = uses_[static_cast<std::size_t>(id)] - kSeen;
      if (count > 0) logit -= static_cast<float>(count) * frequency_ + presence_;
    }
  }

 private:
  // An entry of uses_ is kUnseen, or kSeen plus the number of uses in the answer.
  static constexpr std::uint32_t kUnseen = 0;
  static constexpr std::uint32_t kSeen = 1;

  void mark_seen(std::int32_t id) {
    std::uint32_t& uses = uses_[static_cast<std::size_t>(id)];
    if (uses != kUnseen) return;
    uses = kSeen;
    seen_.push_back(id);
  }

  float repetition_;
  float frequency_;
  float presence_;
  std::vector<std::int32_t> seen_;
  std::vector<std::uint32_t> uses_;
};

Status check_range(std::string_view name, float value, double low, double high) {
  if (value >= static_cast<float>(low) && value <= static_cast<float>(high)) return {};
  return make_status(StatusCode::kInvalidArgument, "{} must be between {} and {}, not {}", name,
                     low, high, value);
}

bool in_vocabulary(std::int32_t id, std::size_t vocab_size) {
  return id >= 0 && static_cast<std::size_t>(id) < vocab_size;
}

Status invalid_logits(std::span<const float> logits) {
  const auto bad = std::ranges::find_if(logits, [](float logit) { return !(logit < kInfinity); });
  return make_status(StatusCode::kInternal, "numerical_error: the logit of token {} is {}",
                     bad - logits.begin(), *bad);
}

}  // namespace

Status check_sampling_params(const SamplingParams& params, std::size_t vocab_size) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  HEARTH_RETURN_IF_ERROR(check_range("temperature", params.temperature, 0.0, kLargest));
  HEARTH_RETURN_IF_ERROR(check_range("top_p", params.top_p, kMinTopP, 1.0));
  HEARTH_RETURN_IF_ERROR(check_range("min_p", params.min_p, 0.0, 1.0));
  HEARTH_RETURN_IF_ERROR(check_range("frequency_penalty", params.frequency_penalty, -2.0, 2.0));
  HEARTH_RETURN_IF_ERROR(check_range("presence_penalty", params.presence_penalty, -2.0, 2.0));
  HEARTH_RETURN_IF_ERROR(
      check_range("repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty, 10.0));
  std::unordered_set<std::int32_t> ids;
  for (const auto& [id, bias] : params.logit_bias) {
    if (!in_vocabulary(id, vocab_size)) {
      return make_status(StatusCode::kInvalidArgument,
                         "logit_bias names token {}, but the vocabulary has {} tokens", id,
                         vocab_size);
    }
    if (!ids.insert(id).second) {
      return make_status(StatusCode::kInvalidArgument, "logit_bias names token {} twice", id);
    }
    HEARTH_RETURN_IF_ERROR(check_range(fmt::format("logit_bias of token {}", id), bias, -100, 100));
  }
  return {};
}

struct Sampler::Impl {
  Impl(const SamplingParams& p, std::uint32_t choice, std::size_t size,
       std::span<const std::int32_t> prompt)
      : params(p),
        vocab_size(size),
        inverse_temperature(params.temperature > 0.0f ? 1.0 / params.temperature : 0.0),
        random(params.seed, choice),
        penalties(params, vocab_size, prompt),
        row(vocab_size),
        selector(vocab_size) {
    block_mass.reserve(LogitRow::num_blocks(vocab_size));
  }

  std::span<const float> modify(std::span<const float> logits,
                                std::span<const std::int32_t> banned);
  std::int32_t pick();
  OrderKey last_kept();
  OrderKey top_k_key();
  OrderKey top_p_key(OrderKey lowest);
  void weigh(const LogitRow::Block& block, OrderSelector::BlockMeasure& weights) const;
  std::uint64_t sum_blocks(OrderKey lowest);
  std::int32_t draw(OrderKey lowest);

  SamplingParams params;
  std::size_t vocab_size;
  double inverse_temperature;  // 0 when greedy, which does not use it.
  RandomStream random;
  Penalties penalties;
  LogitRow row;
  OrderSelector selector;
  std::vector<float> modified;
  std::vector<std::uint64_t> block_mass;
};

// The logits after steps 1 to 4; a copy only when one of them does something.
std::span<const float> Sampler::Impl::modify(std::span<const float> logits,
                                             std::span<const std::int32_t> banned) {
  if (!penalties.active() && params.logit_bias.empty() && banned.empty()) return logits;
  modified.assign(logits.begin(), logits.end());
  penalties.apply(modified);
  for (const auto& [id, bias] : params.logit_bias)
    modified[static_cast<std::size_t>(id)] += bias;
  for (const std::int32_t id : banned) {
    if (!in_vocabulary(id, vocab_size)) continue;
    float& logit = modified[static_cast<std::size_t>(id)];
    if (logit < kInfinity) logit = -kInfinity;  // A NaN stays to be found.
  }
  return modified;
}

void Sampler::Impl::weigh(const LogitRow::Block& block,
                          OrderSelector::BlockMeasure& weights) const {
  const double max = row.max();
  for (std::size_t i = 0; i < block.logits.size(); ++i) {
    weights[i] = weight_of(block.logits[i], max, inverse_temperature);
  }
}

// Fills block_mass with the weights of the tokens up to `lowest` and returns their sum.
std::uint64_t Sampler::Impl::sum_blocks(OrderKey lowest) {
  OrderSelector::BlockMeasure weights;
  block_mass.assign(row.num_blocks(), 0);
  std::uint64_t total = 0;
  for (std::size_t idx = 0; idx < row.num_blocks(); ++idx) {
    if (!row.block_reaches(idx, lowest)) continue;
    const LogitRow::Block block = row.block(idx);
    weigh(block, weights);
    std::uint64_t mass = 0;
    for (std::size_t i = 0; i < block.logits.size(); ++i) {
      const OrderKey key =
          order_key(block.logits[i], block.first_id + static_cast<std::int32_t>(i));
      mass += key >= lowest ? weights[i] : 0;
    }
    block_mass[idx] = mass;
    total += mass;
  }
  return total;
}

OrderKey Sampler::Impl::top_k_key() {
  const OrderSelector::Scope scope{.lowest = row.reached_by(params.top_k)};
  return selector.select(
      row, scope, [](const LogitRow::Block&, auto& counts) { counts.fill(1); },
      [this](std::uint64_t) { return std::uint64_t{params.top_k}; });
}

OrderKey Sampler::Impl::top_p_key(OrderKey lowest) {
  const OrderSelector::Scope scope{.lowest = lowest,
                                   .buckets_per_unit = 16.0 * inverse_temperature};
  return selector.select(
      row, scope, [this](const LogitRow::Block& block, auto& weights) { weigh(block, weights); },
      [this](std::uint64_t total) {
        const double wanted = std::ceil(double{params.top_p} * static_cast<double>(total));
        return std::clamp(static_cast<std::uint64_t>(wanted), std::uint64_t{1}, total);
      });
}

// Step 6: the last token that all filters keep.
OrderKey Sampler::Impl::last_kept() {
  OrderKey lowest = kKeepAll;
  if (params.top_k > 0 && params.top_k < vocab_size) lowest = top_k_key();
  if (params.top_p < 1.0f) lowest = top_p_key(lowest);
  if (params.min_p > 0.0f) {
    constexpr double kLeast = std::numeric_limits<float>::lowest();
    const double bound =
        std::max(kLeast, row.max() + params.temperature * std::log(double{params.min_p}));
    auto least_logit = static_cast<float>(bound);
    if (least_logit < bound) least_logit = std::nextafter(least_logit, kInfinity);
    lowest = std::max(lowest, last_key(least_logit));
  }
  return lowest;
}

// Step 7: a token up to `lowest`, with probability proportional to its weight.
std::int32_t Sampler::Impl::draw(OrderKey lowest) {
  std::uint64_t rest = random.below(sum_blocks(lowest));
  std::size_t idx = 0;
  while (rest >= block_mass[idx])
    rest -= block_mass[idx++];

  OrderSelector::BlockMeasure weights;
  const LogitRow::Block block = row.block(idx);
  weigh(block, weights);
  for (std::size_t i = 0; i < block.logits.size(); ++i) {
    const std::int32_t id = block.first_id + static_cast<std::int32_t>(i);
    if (order_key(block.logits[i], id) < lowest) continue;
    if (rest < weights[i]) return id;
    rest -= weights[i];
  }
  HEARTH_CHECK(false);  // The block's weights sum up to block_mass[idx].
}

std::int32_t Sampler::Impl::pick() {
  if (params.temperature == 0.0f) return row.argmax();
  return draw(last_kept());
}

Sampler::Sampler(const SamplingParams& params, std::uint32_t choice, std::size_t vocab_size,
                 std::span<const std::int32_t> prompt) {
  HEARTH_CHECK(vocab_size > 0 && vocab_size <= kMaxVocabSize);
  HEARTH_CHECK(check_sampling_params(params, vocab_size).ok());
  impl_ = std::make_unique<Impl>(params, choice, vocab_size, prompt);
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

Result<std::int32_t> Sampler::sample(std::span<const float> logits,
                                     std::span<const std::int32_t> banned) {
  HEARTH_CHECK(logits.size() == impl_->vocab_size);
  if (!impl_->row.assign(impl_->modify(logits, banned))) {
    return std::unexpected(invalid_logits(impl_->row.logits()));
  }
  if (impl_->row.max() == -kInfinity) {
    return error(StatusCode::kInternal, "numerical_error: every token is banned");
  }
  const std::int32_t id = impl_->pick();
  impl_->penalties.add_answer_token(id);
  return id;
}

}  // namespace hearth
