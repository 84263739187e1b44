// What a long download or copy tells, and how it is stopped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hearth::hub {

struct PullProgress {
  std::string_view path;  // The file that grew or was finished last.
  std::uint64_t file_bytes = 0;
  std::uint64_t file_size_bytes = 0;
  std::uint64_t bytes = 0;  // Over all files, with what was there before.
  std::uint64_t size_bytes = 0;
  std::uint64_t new_bytes = 0;  // Fetched by this run.
  bool file_done = false;       // Checked and in its place.
};

// Called on the thread that pulls.
class PullObserver {
 public:
  virtual ~PullObserver() = default;
  // True once the user wants to stop; asked a few times a second.
  virtual bool cancelled() { return false; }
  virtual void on_progress(const PullProgress&) {}
  // One line about something that happened.
  virtual void on_note(std::string_view) {}
};

}  // namespace hearth::hub
