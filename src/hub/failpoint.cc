#include "hub/failpoint.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>

namespace hearth::hub {
namespace {

// In the order in which a download passes them.
constexpr std::array<std::string_view, 13> kNames = {
    "partial-create",   // A file for a download begins.
    "partial-write",    // Bytes that arrived are written.
    "part-sync",        // A part is complete and about to be made durable.
    "part-journal",     // A durable part is about to be noted as done.
    "blob-verify",      // All parts are there; the checksum comes next.
    "blob-sync",        // A verified file is about to be made durable under its temporary name.
    "blob-sums",        // It is durable; the checksums of its parts come next.
    "blob-rename",      // It is about to get its final name.
    "blob-directory",   // That name is about to be made durable.
    "snapshot-links",   // The directory view is about to be made.
    "snapshot-rename",  // It is about to get its final name.
    "manifest-write",   // The model is about to be listed.
    "manifest-done",    // The model is listed; clearing up comes next.
};

}  // namespace

std::span<const std::string_view> Failpoints::names() {
  return kNames;
}

Result<Failpoints> Failpoints::parse(std::string_view text) {
  Failpoints points;
  if (text.empty()) return points;
  points.times_left_ = 1;
  std::string_view rest = text;
  if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
    const std::string_view count = rest.substr(at + 1);
    const auto [end, failure] =
        std::from_chars(count.data(), count.data() + count.size(), points.times_left_);
    if (failure != std::errc() || end != count.data() + count.size() || points.times_left_ == 0) {
      return error(StatusCode::kInvalidArgument, "failpoint '{}': '{}' is no count from 1", text,
                   count);
    }
    rest = rest.substr(0, at);
  }
  if (rest.ends_with("=full")) points.full_ = true;
  rest = rest.substr(0, std::min(rest.find('='), rest.size()));
  points.name_ = rest;
  const std::string_view action = text.substr(rest.size());
  const bool known_action =
      !action.starts_with('=') || action.starts_with("=full") || action.starts_with("=kill");
  if (std::ranges::find(kNames, rest) == kNames.end() || !known_action) {
    return error(StatusCode::kInvalidArgument,
                 "failpoint '{}' is not NAME[=kill|=full][@N] with one of these names: {}", text,
                 fmt::join(kNames, ", "));
  }
  return points;
}

Status Failpoints::hit(std::string_view name) {
  HEARTH_CHECK(std::ranges::find(kNames, name) != kNames.end());
  if (times_left_ == 0 || name != name_ || --times_left_ > 0) return {};
  if (!full_) ::kill(::getpid(), SIGKILL);
  return make_status(StatusCode::kResourceExhausted, "No space left on device (failpoint {})",
                     name);
}

}  // namespace hearth::hub
