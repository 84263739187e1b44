#include "loadgen/event_stream.h"

#include <algorithm>
#include <utility>

namespace hearth::loadgen {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kLineEnds = "\r\n";
constexpr std::string_view kData = "data";

}  // namespace

bool EventStream::push(std::string_view bytes) {
  if (overflowed_) return false;
  buffer_.erase(0, position_);
  searched_ -= std::exchange(position_, 0);
  buffer_.append(bytes);
  const bool line_is_open = bytes.find_first_of(kLineEnds) == std::string_view::npos;
  overflowed_ =
      data_.size() > max_event_bytes || (line_is_open && buffer_.size() > max_event_bytes);
  return !overflowed_;
}

bool EventStream::next_line(std::string_view& line) {
  if (skip_line_feed_ && position_ < buffer_.size()) {
    if (buffer_[position_] == '\n') searched_ = ++position_;
    skip_line_feed_ = false;
  }
  const std::size_t end = buffer_.find_first_of(kLineEnds, std::max(searched_, position_));
  searched_ = std::min(end, buffer_.size());
  if (end == std::string::npos) return false;
  line = std::string_view(buffer_).substr(position_, end - position_);
  skip_line_feed_ = buffer_[end] == '\r';
  position_ = searched_ = end + 1;
  if (std::exchange(at_start_, false) && line.starts_with(kByteOrderMark)) {
    line.remove_prefix(kByteOrderMark.size());
  }
  return true;
}

void EventStream::take_line(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (line.substr(0, colon) != kData) return;
  std::string_view value = colon == std::string_view::npos ? "" : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (has_data_) data_ += '\n';
  has_data_ = true;
  data_ += value;
}

std::optional<std::string> EventStream::next() {
  if (overflowed_) return std::nullopt;
  std::string_view line;
  while (next_line(line)) {
    if (!line.empty()) {
      take_line(line);
    } else if (std::exchange(has_data_, false)) {
      return std::exchange(data_, {});
    }
  }
  return std::nullopt;
}

}  // namespace hearth::loadgen
