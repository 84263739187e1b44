// A download that survives its process: the file below partial/ and, beside it, a journal of the
// parts that are durable.
//
// The journal is text: "hearth-parts 1 SIZE PART_BYTES", "etag TEXT" once the server has named one,
// and "IDX SHA256" for each part, written after the part's bytes are synced. A line that a crash
// cut off does not count. A resumed part counts when its bytes still have that SHA-256.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/descriptor.h"
#include "base/status.h"
#include "hub/failpoint.h"
#include "hub/hub_protocol.h"
#include "hub/pull_observer.h"

namespace hearth::hub {

struct PartialFileOptions {
  std::filesystem::path path;
  std::uint64_t size_bytes = 0;
  std::uint64_t part_bytes = 0;  // At least 1; becomes larger where there were too many parts.
};

// Owns the file's lock, so that no two processes write one file. Move only; not thread-safe.
class PartialFile {
 public:
  // Waits while another process holds the file; kCancelled when `observer` says so. Reads the
  // journal and checks the parts it names. The references outlive the result.
  static Result<PartialFile> open(PartialFileOptions options, PullObserver& observer,
                                  Failpoints& failpoints);

  std::size_t num_parts() const { return part_sha256_.size(); }  // At least 1.
  ByteRange part(std::size_t idx) const;
  bool has_part(std::size_t idx) const { return !part_sha256_[idx].empty(); }
  bool complete() const;
  std::uint64_t bytes_done() const;
  const std::string& etag() const { return etag_; }

  // Bytes at an offset within the file.
  Status write(std::uint64_t offset, std::string_view data);
  Status set_etag(std::string_view etag);
  // The part's bytes are written and have this digest: makes them durable, then says so in the
  // journal.
  Status finish_part(std::size_t idx, const std::string& sha256);
  // Forgets every part. Without `in_parts` the file is one part from here on.
  Status restart(bool in_parts);

  // Of the whole, complete file.
  Result<std::string> sha256() const;
  // git's name of the file.
  Result<std::string> git_sha1() const;

  const std::filesystem::path& path() const { return options_.path; }
  // Removes the journal, after the file at `path` has become a blob; or both, when it is wrong.
  static void forget_journal(const std::filesystem::path& path);
  void forget_journal() const { forget_journal(options_.path); }
  void discard() const;

 private:
  PartialFile(PartialFileOptions options, Failpoints& failpoints)
      : options_(std::move(options)), failpoints_(&failpoints) {}
  Status lock(PullObserver& observer);
  Status read_journal(PullObserver& observer);
  Status begin_journal();
  Status append(std::string_view line);
  static std::filesystem::path journal_of(std::filesystem::path path) { return path += ".parts"; }
  std::filesystem::path journal_path() const { return journal_of(options_.path); }

  PartialFileOptions options_;
  Failpoints* failpoints_;
  Descriptor file_;
  Descriptor journal_;
  std::string etag_;
  std::vector<std::string> part_sha256_;  // Empty: not there.
};

}  // namespace hearth::hub
