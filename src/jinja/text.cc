#include "jinja/text.h"

#include <algorithm>

#include "base/utf8.h"

namespace hearth::jinja {
namespace {

bool is_ascii(std::string_view bytes) {
  return std::ranges::none_of(bytes,
                              [](char c) { return (static_cast<unsigned char>(c) & 0x80) != 0; });
}

bool starts_code_point(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

}  // namespace

void Marks::append(std::size_t num_bytes, Origin origin) {
  if (num_bytes == 0) return;
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end += num_bytes;
  } else {
    runs_.push_back({size() + num_bytes, origin});
  }
}

void Marks::append(const Marks& other, std::size_t begin, std::size_t end) {
  std::size_t position = begin;
  for (std::size_t i = other.run_at(begin); position < end; ++i) {
    // A copy: `other` may be this object.
    const Run run = other.runs_[i];
    const std::size_t stop = std::min(run.end, end);
    append(stop - position, run.origin);
    position = stop;
  }
}

std::size_t Marks::run_at(std::size_t position) const {
  if (!runs_.empty() && position < runs_.front().end) return 0;
  const auto found = std::ranges::upper_bound(runs_, position, {}, &Run::end);
  return static_cast<std::size_t>(found - runs_.begin());
}

Origin Marks::at(std::size_t position) const {
  return runs_[run_at(position)].origin;
}

bool Marks::any(Origin origin, std::size_t begin, std::size_t end) const {
  if (begin >= end) return false;
  for (std::size_t i = run_at(begin); i < runs_.size(); ++i) {
    if (runs_[i].origin == origin) return true;
    if (runs_[i].end >= end) return false;
  }
  return false;
}

TextBuffer::TextBuffer(std::string_view bytes, Origin origin)
    : borrowed_(bytes), ascii_(is_ascii(bytes)) {
  marks_.append(bytes.size(), origin);
}

TextBuffer::TextBuffer(std::string bytes, Marks marks)
    : owned_(std::move(bytes)),
      marks_(std::move(marks)),
      growable_(true),
      ascii_(is_ascii(owned_)) {}

void TextBuffer::append(std::string_view bytes, const Marks& marks, std::size_t begin) {
  ascii_ = ascii_ && is_ascii(bytes);
  marks_.append(marks, begin, begin + bytes.size());
  owned_.append(bytes);
}

Origin Text::origin() const {
  return buffer->marks().any(Origin::kInput, offset, offset + size) ? Origin::kInput
                                                                    : Origin::kTemplate;
}

std::size_t Text::length() const {
  if (ascii()) return size;
  return static_cast<std::size_t>(std::ranges::count_if(view(), starts_code_point));
}

std::size_t Text::byte_offset(std::size_t code_point_idx) const {
  if (ascii()) return std::min(code_point_idx, size);
  const std::string_view bytes = view();
  std::size_t seen = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (!starts_code_point(bytes[i])) continue;
    if (seen == code_point_idx) return i;
    ++seen;
  }
  return bytes.size();
}

void TextBuilder::append(std::string_view bytes, Origin origin) {
  bytes_.append(bytes);
  marks_.append(bytes.size(), origin);
}

void TextBuilder::append(const Text& text, std::size_t begin, std::size_t end) {
  bytes_.append(text.view().substr(begin, end - begin));
  marks_.append(text.buffer->marks(), text.offset + begin, text.offset + end);
}

void TextBuilder::append(char32_t code_point, Origin origin) {
  const std::size_t before = bytes_.size();
  utf8::append(bytes_, code_point);
  marks_.append(bytes_.size() - before, origin);
}

void TextBuilder::append(const TextBuilder& other) {
  bytes_.append(other.bytes_);
  marks_.append(other.marks_, 0, other.bytes_.size());
}

void TextBuilder::append_repeated(std::string_view bytes, std::size_t times, Origin origin) {
  bytes_.reserve(bytes_.size() + bytes.size() * times);
  for (std::size_t i = 0; i < times; ++i)
    bytes_.append(bytes);
  marks_.append(bytes.size() * times, origin);
}

char32_t TextCursor::next() {
  const auto first = static_cast<unsigned char>(bytes_[position_]);
  if (first < 0x80) {
    ++position_;
    return first;
  }
  const utf8::Decoded decoded = utf8::decode(bytes_.substr(position_));
  position_ += decoded.length;
  return decoded.code_point;
}

}  // namespace hearth::jinja
