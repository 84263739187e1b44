#include "tokenizer/charsmap.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/utf8.h"

namespace hearth {

namespace {

// A unit of the trie: a label, the distance to the children, and whether a value stands among them.
bool has_leaf(std::uint32_t unit) {
  return ((unit >> 8) & 1u) != 0;
}
std::uint32_t value_of(std::uint32_t unit) {
  return unit & 0x7FFF'FFFFu;
}
std::uint32_t label_of(std::uint32_t unit) {
  return unit & 0x8000'00FFu;
}
std::uint32_t offset_of(std::uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200u) >> 6);
}

bool is_inside_code_point(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u;
}

}  // namespace

Result<CharsMap> CharsMap::parse(std::string_view blob) {
  std::uint32_t trie_bytes = 0;
  if (blob.size() < sizeof(trie_bytes)) {
    return error(StatusCode::kDataLoss, "the normalization table has {} bytes", blob.size());
  }
  std::memcpy(&trie_bytes, blob.data(), sizeof(trie_bytes));
  blob.remove_prefix(sizeof(trie_bytes));
  if (trie_bytes > blob.size() || trie_bytes % sizeof(std::uint32_t) != 0 || trie_bytes == 0) {
    return error(StatusCode::kDataLoss,
                 "the normalization table says that its trie has {} bytes; {} follow", trie_bytes,
                 blob.size());
  }
  CharsMap map;
  map.units_.resize(trie_bytes / sizeof(std::uint32_t));
  std::memcpy(map.units_.data(), blob.data(), trie_bytes);
  map.replacements_ = blob.substr(trie_bytes);
  if (!utf8::is_valid(map.replacements_)) {
    return error(StatusCode::kDataLoss, "the normalization table's replacements are not UTF-8");
  }
  std::string_view rest = map.replacements_;
  while (!rest.empty()) {
    const std::size_t length = std::min(rest.find('\0'), rest.size());
    map.max_replacement_bytes_ = std::max(map.max_replacement_bytes_, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
  if (map.max_replacement_bytes_ > kMaxReplacementBytes) {
    return error(StatusCode::kOutOfRange,
                 "the normalization table has a replacement of {} bytes; the limit is {}",
                 map.max_replacement_bytes_, kMaxReplacementBytes);
  }
  return map;
}

std::optional<CharsMap::Match> CharsMap::find(std::string_view text, bool stop_at_first) const {
  std::optional<Match> found;
  std::size_t node = offset_of(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size()) break;
    const std::uint32_t unit = units_[node];
    if (label_of(unit) != byte) break;
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    // Whole code points only, whatever a broken table says.
    if (is_inside_code_point(text, i + 1)) continue;
    const std::size_t begin = std::min<std::size_t>(value_of(units_[node]), replacements_.size());
    if (is_inside_code_point(replacements_, begin)) continue;
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    found = {.length = i + 1,
             .replacement = rest.substr(0, std::min(rest.find('\0'), rest.size()))};
    if (stop_at_first) break;
  }
  return found;
}

std::optional<CharsMap::Match> CharsMap::longest(std::string_view text) const {
  return find(text, false);
}
std::optional<CharsMap::Match> CharsMap::shortest(std::string_view text) const {
  return find(text, true);
}

Result<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  const bool well_sized = text.size() % 4 == 0;
  for (int i = 0; i < 2 && text.ends_with('='); ++i)
    text.remove_suffix(1);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    const int value = values[static_cast<unsigned char>(c)];
    if (value < 0 || !well_sized) return error(StatusCode::kDataLoss, "a text is no base64");
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    out.push_back(static_cast<char>((bits >> num_bits) & 0xFFu));
  }
  return out;
}

}  // namespace hearth
