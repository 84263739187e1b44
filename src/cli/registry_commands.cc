// What is in the model registry, and taking things out of it.
#include <algorithm>
#include <chrono>

#include "base/json.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/terminal.h"

namespace hearth {
namespace {

using hub::ModelName;
using hub::ModelStore;
using hub::StoredModel;

Result<StoredModel> find_model(const ModelStore& registry, const std::string& given) {
  HEARTH_ASSIGN_OR_RETURN(const ModelName name, ModelName::parse(given));
  return registry.find(name);
}

std::string date_text(std::int64_t seconds) {
  const std::chrono::sys_seconds time{std::chrono::seconds(seconds)};
  const std::chrono::year_month_day day(std::chrono::floor<std::chrono::days>(time));
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(day.year()),
                     static_cast<unsigned>(day.month()), static_cast<unsigned>(day.day()));
}

json::Value model_json(const ModelStore& registry, const StoredModel& model) {
  const auto path = registry.resolve(model);
  json::Value manifest = hub::manifest_json(model.manifest);
  json::Object object{{"name", model.name.text()},
                      {"size", model.manifest.size_bytes()},
                      {"path", path.has_value() ? json::Value(path->string()) : json::Value()}};
  for (const json::Member& member : *manifest.as_object()) {
    if (member.key != "schema") object.append(member.key, member.value);
  }
  return object;
}

std::string dump_text(const json::Value& value) {
  return json::dump(value, {.indent = 2}) + "\n";
}

// Damaged entries are no reason to hide the others.
Status damaged_entries(const hub::StoreListing& listing) {
  return listing.damaged.empty() ? Status() : listing.damaged.front();
}

class RegistryCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    declare_arguments(options);
    add_models_dir(options, models_dir_);
  }
  Status run() final {
    HEARTH_ASSIGN_OR_RETURN(const ModelStore registry, model_registry(models_dir_));
    return run(registry);
  }

 protected:
  virtual void declare_arguments(OptionSet& options) = 0;
  virtual Status run(const ModelStore& registry) = 0;

  void add_json(OptionSet& options) { options.add(json_, {.name = "json", .help = "Print JSON."}); }

  bool json_ = false;

 private:
  std::filesystem::path models_dir_;
};

class ListCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "list"; }
  std::string_view summary() const override { return "List the models in the registry"; }
  void declare_arguments(OptionSet& options) override { add_json(options); }

  Status run(const ModelStore& registry) override {
    HEARTH_ASSIGN_OR_RETURN(const hub::StoreListing listing, registry.list());
    if (json_) {
      json::Array models;
      for (const StoredModel& model : listing.models)
        models.push_back(model_json(registry, model));
      HEARTH_RETURN_IF_ERROR(print(dump_text(std::move(models))));
    } else if (listing.models.empty() && listing.damaged.empty()) {
      HEARTH_RETURN_IF_ERROR(print(
          fmt::format("No models in '{}'; get one with: hearth pull ORG/MODEL[:QUANTIZATION]\n",
                      single_line(registry.root().string()))));
    } else {
      HEARTH_RETURN_IF_ERROR(print(table(listing)));
    }
    return damaged_entries(listing);
  }

 private:
  static std::string table(const hub::StoreListing& listing) {
    std::vector<std::vector<std::string>> rows = {{"name", "size", "files", "added", "commit"}};
    for (const StoredModel& model : listing.models) {
      const hub::Manifest& manifest = model.manifest;
      rows.push_back({model.name.text(), human_bytes(manifest.size_bytes()),
                      fmt::format("{}", manifest.files.size()), date_text(manifest.created_s),
                      single_line(manifest.source.commit.substr(0, 12))});
    }
    return format_table(rows, {false, true, true, false, false});
  }
};

class ShowCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "show"; }
  std::string_view summary() const override {
    return "Show the files of a model in the registry and where they came from";
  }
  void declare_arguments(OptionSet& options) override {
    options.add_positional(name_, {.name = "name", .help = "Model in the registry."});
    add_json(options);
  }

  Status run(const ModelStore& registry) override {
    HEARTH_ASSIGN_OR_RETURN(const StoredModel model, find_model(registry, name_));
    if (json_) return print(dump_text(model_json(registry, model)));
    const auto path = registry.resolve(model);
    const hub::ModelSource& source = model.manifest.source;
    std::vector<std::vector<std::string>> facts = {
        {"name", model.name.text()},
        {"path",
         path.has_value() ? single_line(path->string()) : single_line(path.error().message())},
        {"from", single_line(source.origin)},
        {"added", date_text(model.manifest.created_s)}};
    if (!source.commit.empty()) {
      facts.push_back({"commit", single_line(fmt::format("{} ({} of {})", source.commit,
                                                         source.revision, source.repository))});
    }
    std::vector<std::vector<std::string>> files = {{"file", "size", "sha256"}};
    for (const hub::ManifestFile& file : model.manifest.files)
      files.push_back({file.path, human_bytes(file.size_bytes), file.sha256});
    return print(format_table(facts, {false, false}) + "\n" +
                 format_table(files, {false, true, false}));
  }

 private:
  std::string name_;
};

class AliasCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "alias"; }
  std::string_view summary() const override { return "Give a model a second name"; }
  void declare_arguments(OptionSet& options) override {
    options.add_positional(name_, {.name = "name", .help = "Model in the registry."});
    options.add_positional(alias_, {.name = "alias",
                                    .help = "New name, [ORG/]MODEL[:TAG]; another model of that "
                                            "name loses it."});
  }

  Status run(const ModelStore& registry) override {
    HEARTH_ASSIGN_OR_RETURN(ModelName alias, ModelName::parse(alias_));
    HEARTH_ASSIGN_OR_RETURN(const StoredModel model, find_model(registry, name_));
    hub::Failpoints none;
    HEARTH_ASSIGN_OR_RETURN(auto writer, hub::StoreWriter::open(registry, none));
    HEARTH_RETURN_IF_ERROR(writer.commit(alias, model.manifest));
    return print(fmt::format("{} is now also called {}\n", model.name.text(), alias.text()));
  }

 private:
  std::string name_;
  std::string alias_;
};

std::uint64_t size_of(const std::vector<hub::Garbage>& garbage) {
  std::uint64_t sum = 0;
  for (const hub::Garbage& item : garbage)
    sum += item.size_bytes;
  return sum;
}

class RmCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "rm"; }
  std::string_view summary() const override {
    return "Remove models from the registry, and files that no other one needs";
  }
  void declare_arguments(OptionSet& options) override {
    options.add_positional(names_, {.name = "names", .help = "Models in the registry."});
  }

  Status run(const ModelStore& registry) override {
    std::vector<StoredModel> models;  // All are known before the first goes.
    for (const std::string& name : names_) {
      HEARTH_ASSIGN_OR_RETURN(StoredModel model, find_model(registry, name));
      models.push_back(std::move(model));
    }
    for (const StoredModel& model : models) {
      HEARTH_RETURN_IF_ERROR(registry.remove(model));
      HEARTH_RETURN_IF_ERROR(print(fmt::format("removed {}\n", model.name.text())));
    }
    const auto garbage = registry.collect({.dry_run = false, .unfinished_too = false});
    if (!garbage.has_value() && garbage.error().code() == StatusCode::kUnavailable) {
      return print(fmt::format("{}; then 'hearth gc' frees the space\n",
                               single_line(garbage.error().message())));
    }
    if (!garbage.has_value()) return garbage.error();
    return print(fmt::format("freed {}\n", human_bytes(size_of(*garbage))));
  }

 private:
  std::vector<std::string> names_;
};

class GcCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "gc"; }
  std::string_view summary() const override {
    return "Remove files that no model needs, and unfinished downloads";
  }
  void declare_arguments(OptionSet& options) override {
    options.add(dry_run_, {.name = "dry-run", .help = "Only show what would be removed."});
    add_json(options);
  }

  Status run(const ModelStore& registry) override {
    HEARTH_ASSIGN_OR_RETURN(const auto garbage,
                            registry.collect({.dry_run = dry_run_, .unfinished_too = true}));
    const std::uint64_t bytes = size_of(garbage);
    if (json_) {
      json::Array files;
      for (const hub::Garbage& item : garbage)
        files.emplace_back(json::Object{{"path", item.path.string()}, {"size", item.size_bytes}});
      return print(dump_text(
          json::Object{{"dry_run", dry_run_}, {"size", bytes}, {"files", std::move(files)}}));
    }
    for (const hub::Garbage& item : garbage) {
      HEARTH_RETURN_IF_ERROR(print(
          fmt::format("{}  {}\n", single_line(item.path.string()), human_bytes(item.size_bytes))));
    }
    return print(fmt::format("{} {} in {} files\n", dry_run_ ? "would free" : "freed",
                             human_bytes(bytes), garbage.size()));
  }

 private:
  bool dry_run_ = false;
};

class VerifyCommand final : public RegistryCommand {
 public:
  std::string_view name() const override { return "verify"; }
  std::string_view summary() const override {
    return "Read every byte of models in the registry and check it";
  }
  void declare_arguments(OptionSet& options) override {
    options.add_positional(
        names_,
        {.name = "names", .help = "Models in the registry; none: all of them.", .required = false});
    options.add(repair_, {.name = "repair",
                          .help = "Remove damaged files, so that the next pull or import of the "
                                  "model brings them anew."});
    add_json(options);
  }

  Status run(const ModelStore& registry) override {
    HEARTH_ASSIGN_OR_RETURN(const auto models, chosen(registry));
    if (models.empty()) return json_ ? print(dump_text(json::Array())) : Status();
    hub::Failpoints failpoints;
    auto writer = hub::StoreWriter::open(registry, failpoints);
    std::size_t num_bad = 0;
    std::string first_bad;
    json::Array report;
    for (const StoredModel& model : models) {
      HEARTH_ASSIGN_OR_RETURN(auto files, registry.verify(model));
      if (const auto path = registry.resolve(model); !path.has_value()) {
        const bool told = std::ranges::any_of(files, [](const auto& f) { return !f.status.ok(); });
        if (!told) files.front().status = path.error();
      }
      for (hub::CheckedFile& file : files) {
        const bool renewed = file.status.ok() && renew_sums(registry, writer, file);
        if (!file.status.ok() && num_bad++ == 0) first_bad = file.path;
        HEARTH_RETURN_IF_ERROR(tell(registry, {model, file, renewed}, report));
      }
    }
    if (json_) HEARTH_RETURN_IF_ERROR(print(dump_text(std::move(report))));
    if (num_bad == 0) return {};
    return make_status(StatusCode::kDataLoss, "{} damaged, first '{}'; {}",
                       num_bad == 1 ? "1 file is" : fmt::format("{} files are", num_bad), first_bad,
                       repair_ ? "removed: pull or import the model again"
                               : "run it with --repair, then pull or import the model again");
  }

 private:
  Result<std::vector<StoredModel>> chosen(const ModelStore& registry) const {
    if (names_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(const hub::StoreListing listing, registry.list());
      HEARTH_RETURN_IF_ERROR(damaged_entries(listing));
      return listing.models;
    }
    std::vector<StoredModel> models;
    for (const std::string& name : names_) {
      HEARTH_ASSIGN_OR_RETURN(StoredModel model, find_model(registry, name));
      models.push_back(std::move(model));
    }
    return models;
  }

  // A registry that cannot be written may lack checksums, but must not have wrong ones.
  static bool renew_sums(const ModelStore& registry, Result<hub::StoreWriter>& writer,
                         hub::CheckedFile& file) {
    const Result<bool> there = registry.has_sums(file.sha256);
    if (there.has_value() && *there) return false;
    const Status written = writer.has_value() ? writer->renew_sums(file.sha256) : writer.error();
    if (!written.ok() && !there.has_value()) {
      file.status = there.error().with_context(written.message());
    }
    return written.ok();
  }

  struct Finding {
    const StoredModel& model;
    const hub::CheckedFile& file;
    bool renewed;  // Its checksums for loading were missing or damaged, and were written.
  };

  Status tell(const ModelStore& registry, const Finding& finding, json::Array& report) const {
    const auto& [model, file, renewed] = finding;
    const bool ok = file.status.ok();
    if (!ok && repair_) HEARTH_RETURN_IF_ERROR(registry.remove_blob(file.sha256));
    if (json_) {
      report.emplace_back(json::Object{{"name", model.name.text()},
                                       {"path", file.path},
                                       {"sha256", file.sha256},
                                       {"ok", ok},
                                       {"checksums_written", renewed},
                                       {"error", ok ? json::Value() : file.status.message()}});
      return {};
    }
    std::string note = ok ? "" : ": " + single_line(file.status.message());
    if (renewed) note = " (wrote the checksums that loading compares it with)";
    return print(fmt::format("{:<7}  {}  {}{}\n", ok ? "ok" : "DAMAGED", model.name.text(),
                             file.path, note));
  }

  std::vector<std::string> names_;
  bool repair_ = false;
};

}  // namespace

std::unique_ptr<Command> make_list_command() {
  return std::make_unique<ListCommand>();
}

std::unique_ptr<Command> make_show_command() {
  return std::make_unique<ShowCommand>();
}

std::unique_ptr<Command> make_alias_command() {
  return std::make_unique<AliasCommand>();
}

std::unique_ptr<Command> make_rm_command() {
  return std::make_unique<RmCommand>();
}

std::unique_ptr<Command> make_verify_command() {
  return std::make_unique<VerifyCommand>();
}

std::unique_ptr<Command> make_gc_command() {
  return std::make_unique<GcCommand>();
}

}  // namespace hearth
