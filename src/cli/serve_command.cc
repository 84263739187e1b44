#include <algorithm>
#include <csignal>
#include <future>

#include "base/build_info.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/model_flags.h"
#include "cli/model_path.h"
#include "cli/model_report.h"
#include "cli/terminal.h"
#include "server/server.h"

namespace hearth {
namespace {

// A day: what is longer is a mistake, and sums of such times must not overflow.
constexpr std::int64_t kLongestDelayMs = 24 * 3600 * 1000;

std::string limits_text(const ServedModel& model, const EngineOptions& engine) {
  if (const EmbeddingEngine* embedder = model.embedder(); embedder != nullptr) {
    const std::size_t max_len = embedder->max_model_len();
    return fmt::format("{} tokens per text, {} tokens per batch", max_len,
                       std::max(engine.max_num_batched_tokens, max_len));
  }
  return fmt::format("{} tokens per sequence, {} sequences, {} tokens per step",
                     model.engine().max_model_len(), engine.max_num_seqs,
                     engine.max_num_batched_tokens);
}

std::string_view model_note(const ServedModel& model) {
  if (model.embedder() != nullptr) {
    return model.embedder()->config().is_classifier() ? ", gives scores" : ", gives vectors";
  }
  return model.chat_template() != nullptr ? "" : ", no chat template";
}

// What an operator wants to see once, when the server is ready.
std::string startup_text(const ServedModel& model, const Metrics& metrics,
                         const ServedModelOptions& options, const std::string& address) {
  const ModelReport report = make_report(model.file());
  const auto memory = [&](MemoryKind kind) {
    return human_bytes(static_cast<std::uint64_t>(metrics.memory.bytes[kind].value()));
  };
  const std::string keys_and_values =
      fmt::format(", keys and values {} ({})", memory(MemoryKind::kKvCache),
                  kv_cache_dtype_name(options.engine.kv_cache_dtype));
  return fmt::format("hearth {}\n", build_info().version) +
         format_table(
             {{"  model",
               fmt::format("{}: {}, {} parameters, {}{}", single_line(model.name()),
                           single_line(report.architecture), human_count(report.num_parameters),
                           report.main_type(), model_note(model))},
              {"  device", std::string(model.device_description())},
              {"  limits", limits_text(model, options.engine)},
              {"  memory", fmt::format("weights {}{}, activations {}", memory(MemoryKind::kWeights),
                                       model.embedder() != nullptr ? "" : keys_and_values,
                                       memory(MemoryKind::kActivations))},
              {"  ready", address}},
             {false, false});
}

class ServeCommand final : public Command {
 public:
  std::string_view name() const override { return "serve"; }
  std::string_view summary() const override { return "Serve a model over the OpenAI API"; }

  void declare(OptionSet& options) override {
    options.add_positional(positional_model_,
                           {.name = "model", .help = "The same as --model.", .required = false});
    options.add(model_, {.name = "model", .help = kModelHelp, .placeholder = "MODEL"});
    options.add(
        served_name_,
        {.name = "served-model-name",
         .help = "What requests call the model. Empty: its name in the registry, or the file's "
                 "name without .gguf.",
         .placeholder = "NAME"});
    options.add(log_level_,
                {.name = "log-level", .help = "Least important lines on standard error."},
                {"debug", "info", "warning", "error", "off"});
    declare_network(options);
    declare_limits(options);
    model_flags_.declare(options);
    model_flags_.declare_concurrency(options);
  }

  Status check() override {
    if (model_.empty()) model_ = positional_model_;
    if (model_.empty()) {
      return Status(StatusCode::kInvalidArgument, "no model given; see hearth serve --help");
    }
    if (!positional_model_.empty() && positional_model_ != model_) {
      return make_status(StatusCode::kInvalidArgument,
                         "two models given, '{}' and --model '{}'; serve takes one",
                         positional_model_, model_);
    }
    return {};
  }

  Status run() override {
    std::signal(SIGPIPE, SIG_IGN);  // A log reader that goes away must not end the server.
    HEARTH_ASSIGN_OR_RETURN(const log::Level level, log::parse_level(log_level_));
    log::set_level(level);
    HEARTH_RETURN_IF_ERROR(model_flags_.set_up_process());
    HEARTH_ASSIGN_OR_RETURN(ServedModelOptions options, model_flags_.resolve(model_));
    if (!served_name_.empty()) options.served_name = served_name_;
    server_.http.max_body_bytes = max_body_.bytes;

    Metrics metrics;
    std::shared_ptr<ServedModel> model;  // Outlives the server.
    ModelSpec spec;
    spec.names = {options.served_name};
    spec.source = model_;
    if (spec.names.front().empty()) spec.names.front() = default_model_name(options.path);
    spec.load = [&](std::size_t) -> Result<LoadedModel> {
      HEARTH_ASSIGN_OR_RETURN(model, ServedModel::load(options, metrics));
      return LoadedModel{.ref = ModelRef::of(*model), .owner = model};
    };
    std::vector<ModelSpec> specs;
    specs.push_back(std::move(spec));
    ModelPool models({}, std::move(specs));
    HEARTH_ASSIGN_OR_RETURN(const auto server, Server::start(server_, models, metrics));
    server->stop_on_signals();
    std::promise<Status> loaded;
    models.load("", [&loaded](const Status& status) { loaded.set_value(status); });
    HEARTH_RETURN_IF_ERROR(loaded.get_future().get());
    const bool is_ipv6 = server_.http.host.find(':') != std::string::npos;
    const std::string host = is_ipv6 ? "[" + server_.http.host + "]" : server_.http.host;
    const std::string address = fmt::format("http://{}:{}", host, server->port());
    const Status shown = print(startup_text(*model, metrics, options, address));
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

  std::string positional_model_;
  std::string model_;
  std::string served_name_;
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
