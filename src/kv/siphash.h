// SipHash-2-4 with a 128-bit result: a keyed hash that nobody without the key can find collisions
// for. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), and the authors'
// 128-bit extension (the length-extended finalisation with the constants 0xee and 0xdd).
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace hearth {

// Fed with little-endian 64-bit words; the message is their concatenation. A value type: copy it to
// branch off a common prefix.
class SipHash128 {
 public:
  explicit SipHash128(const std::array<std::uint64_t, 2>& key);

  void add_word(std::uint64_t word);
  // The hash of all words added, followed by the `tail_len` (0 to 7) low bytes of `tail`.
  std::array<std::uint64_t, 2> finish(std::uint64_t tail = 0, unsigned tail_len = 0) const;

 private:
  static void round(std::array<std::uint64_t, 4>& v);

  std::array<std::uint64_t, 4> state_;
  std::uint64_t num_words_ = 0;
};

}  // namespace hearth
