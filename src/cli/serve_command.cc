#include <fmt/ranges.h>

#include <csignal>
#include <future>
#include <span>

#include "base/build_info.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/served_models.h"
#include "cli/terminal.h"
#include "engine/memory_budget.h"
#include "server/server.h"

namespace hearth {
namespace {

// A day: what is longer is a mistake, and sums of such times must not overflow.
constexpr std::int64_t kLongestDelayMs = 24 * 3600 * 1000;

// What an operator wants to see once, when the server is ready.
std::string startup_text(const std::vector<ModelStatus>& models, const StartupNotes& notes,
                         const std::string& address) {
  StartupNotes::Rows rows;
  for (const ModelStatus& model : models) {
    const std::string& name = model.names.front();
    if (const StartupNotes::Rows told = notes.get(name); !told.empty()) {
      rows.insert(rows.end(), told.begin(), told.end());
    } else {
      rows.push_back(
          {"  model", fmt::format("{}: loaded when it is asked for", single_line(name))});
    }
    if (model.names.size() > 1) {
      const auto aliases = std::span(model.names).subspan(1);
      rows.push_back({"  also", single_line(fmt::format("{}", fmt::join(aliases, ", ")))});
    }
  }
  rows.push_back({"  ready", address});
  return fmt::format("hearth {}\n", build_info().version) + format_table(rows, {false, false});
}

// Loads all models, one after the other; the first error ends it.
Status load_all(ModelPool& pool) {
  const std::vector<ModelStatus> models = pool.list();
  for (const ModelStatus& model : models) {
    const std::string& name = model.names.front();
    std::promise<Status> loaded;
    pool.load(name, [&loaded](const Status& status) { loaded.set_value(status); });
    const Status status = loaded.get_future().get();
    if (!status.ok() && models.size() > 1)
      return status.with_context(fmt::format("model '{}'", name));
    HEARTH_RETURN_IF_ERROR(status);
  }
  return {};
}

class ServeCommand final : public Command {
 public:
  std::string_view name() const override { return "serve"; }
  std::string_view summary() const override { return "Serve models over the OpenAI API"; }

  void declare(OptionSet& options) override {
    options.add_positional(
        positional_models_,
        {.name = "model",
         .help = "Models to serve, each a file, a directory or a name in the registry (see "
                 "--model). NAME=MODEL lets requests call it NAME; NAME,NAME=MODEL gives it "
                 "several names.",
         .required = false});
    options.add(model_, {.name = "model", .help = kModelHelp, .placeholder = "MODEL"});
    options.add(
        served_names_,
        {.name = "served-model-name",
         .help = "What requests call the model, when there is only one; several names are "
                 "separated by commas. Without: its name in the registry, or the file's name "
                 "without .gguf.",
         .placeholder = "NAME"});
    options.add(log_level_,
                {.name = "log-level", .help = "Least important lines on standard error."},
                {"debug", "info", "warning", "error", "off"});
    declare_network(options);
    declare_limits(options);
    declare_pool(options);
    model_flags_.declare(options);
    model_flags_.declare_concurrency(options);
  }

  Status check() override {
    arguments_.clear();
    for (const std::string& text : positional_models_) {
      HEARTH_ASSIGN_OR_RETURN(ModelArgument argument, parse_model_argument(text));
      arguments_.push_back(std::move(argument));
    }
    if (!model_.empty()) {
      if (!arguments_.empty()) {
        return make_status(StatusCode::kInvalidArgument,
                           "give either --model (is '{}') or models without it (the first is '{}')",
                           model_, positional_models_.front());
      }
      arguments_.push_back({.names = {}, .model = model_});
    }
    if (arguments_.empty()) {
      return Status(StatusCode::kInvalidArgument, "no model given; see hearth serve --help");
    }
    if (pool_.ttl.count() > 0 && !pool_.load_on_demand) {
      return Status(StatusCode::kInvalidArgument,
                    "--model-ttl needs --load-on-demand: nothing else would load models again");
    }
    if (!admin_token_file_.empty() && !server_.admin_token.empty()) {
      return Status(StatusCode::kInvalidArgument,
                    "give either --admin-token-file or --admin-token");
    }
    if (served_names_.empty()) return {};
    if (arguments_.size() > 1 || !arguments_.front().names.empty()) {
      return Status(StatusCode::kInvalidArgument,
                    "--served-model-name is for one model without a name; name several as "
                    "NAME=MODEL");
    }
    arguments_.front().names = served_names_;
    return {};
  }

  Status run() override {
    std::signal(SIGPIPE, SIG_IGN);  // A log reader that goes away must not end the server.
    HEARTH_ASSIGN_OR_RETURN(const log::Level level, log::parse_level(log_level_));
    log::set_level(level);
    HEARTH_RETURN_IF_ERROR(model_flags_.set_up_process());
    server_.http.max_body_bytes = max_body_.bytes;
    Metrics metrics;
    StartupNotes notes;
    HEARTH_ASSIGN_OR_RETURN(std::vector<ModelSpec> specs,
                            model_specs(arguments_, {model_flags_, metrics, notes}));
    HEARTH_RETURN_IF_ERROR(set_memory_budget());
    HEARTH_RETURN_IF_ERROR(read_admin_token());
    ModelPool models(pool_, std::move(specs), metrics);
    HEARTH_ASSIGN_OR_RETURN(const auto server, Server::start(server_, models, metrics));
    server->stop_on_signals();
    if (!pool_.load_on_demand) HEARTH_RETURN_IF_ERROR(load_all(models));
    const bool is_ipv6 = server_.http.host.find(':') != std::string::npos;
    const std::string host = is_ipv6 ? "[" + server_.http.host + "]" : server_.http.host;
    const std::string address = fmt::format("http://{}:{}", host, server->port());
    const Status shown = print(startup_text(models.list(), notes, address));
    if (!shown.ok()) log::warning("{}", shown.message());
    server->wait();
    return {};
  }

 private:
  void declare_network(OptionSet& options) {
    HttpServerOptions& http = server_.http;
    options.section("Network");
    options.add(http.host, {.name = "host",
                            .help = "Address to listen on; 0.0.0.0 for every network.",
                            .placeholder = "ADDRESS"});
    options.add(http.port, {.name = "port", .help = "TCP port; 0 takes a free one."}, {0, 65535});
    options.add(server_.cors_origin,
                {.name = "cors-origin",
                 .help = "Let browser pages of this origin (or '*') call the API.",
                 .placeholder = "ORIGIN"});
    options.add(server_.allowed_hosts,
                {.name = "allowed-hosts",
                 .help = "Names under which browsers may reach a server that listens on this "
                         "machine alone, besides localhost.",
                 .placeholder = "NAME"});
    options.add(server_.shutdown_timeout,
                {.name = "shutdown-timeout",
                 .help = "How long answers under way may take to end after SIGTERM."},
                {.min = 0, .max = kLongestDelayMs});
    options.add(server_.shutdown_grace,
                {.name = "shutdown-grace",
                 .help = "Not ready, but still accepting for so long after SIGTERM, until load "
                         "balancers have noticed."},
                {.min = 0, .max = kLongestDelayMs});
    options.add(http.idle_timeout,
                {.name = "idle-timeout",
                 .help = "Close a connection without a request after this time.",
                 .advanced = true},
                {.min = 1, .max = kLongestDelayMs});
    options.add(http.header_timeout,
                {.name = "header-timeout",
                 .help = "Longest time for a request's head to arrive.",
                 .advanced = true},
                {.min = 1, .max = kLongestDelayMs});
    options.add(http.write_timeout,
                {.name = "write-timeout",
                 .help = "Cut a client that takes nothing of its answer for so long.",
                 .advanced = true},
                {.min = 1, .max = kLongestDelayMs});
    options.add(server_.sse_keep_alive,
                {.name = "sse-keep-alive",
                 .help = "Comment lines at this interval while a stream waits for its first token.",
                 .advanced = true},
                {.min = 1000, .max = kLongestDelayMs});
  }

  void declare_limits(OptionSet& options) {
    HttpServerOptions& http = server_.http;
    options.section("Limits");
    options.add(max_body_, {.name = "max-body-bytes", .help = "Longest request body."},
                {.min = 1024, .max = std::uint64_t{1} << 32});
    options.add(http.max_connections,
                {.name = "max-connections",
                 .help = "Connections open at the same time; more wait in the system's queue."},
                {.min = 1, .max = 1'000'000});
    options.add(server_.num_workers,
                {.name = "workers",
                 .help = "Threads that parse requests, render templates and tokenize.",
                 .advanced = true},
                {.min = 1, .max = 256});
    options.add(server_.max_waiting_for_worker,
                {.name = "max-waiting-for-worker",
                 .help = "Requests that may wait for one of them; more are refused with 503.",
                 .advanced = true},
                {.min = 1, .max = 1'000'000});
    options.add(http.num_io_threads,
                {.name = "io-threads",
                 .help = "Threads that read and write connections.",
                 .advanced = true},
                {.min = 1, .max = 64});
  }

  void declare_pool(OptionSet& options) {
    options.section("Models");
    options.add(memory_budget_,
                {.name = "memory-budget",
                 .help = "What the weights, keys and values and activations of all models together "
                         "may take. 0: four fifths of a container's limit, half of a machine's "
                         "memory."});
    options.add(pool_.load_on_demand,
                {.name = "load-on-demand",
                 .help = "Load a model when the first request for it comes, not at the start, and "
                         "again when it was unloaded. Idle models make room for it, the longest "
                         "unused first."});
    options.add(pool_.ttl, {.name = "model-ttl",
                            .help = "Unload a model that was not used for so long. 0: never."});
    options.add(admin_token_file_,
                {.name = "admin-token-file",
                 .help = "File with the token of the /admin endpoints, which load and unload "
                         "models. Without a token nobody may use them."});
    options.add(server_.admin_token, {.name = "admin-token",
                                      .help = "The token itself, best set as HEARTH_ADMIN_TOKEN.",
                                      .placeholder = "TOKEN",
                                      .secret = true});
    options.add(pool_.max_waiting,
                {.name = "max-waiting-for-model",
                 .help = "Requests that may wait for a model to be loaded; more are refused with "
                         "503.",
                 .advanced = true},
                {.min = 1, .max = 100'000});
  }

  Status read_admin_token() {
    if (admin_token_file_.empty()) return {};
    constexpr std::uint64_t kMaxTokenBytes = 4096;
    HEARTH_ASSIGN_OR_RETURN(server_.admin_token, read_text_file(admin_token_file_, kMaxTokenBytes));
    const std::size_t end = server_.admin_token.find_last_not_of(" \t\r\n");
    server_.admin_token.resize(end == std::string::npos ? 0 : end + 1);
    if (!server_.admin_token.empty()) return {};
    return make_status(StatusCode::kInvalidArgument, "the admin token file '{}' is empty",
                       admin_token_file_.string());
  }

  Status set_memory_budget() {
    pool_.memory_bytes = memory_budget_.bytes;
    if (pool_.memory_bytes > 0) return {};
    HEARTH_ASSIGN_OR_RETURN(const MemoryLimit limit, detect_memory_limit());
    pool_.memory_bytes = memory_for_models(limit);
    return {};
  }

  std::vector<std::string> positional_models_;
  std::string model_;
  std::vector<std::string> served_names_;
  std::vector<ModelArgument> arguments_;
  ModelPoolOptions pool_;
  ByteSize memory_budget_;
  std::filesystem::path admin_token_file_;
  std::string log_level_ = "info";
  ServerOptions server_;
  ByteSize max_body_{.bytes = ServerOptions{}.http.max_body_bytes};
  ModelFlags model_flags_;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() {
  return std::make_unique<ServeCommand>();
}

}  // namespace hearth
