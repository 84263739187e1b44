// Models from and to files of the user.
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "hub/bundle.h"

namespace hearth {
namespace {

class ImportCommand final : public Command {
 public:
  std::string_view name() const override { return "import"; }
  std::string_view summary() const override { return "Copy a model from a file into the registry"; }

  void declare(OptionSet& options) override {
    options.add_positional(path_, {.name = "path",
                                   .help = "GGUF file, first part of a split one, directory of a "
                                           "model, or a bundle written by hearth export."});
    options.add(name_, {.name = "name",
                        .help = "[ORG/]MODEL[:TAG]. Empty: what the file or bundle is called.",
                        .placeholder = "NAME"});
    add_models_dir(options, models_dir_);
    options.add(failpoint_, {.name = "failpoint",
                             .help = "For tests: NAME[=kill|=full][@N] ends the command, or lets "
                                     "the disk be full, at a step.",
                             .placeholder = "NAME",
                             .advanced = true});
  }

  Status check() override {
    if (!name_.empty()) {
      HEARTH_ASSIGN_OR_RETURN(parsed_name_, hub::ModelName::parse(name_));
    }
    HEARTH_ASSIGN_OR_RETURN(failpoints_, hub::Failpoints::parse(failpoint_));
    return {};
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelStore registry, model_registry(models_dir_));
    HEARTH_ASSIGN_OR_RETURN(auto writer, hub::StoreWriter::open(registry, failpoints_));
    HEARTH_ASSIGN_OR_RETURN(const hub::StoredModel model,
                            hub::import_model(writer, path_, parsed_name_));
    return print(fmt::format("imported {} ({})\n", model.name.text(),
                             human_bytes(model.manifest.size_bytes())));
  }

 private:
  std::string path_;
  std::string name_;
  hub::ModelName parsed_name_;
  std::filesystem::path models_dir_;
  std::string failpoint_;
  hub::Failpoints failpoints_;
};

class ExportCommand final : public Command {
 public:
  std::string_view name() const override { return "export"; }
  std::string_view summary() const override {
    return "Write a model of the registry to one file, for a machine without a network";
  }

  void declare(OptionSet& options) override {
    options.add_positional(name_, {.name = "name", .help = "Model in the registry."});
    options.add_positional(
        file_, {.name = "file", .help = "Tar file to write; hearth import reads and checks it."});
    add_models_dir(options, models_dir_);
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelName name, hub::ModelName::parse(name_));
    HEARTH_ASSIGN_OR_RETURN(const hub::ModelStore registry, model_registry(models_dir_));
    HEARTH_ASSIGN_OR_RETURN(const hub::StoredModel model, registry.find(name));
    HEARTH_RETURN_IF_ERROR(hub::export_bundle(registry, model, file_));
    return print(fmt::format("wrote {} ({}) to {}\n", model.name.text(),
                             human_bytes(model.manifest.size_bytes()), single_line(file_)));
  }

 private:
  std::string name_;
  std::string file_;
  std::filesystem::path models_dir_;
};

}  // namespace

std::unique_ptr<Command> make_import_command() {
  return std::make_unique<ImportCommand>();
}

std::unique_ptr<Command> make_export_command() {
  return std::make_unique<ExportCommand>();
}

}  // namespace hearth
