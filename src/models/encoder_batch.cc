#include "models/encoder_batch.h"

#include <algorithm>
#include <numeric>

namespace hearth {
namespace {

std::size_t num_blocks(const EncoderLimits& limits) {
  return limits.max_batch_tokens / kKvPositionLanes + limits.max_batch_sequences;
}

}  // namespace

void EncoderBatch::reserve(const EncoderLimits& limits) {
  sequences.reserve(limits.max_batch_sequences);
  for (auto* per_token : {&tokens, &token_types, &positions, &row_ids})
    per_token->resize(limits.max_batch_tokens);
  mean_weights.resize(limits.max_batch_tokens);
  read_rows.resize(limits.max_batch_sequences);
  block_ids.resize(num_blocks(limits));
  std::iota(row_ids.begin(), row_ids.end(), 0);
  std::iota(block_ids.begin(), block_ids.end(), 0);
}

std::size_t EncoderBatch::bytes() const {
  std::size_t count = mean_weights.size() + read_rows.size() + block_ids.size();
  for (const auto* per_token : {&tokens, &token_types, &positions, &row_ids})
    count += per_token->size();
  return count * sizeof(std::int32_t);
}

void EncoderBatch::pack(std::span<const EncoderInput> inputs, const EncoderConfig& config,
                        Pooling read) {
  HEARTH_CHECK(inputs.size() <= read_rows.size());
  sequences.clear();
  std::size_t row = 0;
  std::size_t block = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const EncoderInput& input = inputs[i];
    const std::size_t count = input.tokens.size();
    HEARTH_CHECK(count > 0 && count <= config.max_tokens);
    HEARTH_CHECK(row + count <= tokens.size());
    HEARTH_CHECK(input.token_types.empty() || input.token_types.size() == count);
    std::ranges::copy(input.tokens, tokens.data() + row);
    std::fill_n(token_types.data() + row, count, 0);
    std::ranges::copy(input.token_types, token_types.data() + row);
    std::iota(positions.data() + row, positions.data() + row + count, 0);
    std::fill_n(mean_weights.data() + row, count, 1.0f / static_cast<float>(count));
    read_rows[i] = static_cast<std::int32_t>(read == Pooling::kLast ? row + count - 1 : row);
    sequences.push_back({.first_row = row,
                         .num_rows = count,
                         .first_position = 0,
                         .block_table = block_ids.data() + block});
    row += count;
    block += (count + kKvPositionLanes - 1) / kKvPositionLanes;
  }
  num_tokens = row;
}

Result<KvStorage> make_encoder_kv(const HeadShape& heads, const EncoderLimits& limits) {
  return KvStorage::create({.num_layers = 1,
                            .num_kv_heads = heads.num_kv_heads,
                            .head_dim = heads.head_dim,
                            .block_size = kKvPositionLanes,
                            .num_blocks = num_blocks(limits),
                            .value_dim = heads.value_dim});
}

Status check_encoder_limits(const EncoderLimits& limits) {
  constexpr std::size_t kMax = std::size_t{1} << 30;
  const auto possible = [](std::size_t count) { return count > 0 && count <= kMax; };
  if (possible(limits.max_batch_tokens) && possible(limits.max_batch_sequences)) return {};
  return make_status(StatusCode::kInvalidArgument,
                     "batches of {} tokens in {} sequences; each must be 1 to {}",
                     limits.max_batch_tokens, limits.max_batch_sequences, kMax);
}

}  // namespace hearth
