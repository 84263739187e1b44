#include "base/utf8.h"

namespace hearth::utf8 {

namespace {

constexpr std::uint32_t byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// One row of table 3-7: how long a sequence is and which second bytes it allows. Later bytes are
// always 0x80 to 0xBF.
struct LeadByte {
  std::size_t length = 0;  // 0: not a lead byte.
  std::uint32_t second_min = 0x80;
  std::uint32_t second_max = 0xBF;
};

constexpr LeadByte classify(std::uint32_t lead) {
  if (lead < 0x80) return {.length = 1};
  if (lead < 0xC2) return {.length = 0};
  if (lead < 0xE0) return {.length = 2};
  if (lead == 0xE0) return {.length = 3, .second_min = 0xA0};
  if (lead == 0xED) return {.length = 3, .second_max = 0x9F};
  if (lead < 0xF0) return {.length = 3};
  if (lead == 0xF0) return {.length = 4, .second_min = 0x90};
  if (lead < 0xF4) return {.length = 4};
  if (lead == 0xF4) return {.length = 4, .second_max = 0x8F};
  return {.length = 0};
}

// Number of bytes at the start of `text` that form a prefix of some valid sequence, at most the
// sequence's whole length.
std::size_t matching_prefix(std::string_view text, const LeadByte& lead) {
  std::size_t length = 1;
  while (length < lead.length && length < text.size()) {
    const std::uint32_t byte = byte_at(text, length);
    const bool second = length == 1;
    if (byte < (second ? lead.second_min : 0x80) || byte > (second ? lead.second_max : 0xBF)) break;
    ++length;
  }
  return length;
}

}  // namespace

Decoded decode(std::string_view text) {
  if (text.empty()) return {};
  const std::uint32_t first = byte_at(text, 0);
  const LeadByte lead = classify(first);
  if (lead.length == 1) return {.code_point = first, .length = 1, .valid = true};
  if (lead.length == 0) return {.length = 1};
  const std::size_t length = matching_prefix(text, lead);
  if (length < lead.length) return {.length = length};
  std::uint32_t code_point = first & (0x7Fu >> lead.length);
  for (std::size_t i = 1; i < length; ++i) {
    code_point = (code_point << 6) | (byte_at(text, i) & 0x3F);
  }
  return {.code_point = code_point, .length = length, .valid = true};
}

void append(std::string& out, char32_t code_point) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  std::uint32_t c = code_point;
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = kReplacement;
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t first_invalid(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const Decoded decoded = decode(text.substr(i));
    if (!decoded.valid) return i;
    i += decoded.length;
  }
  return std::string_view::npos;
}

bool is_valid(std::string_view text) {
  return first_invalid(text) == std::string_view::npos;
}

std::string sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded decoded = decode(text);
    if (decoded.valid) {
      out.append(text.substr(0, decoded.length));
    } else {
      append(out, kReplacement);
    }
    text.remove_prefix(decoded.length);
  }
  return out;
}

std::vector<char32_t> to_code_points(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded decoded = decode(text);
    out.push_back(decoded.code_point);
    text.remove_prefix(decoded.length);
  }
  return out;
}

std::size_t incomplete_suffix_length(std::string_view text) {
  for (std::size_t length = 1; length <= 3 && length <= text.size(); ++length) {
    const std::string_view suffix = text.substr(text.size() - length);
    const std::uint32_t first = byte_at(suffix, 0);
    if (first >= 0x80 && first <= 0xBF) continue;  // A continuation byte: its lead is further left.
    const LeadByte lead = classify(first);
    return lead.length > length && matching_prefix(suffix, lead) == length ? length : 0;
  }
  return 0;
}

}  // namespace hearth::utf8
