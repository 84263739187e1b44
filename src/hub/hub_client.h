// HTTP to a hub and the servers it sends us to: several transfers at a time, with redirects,
// retries and resumption. libcurl stays behind this header. An object of this class is the only
// thing in Hearth that connects to another machine on its own; working offline means never making
// one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "hub/hub_protocol.h"

namespace hearth::hub {

struct HubOptions {
  std::string endpoint = "https://huggingface.co";  // http:// only where the user wrote it.
  std::string token = {};                           // Empty: none.
  std::string user_agent = "hearth";
  // PEM file of the authorities whose certificates are believed; empty: the system's.
  std::string ca_file = {};
  std::size_t max_connections = 8;
  std::size_t max_attempts = 6;                // In a row without a byte of progress.
  std::chrono::milliseconds retry_delay{500};  // Before the second attempt; doubles, with jitter.
  std::chrono::milliseconds stall_timeout{30'000};
};

struct Fetch {
  std::size_t id = 0;  // Chosen by the handler.
  std::string url;
  std::optional<ByteRange> range = std::nullopt;  // Not empty. Absent: everything.
};

// What a run of transfers asks and tells. Called on the thread of run(), never concurrently. An
// error from any method ends the run with that error.
class FetchHandler {
 public:
  virtual ~FetchHandler() = default;
  // The next thing to fetch, or nullopt when there is none.
  virtual std::optional<Fetch> next() = 0;
  // A successful answer begins (status 200 or 206); data continue after `received` bytes of the
  // fetch. Called again for every attempt.
  virtual Status on_head(std::size_t id, const HttpHead& head, std::uint64_t received) = 0;
  virtual Status on_data(std::size_t id, std::string_view data) = 0;
  // The answer is complete; with a range, all its bytes are there.
  virtual Status on_done(std::size_t id) = 0;
  // Called a few times a second: the place to notice that the user has had enough.
  virtual Status on_tick() { return {}; }
};

// Not thread-safe.
class HubClient {
 public:
  // kInvalidArgument for an endpoint that is no http:// or https:// address, or a token that would
  // cross a network unencrypted.
  static Result<std::unique_ptr<HubClient>> create(HubOptions options);
  ~HubClient();
  HubClient(const HubClient&) = delete;
  HubClient& operator=(const HubClient&) = delete;

  const HubOptions& options() const { return options_; }

  // Fetches until the handler has nothing left. Interrupted transfers go on where they were; what
  // may pass (connections, status 408, 429 and 5xx) is tried again. The token goes to the
  // endpoint's scheme, host and port alone; from https:// nothing leads to http://.
  Status run(FetchHandler& handler);

  struct Answer {
    HttpHead head;
    std::string body;
  };
  // One answer in memory. kOutOfRange beyond `max_bytes`. `tick` is called as on_tick().
  Result<Answer> get(const std::string& url, std::size_t max_bytes, FetchHandler* tick = nullptr);

 private:
  class Session;
  struct Impl;
  explicit HubClient(HubOptions options);

  HubOptions options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::hub
