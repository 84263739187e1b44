#include "hub/pull.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/clock.h"
#include "hub/digest.h"

namespace hearth::hub {
namespace {

constexpr std::size_t kMaxAnswerBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxPages = 1000;
constexpr std::size_t kMaxFiles = 100'000;
constexpr std::string_view kDefaultRevision = "main";

// Only there to be asked whether the user has had enough.
class Tick final : public FetchHandler {
 public:
  explicit Tick(PullObserver& observer) : observer_(observer) {}
  std::optional<Fetch> next() override { return std::nullopt; }
  Status on_head(std::size_t, const HttpHead&, std::uint64_t) override { return {}; }
  Status on_data(std::size_t, std::string_view) override { return {}; }
  Status on_done(std::size_t) override { return {}; }
  Status on_tick() override {
    return observer_.cancelled() ? Status(StatusCode::kCancelled, "interrupted") : Status();
  }

 private:
  PullObserver& observer_;
};

Result<HubClient::Answer> get(const PullContext& context, const std::string& url) {
  Tick tick(context.observer);
  return context.client.get(url, kMaxAnswerBytes, &tick);
}

// `failure` with names that the hub does know, when it knows any like this one.
Status with_suggestions(const PullContext& context, const ModelName& name, const Status& failure) {
  const auto answer = get(context, search_url(context.client.options().endpoint, name.model));
  if (!answer.has_value()) return failure;
  const std::vector<std::string> names = parse_search(answer->body);
  if (names.empty()) return failure;
  return make_status(failure.code(), "{}; did you mean {}?", failure.message(),
                     fmt::join(names, " or "));
}

Result<std::string> find_commit(const PullContext& context, const ModelName& name) {
  const std::string revision =
      name.revision.empty() ? std::string(kDefaultRevision) : name.revision;
  const auto answer =
      get(context, revision_url(context.client.options().endpoint, name.repository(), revision));
  if (answer.has_value()) return parse_commit(answer->body);
  if (answer.error().code() != StatusCode::kNotFound) return std::unexpected(answer.error());
  return std::unexpected(with_suggestions(context, name, answer.error()));
}

Result<std::vector<RemoteFile>> list_files(const PullContext& context, const ModelName& name,
                                           const std::string& commit) {
  std::vector<RemoteFile> files;
  std::string url = tree_url(context.client.options().endpoint, name.repository(), commit);
  for (std::size_t page = 0; !url.empty(); ++page) {
    if (page == kMaxPages || files.size() > kMaxFiles) {
      return error(StatusCode::kOutOfRange, "'{}' lists more than {} pages or {} files",
                   name.repository(), kMaxPages, kMaxFiles);
    }
    HEARTH_ASSIGN_OR_RETURN(const auto answer, get(context, url));
    HEARTH_ASSIGN_OR_RETURN(auto found, parse_tree(answer.body));
    std::ranges::move(found, std::back_inserter(files));
    const std::string* link = answer.head.find("link");
    url = link == nullptr ? "" : next_page(*link);
  }
  return files;
}

std::int64_t now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             system_clock().wall_now().time_since_epoch())
      .count();
}

// Downloads and lists.
Result<PullResult> add_model(const PullContext& context, std::vector<DownloadFile> files,
                             const ModelName& name, ModelSource source) {
  Download download(context.writer, context.observer, context.download);
  HEARTH_RETURN_IF_ERROR(download.open(std::move(files)));
  PullResult result{.model = {.name = name, .manifest = {}}};
  Manifest& manifest = result.model.manifest;
  HEARTH_ASSIGN_OR_RETURN(manifest.files, download.run(context.client));
  manifest.source = std::move(source);
  manifest.created_s = now_s();
  HEARTH_RETURN_IF_ERROR(context.writer.commit(name, manifest));
  result.new_bytes = download.new_bytes();
  return result;
}

// Asks for the first byte of a file, to learn its size from the head of the answer.
class SizeProbe final : public FetchHandler {
 public:
  SizeProbe(const std::string& url, PullObserver& observer) : url_(url), observer_(observer) {}

  std::optional<Fetch> next() override {
    if (std::exchange(given_, true)) return std::nullopt;
    return Fetch{.id = 0, .url = url_, .range = ByteRange{.begin = 0, .end = 1}};
  }
  Status on_head(std::size_t, const HttpHead& head, std::uint64_t) override {
    answered = true;
    const std::string* range = head.find("content-range");
    const auto parsed = range == nullptr ? std::nullopt : parse_content_range(*range);
    const std::string* length = head.find("content-length");
    if (head.status == 206 && parsed) {
      size_bytes = parsed->total_bytes;
    } else if (head.status == 200 && length != nullptr) {
      size_bytes = parse_count(*length);
    }
    return Status(StatusCode::kCancelled, "the body is of no use");
  }
  Status on_data(std::size_t, std::string_view) override { return {}; }
  Status on_done(std::size_t) override { return {}; }
  Status on_tick() override {
    return observer_.cancelled() ? Status(StatusCode::kCancelled, "interrupted") : Status();
  }

  bool answered = false;
  std::optional<std::uint64_t> size_bytes;

 private:
  const std::string& url_;
  PullObserver& observer_;
  bool given_ = false;
};

std::string file_name_of(const std::string& url) {
  const std::string path = shown_url(url);
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Result<StoredModel> find_complete(const ModelStore& store, const ModelName& name) {
  HEARTH_ASSIGN_OR_RETURN(StoredModel model, store.find(name));
  const auto path = store.resolve(model);
  if (!path.has_value()) return std::unexpected(path.error());
  return model;
}

Result<PullResult> pull_model(const PullContext& context, const ModelName& name) {
  const ModelStore& store = context.writer.store();
  const std::string& endpoint = context.client.options().endpoint;
  const auto here = find_complete(store, name);
  const bool from_here = here.has_value() && here->manifest.source.origin == endpoint;
  if (from_here && is_sha1(name.revision) && here->manifest.source.commit == name.revision) {
    return PullResult{.model = *here, .was_current = true};
  }
  HEARTH_ASSIGN_OR_RETURN(const std::string commit, find_commit(context, name));
  if (from_here && here->manifest.source.commit == commit) {
    return PullResult{.model = *here, .was_current = true};
  }
  HEARTH_ASSIGN_OR_RETURN(const auto listed, list_files(context, name, commit));
  HEARTH_ASSIGN_OR_RETURN(Selection selection, select_files(listed, name.tag, name.repository()));
  ModelName stored = name;
  stored.tag = selection.tag;
  std::vector<DownloadFile> files;
  for (RemoteFile& file : selection.files) {
    std::string url = file_url(endpoint, name.repository(), commit, file.path);
    files.push_back({.file = std::move(file), .url = std::move(url), .commit = commit});
  }
  const std::string revision =
      name.revision.empty() ? std::string(kDefaultRevision) : name.revision;
  return add_model(context, std::move(files), stored,
                   {.origin = endpoint,
                    .repository = name.repository(),
                    .revision = revision,
                    .commit = commit});
}

Result<PullResult> pull_file(const PullContext& context, const FileAddress& address,
                             const ModelName& name) {
  const ModelStore& store = context.writer.store();
  const std::string shown = shown_url(address.url);
  const auto here = find_complete(store, name);
  if (here.has_value() && !address.sha256.empty() && here->manifest.files.size() == 1 &&
      here->manifest.files.front().sha256 == address.sha256) {
    return PullResult{.model = *here, .was_current = true};
  }
  const std::string file_name = file_name_of(address.url);
  if (!file_name.ends_with(".gguf") || !is_safe_path(file_name)) {
    return error(StatusCode::kInvalidArgument, "'{}' does not end in the name of a .gguf file",
                 shown);
  }
  SizeProbe probe(address.url, context.observer);
  const Status probed = context.client.run(probe);
  if (!probe.size_bytes.has_value()) {
    if (!probe.answered && !probed.ok()) return std::unexpected(probed);
    return error(StatusCode::kUnavailable, "'{}' does not tell its size", shown);
  }
  std::vector<DownloadFile> files;
  files.push_back({.file = {.path = file_name,
                            .size_bytes = *probe.size_bytes,
                            .sha256 = address.sha256,
                            .git_sha1 = {}},
                   .url = address.url,
                   .commit = {}});
  return add_model(context, std::move(files), name,
                   {.origin = shown, .repository = {}, .revision = {}, .commit = {}});
}

}  // namespace hearth::hub
