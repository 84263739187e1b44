// The hub's HTTP interface as text in and values out: addresses, answers and failures. Every answer
// is untrusted. (https://huggingface.co/docs/hub/api)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "hub/selection.h"

namespace hearth::hub {

// Bytes [begin, end) of a file.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t size() const { return end - begin; }
};

// Status and headers of an answer, with the headers of the redirects that led to it before its own.
struct HttpHead {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // Names in lower case.

  // The last one of that name, given in lower case; nullptr when there is none.
  const std::string* find(std::string_view name) const;
};

// `endpoint` has no slash at its end; parts of paths are escaped.
std::string revision_url(std::string_view endpoint, std::string_view repository,
                         std::string_view revision);
std::string tree_url(std::string_view endpoint, std::string_view repository,
                     std::string_view commit);
std::string search_url(std::string_view endpoint, std::string_view words);
std::string file_url(std::string_view endpoint, std::string_view repository,
                     std::string_view commit, std::string_view path);
// Without query and fragment, which may hold a signature: for messages.
std::string shown_url(std::string_view url);

// The commit in an answer to revision_url().
Result<std::string> parse_commit(std::string_view text);
// The files in an answer to tree_url(). Entries with a path that is_safe_path() refuses are left
// out: no model needs them.
Result<std::vector<RemoteFile>> parse_tree(std::string_view text);
// Repository names in an answer to search_url(); empty when it is malformed.
std::vector<std::string> parse_search(std::string_view text);
// The address of the next page in a Link header (RFC 8288); empty when there is none.
std::string next_page(std::string_view link_header);

// A Content-Range header: the range and the size of the whole.
struct ContentRange {
  ByteRange range;
  std::uint64_t total_bytes = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text);
// A whole number of bytes or seconds.
std::optional<std::uint64_t> parse_count(std::string_view text);
// An ETag without its quotes; empty for a weak one, which does not name exact bytes.
std::string strong_etag(const std::string* header);

// What a status that is no success means to the user. `body` is what came with it, `had_token` says
// whether the request carried one.
struct HttpFailure {
  const HttpHead& head;
  std::string_view url;
  std::string_view body;
  bool had_token = false;
};
Status failure_status(const HttpFailure& failure);

}  // namespace hearth::hub
