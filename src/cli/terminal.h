// Standard input and output of a command, and text made for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

// Writes to standard output at once. When the reader has gone away the error satisfies
// is_closed_output(), which ends a command quietly; any other error is a failure.
Status print(std::string_view text);
bool is_closed_output(const Status& status);

// Everything on standard input, exactly. kOutOfRange beyond `max_bytes`.
Result<std::string> read_stdin(std::size_t max_bytes);

bool stdin_is_terminal();
bool stdout_is_terminal();

// Control characters as \xNN, so that foreign text cannot forge lines or drive the terminal.
std::string single_line(std::string_view text);

// Without control characters other than newline and tab: what may be streamed to a terminal.
std::string without_controls(std::string_view text);

// "93.8 MiB", "134.5 M"; below 1024 bytes and 1000 units exactly.
std::string human_bytes(std::uint64_t bytes);
std::string human_count(std::uint64_t count);

// Rows of cells as lines, columns two spaces apart; right[i] aligns column i to the right. No
// blanks at line ends.
std::string format_table(const std::vector<std::vector<std::string>>& rows,
                         const std::vector<bool>& right);

}  // namespace hearth
