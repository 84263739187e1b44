// Server-sent events out of the bytes of a response, as the HTML standard defines them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace hearth::loadgen {

// Bytes come in pieces of any size; an event is there when its empty line is. Lines end with LF, CR
// or CRLF. Comments and all fields but `data` are skipped; an event without data is none. Not
// thread-safe.
class EventStream {
 public:
  // To be followed by next() until there is none. False when a line or an event is longer than
  // max_event_bytes; the rest of the stream is then ignored.
  bool push(std::string_view bytes);
  // The data of the next complete event, its lines joined by LF.
  std::optional<std::string> next();

  static constexpr std::size_t max_event_bytes = std::size_t{4} << 20;

 private:
  bool next_line(std::string_view& line);
  void take_line(std::string_view line);

  std::string buffer_;
  std::size_t position_ = 0;  // Of the first byte in buffer_ that is not read yet.
  std::size_t searched_ = 0;  // No line ends before this byte, from position_ on.
  std::string data_;          // Of the event under way.
  bool has_data_ = false;
  bool at_start_ = true;         // A byte-order mark may only come here.
  bool skip_line_feed_ = false;  // After a CR that ended a line.
  bool overflowed_ = false;
};

}  // namespace hearth::loadgen
