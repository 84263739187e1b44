#include <unistd.h>

#include <chrono>
#include <optional>

#include "base/build_info.h"
#include "base/file.h"
#include "base/option_value.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "hub/digest.h"
#include "hub/pull.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxTokenBytes = 4096;

// One line that is written over on a terminal; else a line per file and every half minute.
class ProgressLines final : public hub::PullObserver {
 public:
  explicit ProgressLines(Interrupt& interrupt) : interrupt_(interrupt) {}
  ~ProgressLines() override { clear(); }
  ProgressLines(const ProgressLines&) = delete;
  ProgressLines& operator=(const ProgressLines&) = delete;

  bool cancelled() override {
    cancelled_ |= interrupt_.take();
    return cancelled_;
  }

  void on_note(std::string_view line) override {
    clear();
    fmt::print(stderr, "{}\n", single_line(line));
  }

  void on_progress(const hub::PullProgress& progress) override {
    const auto now = std::chrono::steady_clock::now();
    const bool due = now - shown_at_ >= (is_terminal_ ? std::chrono::milliseconds(200)
                                                      : std::chrono::milliseconds(30'000));
    if (!due && !progress.file_done) return;
    shown_at_ = now;
    const std::string path = single_line(progress.path);
    if (progress.file_done) {
      clear();
      fmt::print(stderr, "{}  {}  checked\n", path, human_bytes(progress.file_size_bytes));
      return;
    }
    const std::chrono::duration<double> elapsed = now - started_at_;
    const double bytes_per_s =
        static_cast<double>(progress.new_bytes) / std::max(elapsed.count(), 1e-3);
    const double share = progress.size_bytes == 0 ? 1.0
                                                  : static_cast<double>(progress.bytes) /
                                                        static_cast<double>(progress.size_bytes);
    const std::string line = fmt::format(
        "{:3.0f} %  {} of {}  {}/s  {} {} of {}", 100.0 * share, human_bytes(progress.bytes),
        human_bytes(progress.size_bytes), human_bytes(static_cast<std::uint64_t>(bytes_per_s)),
        path, human_bytes(progress.file_bytes), human_bytes(progress.file_size_bytes));
    if (is_terminal_) {
      fmt::print(stderr, "\r\x1b[K{}", line);
      line_open_ = true;
    } else {
      fmt::print(stderr, "{}\n", line);
    }
  }

 private:
  void clear() {
    if (std::exchange(line_open_, false)) fmt::print(stderr, "\r\x1b[K");
  }

  Interrupt& interrupt_;
  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;
  const std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point shown_at_ = started_at_;
  bool line_open_ = false;
  bool cancelled_ = false;
};

// Where the hub's own tools keep the token: HF_TOKEN, else the file of HF_TOKEN_PATH, HF_HOME or
// the user's cache directory.
Result<std::string> find_token() {
  if (std::string token = process_variable("HF_TOKEN"); !token.empty()) return token;
  std::filesystem::path path = process_variable("HF_TOKEN_PATH");
  if (path.empty()) {
    std::filesystem::path home = process_variable("HF_HOME");
    if (home.empty()) {
      std::filesystem::path cache = process_variable("XDG_CACHE_HOME");
      if (cache.empty()) cache = std::filesystem::path(process_variable("HOME")) / ".cache";
      home = cache / "huggingface";
    }
    path = home / "token";
  }
  auto text = read_text_file(path, kMaxTokenBytes);
  if (!text.has_value() && text.error().code() == StatusCode::kNotFound) return std::string();
  if (!text.has_value()) return std::unexpected(text.error());
  text->erase(text->find_last_not_of(" \t\r\n") + 1);
  return *text;
}

// The first that is set, in the order in which the hub's own tools look.
std::string find_ca_file() {
  for (const char* variable : {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}) {
    if (std::string file = process_variable(variable); !file.empty()) return file;
  }
  return {};
}

// Scheme and host of an address: where a client for it may start.
std::string origin_of(const std::string& url) {
  const std::size_t host = url.find("://") + 3;
  return url.substr(0, url.find_first_of("/?#", host));
}

class PullCommand final : public Command {
 public:
  std::string_view name() const override { return "pull"; }
  std::string_view summary() const override {
    return "Download a model from the Hugging Face hub or a mirror into the registry";
  }

  void declare(OptionSet& options) override {
    options.add_positional(
        model_, {.name = "model",
                 .help = "ORG/MODEL[:QUANTIZATION][@REVISION], or the https:// address of a .gguf "
                         "file."});
    options.add(sha256_, {.name = "sha256",
                          .help = "What the file of an https:// address must be.",
                          .placeholder = "DIGEST"});
    options.add(name_, {.name = "name",
                        .help = "What to call the file of an https:// address. Empty: by the file.",
                        .placeholder = "NAME"});
    options.add(offline_, {.name = "offline",
                           .help = "Connect to nothing: only say whether the model is here. "
                                   "HF_HUB_OFFLINE does the same."});
    add_models_dir(options, models_dir_);
    declare_transfer(options);
  }

  Status check() override {
    is_url_ = model_.find("://") != std::string::npos;
    if (!is_url_ && (!sha256_.empty() || !name_.empty())) {
      return Status(StatusCode::kInvalidArgument,
                    "--sha256 and --name go with an https:// address; the hub tells both");
    }
    if (!sha256_.empty() && !hub::is_sha256(sha256_)) {
      return make_status(StatusCode::kInvalidArgument,
                         "--sha256: '{}' is not 64 lower-case hexadecimal digits", sha256_);
    }
    HEARTH_ASSIGN_OR_RETURN(parsed_name_, is_url_ ? name_for_url() : hub::ModelName::parse(model_));
    HEARTH_ASSIGN_OR_RETURN(failpoints_, hub::Failpoints::parse(failpoint_));
    if (const std::string given = process_variable("HF_HUB_OFFLINE"); !given.empty()) {
      const auto offline = option_value::parse_bool(given);
      if (!offline.has_value()) return offline.error().with_context("HF_HUB_OFFLINE");
      offline_ |= *offline;
    }
    return {};
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelStore registry, model_registry(models_dir_));
    if (offline_) return run_offline(registry);
    HEARTH_ASSIGN_OR_RETURN(const hub::HubOptions options, client_options());
    HEARTH_ASSIGN_OR_RETURN(const auto client, hub::HubClient::create(options));
    HEARTH_ASSIGN_OR_RETURN(auto writer, hub::StoreWriter::open(registry, failpoints_));
    HEARTH_ASSIGN_OR_RETURN(const auto interrupt, Interrupt::install());
    const auto result = [&] {
      ProgressLines progress(*interrupt);
      const hub::PullContext context{.client = *client,
                                     .writer = writer,
                                     .observer = progress,
                                     .download = {.part_bytes = part_size_.bytes}};
      return is_url_ ? hub::pull_file(context, {.url = model_, .sha256 = sha256_}, parsed_name_)
                     : hub::pull_model(context, parsed_name_);
    }();
    if (!result.has_value()) return explained(result.error());
    const hub::StoredModel& model = result->model;
    return print(fmt::format("{} {} ({} in {} files{}); serve it with: hearth serve {}\n",
                             model.name.text(), result->was_current ? "is up to date" : "is here",
                             human_bytes(model.manifest.size_bytes()), model.manifest.files.size(),
                             commit_text(model), model.name.text()));
  }

 private:
  void declare_transfer(OptionSet& options) {
    options.section("Transfer");
    options.add(hub_, {.name = "hub",
                       .help = "Address of the hub or a mirror. Empty: HF_ENDPOINT, else "
                               "https://huggingface.co. Its token is HF_TOKEN or the file of the "
                               "hub's own tools. Proxies come from https_proxy and no_proxy.",
                       .placeholder = "URL"});
    options.add(client_.max_connections,
                {.name = "connections", .help = "Transfers at the same time."},
                {.min = 1, .max = 64});
    options.add(part_size_,
                {.name = "part-size",
                 .help = "Files come in parts of this size. What was complete of an interrupted "
                         "part is fetched again.",
                 .advanced = true},
                {.min = 1024, .max = std::uint64_t{1} << 40});
    options.add(client_.max_attempts,
                {.name = "attempts",
                 .help = "Give up when a transfer failed this often without progress.",
                 .advanced = true},
                {.min = 1, .max = 1000});
    options.add(client_.retry_delay,
                {.name = "retry-delay",
                 .help = "Wait before the second attempt; doubles with each further one.",
                 .advanced = true},
                {.min = 0, .max = 600'000});
    options.add(client_.stall_timeout,
                {.name = "stall-timeout",
                 .help = "Try again when nothing has come for so long.",
                 .advanced = true},
                {.min = 1000, .max = 3'600'000});
    options.add(failpoint_, {.name = "failpoint",
                             .help = "For tests: NAME[=kill|=full][@N] ends the command, or lets "
                                     "the disk be full, at a step.",
                             .placeholder = "NAME",
                             .advanced = true});
  }

  Result<hub::ModelName> name_for_url() const {
    if (!name_.empty()) return hub::ModelName::parse(name_);
    const std::string path = hub::shown_url(model_);
    const std::string file = path.substr(path.rfind('/') + 1);
    const auto name = hub::ModelName::parse(hub::suggested_part(hub::model_label_of(file)));
    if (!name.has_value()) {
      return error(StatusCode::kInvalidArgument,
                   "'{}' makes no name of a model; give one by --name", file);
    }
    hub::ModelName tagged = *name;
    tagged.tag = hub::quantization_of(file);
    return tagged;
  }

  // No client is made here: there is nothing that could connect.
  Status run_offline(const hub::ModelStore& registry) const {
    const auto model = hub::find_complete(registry, parsed_name_);
    if (model.has_value()) {
      return print(fmt::format("{} is here ({}); offline, so no newer one was looked for\n",
                               model->name.text(), human_bytes(model->manifest.size_bytes())));
    }
    return make_status(model.error().code(), "{}; nothing is downloaded while offline",
                       model.error().message());
  }

  Result<hub::HubOptions> client_options() const {
    hub::HubOptions options = client_;
    options.user_agent = fmt::format("hearth/{}", build_info().version);
    options.ca_file = find_ca_file();
    if (is_url_) {
      options.endpoint = origin_of(model_);  // The hub's token is none of its business.
      return options;
    }
    const std::string from_environment = process_variable("HF_ENDPOINT");
    if (!hub_.empty()) {
      options.endpoint = hub_;
    } else if (!from_environment.empty()) {
      options.endpoint = from_environment;
    }
    HEARTH_ASSIGN_OR_RETURN(options.token, find_token());
    return options;
  }

  Status explained(const Status& failure) const {
    if (failure.code() != StatusCode::kCancelled) return failure;
    return Status(StatusCode::kCancelled,
                  "interrupted; the same command goes on where this one stopped");
  }

  static std::string commit_text(const hub::StoredModel& model) {
    const std::string& commit = model.manifest.source.commit;
    return commit.empty() ? "" : ", commit " + commit.substr(0, 12);
  }

  std::string model_;
  std::string sha256_;
  std::string name_;
  bool offline_ = false;
  bool is_url_ = false;
  hub::ModelName parsed_name_;
  std::filesystem::path models_dir_;
  std::string hub_;
  hub::HubOptions client_;
  ByteSize part_size_{hub::DownloadOptions().part_bytes};
  std::string failpoint_;
  hub::Failpoints failpoints_;
};

}  // namespace

std::unique_ptr<Command> make_pull_command() {
  return std::make_unique<PullCommand>();
}

}  // namespace hearth
