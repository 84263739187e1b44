// Downloads a set of files into the registry: in parts, several at a time, resumed, checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hub/digest.h"
#include "hub/hub_client.h"
#include "hub/manifest.h"
#include "hub/model_store.h"
#include "hub/partial_file.h"
#include "hub/pull_observer.h"

namespace hearth::hub {

struct DownloadFile {
  RemoteFile file;  // Without any checksum: taken as it comes.
  std::string url;
  std::string commit;  // What X-Repo-Commit must say, if it is said; empty: anything.
};

struct DownloadOptions {
  std::uint64_t part_bytes = std::uint64_t{32} << 20;
};

// One download of several files. Not thread-safe. The references outlive it.
class Download final : public FetchHandler {
 public:
  Download(StoreWriter& writer, PullObserver& observer, const DownloadOptions& options)
      : writer_(writer), observer_(observer), options_(options) {}

  // Takes the locks, finds out what is there already, and checks that the disk has room for the
  // rest; kResourceExhausted says how much is missing.
  Status open(std::vector<DownloadFile> files);
  // Fetches, checks and stores what is missing. An error leaves a state that goes on from there.
  Result<std::vector<ManifestFile>> run(HubClient& client);

  std::uint64_t new_bytes() const { return new_bytes_; }

  std::optional<Fetch> next() override;
  Status on_head(std::size_t id, const HttpHead& head, std::uint64_t received) override;
  Status on_data(std::size_t id, std::string_view data) override;
  Status on_done(std::size_t id) override;
  Status on_tick() override;

 private:
  struct File {
    DownloadFile source;
    std::string key;
    std::string sha256;                  // Known once it is a blob.
    std::optional<PartialFile> partial;  // Absent once it is a blob.
    bool in_parts = true;                // False: the server knows no ranges.
    std::uint64_t bytes_done = 0;
  };
  struct Part {  // Under way.
    std::size_t file_idx = 0;
    std::size_t part_idx = 0;
    std::uint64_t received = 0;
    Digest digest;
  };

  Status open_file(File& file);
  Status check_room() const;
  Status check_head(const File& file, const HttpHead& head) const;
  Status check_range(File& file, const Part& part, const HttpHead& head);
  Status check_etag(File& file, const HttpHead& head);
  Status start_anew(File& file, std::string_view why, bool in_parts);
  Status store(File& file);
  Status check_sum(const File& file, const std::string& sha256) const;
  void tell(const File& file, bool file_done);

  StoreWriter& writer_;
  PullObserver& observer_;
  DownloadOptions options_;
  std::vector<File> files_;
  std::map<std::size_t, Part> parts_;
  std::size_t next_id_ = 0;
  std::size_t num_restarts_ = 0;
  bool restarting_ = false;  // The error that ended the run only asks for another one.
  std::uint64_t new_bytes_ = 0;
};

}  // namespace hearth::hub
