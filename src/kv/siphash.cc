#include "kv/siphash.h"

#include <bit>

#include "base/status.h"

namespace hearth {

SipHash128::SipHash128(const std::array<std::uint64_t, 2>& key)
    : state_{key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL ^ 0xee,
             key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL} {}

void SipHash128::round(std::array<std::uint64_t, 4>& v) {
  v[0] += v[1];
  v[2] += v[3];
  v[1] = std::rotl(v[1], 13) ^ v[0];
  v[3] = std::rotl(v[3], 16) ^ v[2];
  v[0] = std::rotl(v[0], 32);
  v[2] += v[1];
  v[0] += v[3];
  v[1] = std::rotl(v[1], 17) ^ v[2];
  v[3] = std::rotl(v[3], 21) ^ v[0];
  v[2] = std::rotl(v[2], 32);
}

void SipHash128::add_word(std::uint64_t word) {
  state_[3] ^= word;
  round(state_);
  round(state_);
  state_[0] ^= word;
  ++num_words_;
}

std::array<std::uint64_t, 2> SipHash128::finish(std::uint64_t tail, unsigned tail_len) const {
  HEARTH_CHECK(tail_len < 8);
  const std::uint64_t tail_mask = (std::uint64_t{1} << (8 * tail_len)) - 1;
  SipHash128 last = *this;
  const std::uint64_t message_len = 8 * num_words_ + tail_len;
  last.add_word((message_len << 56) | (tail & tail_mask));

  last.state_[2] ^= 0xee;
  for (int i = 0; i < 4; ++i)
    round(last.state_);
  const auto fold = [](const std::array<std::uint64_t, 4>& v) { return v[0] ^ v[1] ^ v[2] ^ v[3]; };
  const std::uint64_t first = fold(last.state_);

  last.state_[1] ^= 0xdd;
  for (int i = 0; i < 4; ++i)
    round(last.state_);
  return {first, fold(last.state_)};
}

}  // namespace hearth
