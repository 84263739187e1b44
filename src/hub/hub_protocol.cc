#include "hub/hub_protocol.h"

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "hub/digest.h"
#include "hub/manifest.h"

namespace hearth::hub {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 50;

bool is_unreserved(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

// Slashes stay: what is escaped here is a path.
std::string escaped(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (is_unreserved(c) || c == '/') {
      out.push_back(c);
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

const json::Object* object_field(const json::Object& object, std::string_view key) {
  const json::Value* value = object.find(key);
  return value == nullptr ? nullptr : value->as_object();
}

std::string text_field(const json::Object& object, std::string_view key) {
  const json::Value* value = object.find(key);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? "" : *text;
}

Result<json::Value> parse_answer(std::string_view text) {
  Result<json::Value> value = json::parse(text);
  if (value.has_value()) return value;
  return error(StatusCode::kDataLoss, "the hub's answer is no JSON: {}", value.error().message());
}

Result<RemoteFile> parse_entry(const json::Object& entry, std::string path) {
  RemoteFile file{.path = std::move(path), .size_bytes = 0, .sha256 = {}, .git_sha1 = {}};
  const json::Value* size = entry.find("size");
  const bool sized =
      size != nullptr && size->to_uint64(file.size_bytes) && file.size_bytes <= kMaxFileBytes;
  if (const json::Object* lfs = object_field(entry, "lfs"); lfs != nullptr) {
    file.sha256 = text_field(*lfs, "oid");
    if (file.sha256.starts_with("sha256:")) file.sha256.erase(0, 7);
  } else {
    file.git_sha1 = text_field(entry, "oid");
  }
  const bool named = file.sha256.empty() ? is_sha1(file.git_sha1) : is_sha256(file.sha256);
  if (!sized || !named) {
    return error(StatusCode::kDataLoss, "the hub lists '{}' without a usable size and checksum",
                 file.path);
  }
  return file;
}

// What the answer itself says, on one line.
std::string explanation(const HttpFailure& failure) {
  if (const std::string* text = failure.head.find("x-error-message"); text != nullptr) return *text;
  const auto value = json::parse(failure.body);
  const json::Object* object = value.has_value() ? value->as_object() : nullptr;
  return object == nullptr ? "" : text_field(*object, "error");
}

}  // namespace

const std::string* HttpHead::find(std::string_view name) const {
  const auto found = std::ranges::find(headers.rbegin(), headers.rend(), name,
                                       &std::pair<std::string, std::string>::first);
  return found == headers.rend() ? nullptr : &found->second;
}

std::string revision_url(std::string_view endpoint, std::string_view repository,
                         std::string_view revision) {
  return fmt::format("{}/api/models/{}/revision/{}", endpoint, escaped(repository),
                     escaped(revision));
}

std::string tree_url(std::string_view endpoint, std::string_view repository,
                     std::string_view commit) {
  return fmt::format("{}/api/models/{}/tree/{}?recursive=1", endpoint, escaped(repository),
                     escaped(commit));
}

std::string search_url(std::string_view endpoint, std::string_view words) {
  return fmt::format("{}/api/models?search={}&limit=5", endpoint, escaped(words));
}

std::string file_url(std::string_view endpoint, std::string_view repository,
                     std::string_view commit, std::string_view path) {
  return fmt::format("{}/{}/resolve/{}/{}", endpoint, escaped(repository), escaped(commit),
                     escaped(path));
}

std::string shown_url(std::string_view url) {
  return std::string(url.substr(0, url.find_first_of("?#")));
}

Result<std::string> parse_commit(std::string_view text) {
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, parse_answer(text));
  const json::Object* object = value.as_object();
  std::string commit = object == nullptr ? "" : text_field(*object, "sha");
  if (is_sha1(commit)) return commit;
  return error(StatusCode::kDataLoss, "the hub's answer names no commit");
}

Result<std::vector<RemoteFile>> parse_tree(std::string_view text) {
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, parse_answer(text));
  const json::Array* entries = value.as_array();
  if (entries == nullptr) return error(StatusCode::kDataLoss, "the hub's answer is no file list");
  std::vector<RemoteFile> files;
  for (const json::Value& item : *entries) {
    const json::Object* entry = item.as_object();
    if (entry == nullptr) return error(StatusCode::kDataLoss, "the hub's file list is malformed");
    std::string path = text_field(*entry, "path");
    if (text_field(*entry, "type") != "file" || !is_safe_path(path)) continue;
    HEARTH_ASSIGN_OR_RETURN(RemoteFile file, parse_entry(*entry, std::move(path)));
    files.push_back(std::move(file));
  }
  return files;
}

std::vector<std::string> parse_search(std::string_view text) {
  std::vector<std::string> names;
  const auto value = json::parse(text);
  const json::Array* entries = value.has_value() ? value->as_array() : nullptr;
  if (entries == nullptr) return names;
  for (const json::Value& item : *entries) {
    const json::Object* entry = item.as_object();
    std::string name = entry == nullptr ? "" : text_field(*entry, "id");
    if (!name.empty() && name.size() < 200) names.push_back(std::move(name));
  }
  return names;
}

std::string next_page(std::string_view link_header) {
  while (!link_header.empty()) {
    const std::size_t open = link_header.find('<');
    const std::size_t close = link_header.find('>', open);
    if (open == std::string_view::npos || close == std::string_view::npos) return {};
    const std::size_t end = std::min(link_header.find(',', close), link_header.size());
    const std::string_view parameters = link_header.substr(close + 1, end - close - 1);
    if (parameters.find("rel=\"next\"") != std::string_view::npos) {
      return std::string(link_header.substr(open + 1, close - open - 1));
    }
    link_header.remove_prefix(std::min(end + 1, link_header.size()));
  }
  return {};
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t count = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return count;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) {
    return std::nullopt;
  }
  const auto first = parse_count(text.substr(0, dash));
  const auto last = parse_count(text.substr(dash + 1, slash - dash - 1));
  const auto total = parse_count(text.substr(slash + 1));
  if (!first || !last || !total || *last < *first || *last >= *total) return std::nullopt;
  return ContentRange{.range = {.begin = *first, .end = *last + 1}, .total_bytes = *total};
}

std::string strong_etag(const std::string* header) {
  if (header == nullptr || header->starts_with("W/")) return {};
  std::string_view text = *header;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return std::string(text);
}

Status failure_status(const HttpFailure& failure) {
  const std::string url = shown_url(failure.url);
  const std::string* code_header = failure.head.find("x-error-code");
  const std::string_view code = code_header == nullptr ? "" : std::string_view(*code_header);
  const std::string said = explanation(failure);
  const std::string reason = said.empty() ? "" : fmt::format(" ({})", said);
  const int status = failure.head.status;
  if (code == "GatedRepo" || status == 403) {
    return make_status(StatusCode::kInvalidArgument,
                       "'{}' is not open to everyone{}: accept its conditions on its page, then {}",
                       url, reason,
                       failure.had_token ? "use a token of that account that may read it"
                                         : "set HF_TOKEN to a token of that account");
  }
  if (status == 401) {
    return make_status(
        failure.had_token ? StatusCode::kInvalidArgument : StatusCode::kNotFound, "'{}' {}{}", url,
        failure.had_token ? "refuses the token of HF_TOKEN or of the token file"
                          : "does not exist or is private; for a private model set HF_TOKEN",
        reason);
  }
  if (status == 404) {
    const std::string_view what = code == "RevisionNotFound" ? "has no such revision"
                                  : code == "EntryNotFound"  ? "is no file of this model"
                                                             : "does not exist";
    return make_status(StatusCode::kNotFound, "'{}' {}{}", url, what, reason);
  }
  if (status == 429) {
    const std::string* wait = failure.head.find("retry-after");
    return make_status(StatusCode::kUnavailable, "'{}' refuses more requests for now{}{}", url,
                       wait == nullptr ? "" : fmt::format("; it asks to wait {} s", *wait), reason);
  }
  const bool temporary = status >= 500;
  return make_status(temporary ? StatusCode::kUnavailable : StatusCode::kInvalidArgument,
                     "'{}' answers with HTTP status {}{}", url, status, reason);
}

}  // namespace hearth::hub
