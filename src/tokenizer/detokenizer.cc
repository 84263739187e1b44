#include "tokenizer/detokenizer.h"

#include <utility>

#include "base/utf8.h"

namespace hearth {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)), stop_finder_(options_.stop) {}

std::string Detokenizer::push(TokenId id) {
  if (matched_stop_) return {};
  std::string bytes = tokenizer_.token_bytes(id, options_.render_control);
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    if (options_.skip_leading_space && bytes.front() == ' ') {
      bytes.erase(0, 1);
      ++num_bytes_taken_;
    }
  }
  pending_bytes_ += bytes;
  take_code_points(/*at_end=*/false);
  return release(matched_stop_ ? held_text_.size() : held_text_.size() - stop_finder_.open_bytes());
}

std::string Detokenizer::finish() {
  if (!matched_stop_) take_code_points(/*at_end=*/true);
  return release(held_text_.size());
}

void Detokenizer::take_code_points(bool at_end) {
  const std::size_t incomplete = at_end ? 0 : utf8::incomplete_suffix_length(pending_bytes_);
  std::string_view left(pending_bytes_);
  while (left.size() > incomplete && !matched_stop_) {
    const utf8::Decoded decoded = utf8::decode(left);
    left.remove_prefix(decoded.length);
    num_bytes_taken_ += decoded.length;
    hold(decoded.code_point);
  }
  pending_bytes_.erase(0, pending_bytes_.size() - left.size());
}

void Detokenizer::hold(char32_t code_point) {
  std::string text;
  utf8::append(text, code_point);
  for (const char byte : text) {
    held_text_.push_back(byte);
    held_ends_.push_back(num_bytes_taken_);
    matched_stop_ = stop_finder_.push(byte);
    if (!matched_stop_) continue;
    if (!options_.include_stop_in_output) {
      held_text_.resize(held_text_.size() - stop_finder_.length(*matched_stop_));
    }
    return;
  }
}

std::string Detokenizer::release(std::size_t num_bytes) {
  if (num_bytes == 0) return {};
  num_bytes_released_ = held_ends_[num_bytes - 1];
  std::string text = held_text_.substr(0, num_bytes);
  held_text_.erase(0, num_bytes);
  held_ends_.erase(held_ends_.begin(), held_ends_.begin() + static_cast<std::ptrdiff_t>(num_bytes));
  return text;
}

}  // namespace hearth
