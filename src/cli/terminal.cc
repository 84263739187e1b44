#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "base/utf8.h"

namespace hearth {
namespace {

constexpr std::string_view kClosedOutput = "standard output was closed";

std::string scaled(std::uint64_t value, double step, std::span<const std::string_view> units) {
  double scaled_value = static_cast<double>(value);
  std::size_t unit = 0;
  // 1023.95 would print as 1024.0: the next unit is used from there on.
  while (scaled_value >= step - 0.05 && unit + 1 < units.size()) {
    scaled_value /= step;
    ++unit;
  }
  if (unit == 0) return fmt::format("{}{}", value, units[0]);
  return fmt::format("{:.1f}{}", scaled_value, units[unit]);
}

// Columns a terminal uses for a text: its code points.
std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Status print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      return Status(StatusCode::kCancelled, std::string(kClosedOutput));
    } else if (errno != EINTR) {
      return make_status(StatusCode::kDataLoss, "cannot write to standard output: {}",
                         system_error_text(errno));
    }
  }
  return {};
}

bool is_closed_output(const Status& status) {
  return status.code() == StatusCode::kCancelled && status.message() == kClosedOutput;
}

Result<std::string> read_stdin(std::size_t max_bytes) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t count = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      return error(StatusCode::kDataLoss, "cannot read standard input: {}",
                   system_error_text(errno));
    }
    if (text.size() > max_bytes) {
      return error(StatusCode::kOutOfRange, "standard input is longer than {} bytes", max_bytes);
    }
  }
}

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}

bool stdout_is_terminal() {
  return isatty(STDOUT_FILENO) == 1;
}

std::string single_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (const char32_t c : utf8::to_code_points(text)) {
    const bool is_control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    if (!is_control || c == U'\n' || c == U'\t') utf8::append(out, c);
  }
  return out;
}

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::string_view kUnits[] = {" bytes", " KiB", " MiB", " GiB", " TiB"};
  return scaled(bytes, 1024.0, kUnits);
}

std::string human_count(std::uint64_t count) {
  static constexpr std::string_view kUnits[] = {"", " K", " M", " B", " T"};
  return scaled(count, 1000.0, kUnits);
}

std::string format_table(const std::vector<std::vector<std::string>>& rows,
                         const std::vector<bool>& right) {
  std::vector<std::size_t> widths(right.size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - display_width(row[i]), ' ');
      if (i > 0) line += "  ";
      line += right[i] ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace hearth
