#include <array>
#include <fstream>

#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "tokenizer/chat_prompt.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxContextBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxTemplateBytes = std::size_t{4} << 20;

bool is_model(const std::string& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) return true;
  // What is no file may be a name in the registry.
  if (!std::filesystem::exists(path, failure)) return hub::ModelName::parse(path).has_value();
  std::array<char, 4> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return std::string_view(magic.data(), magic.size()) == "GGUF";
}

struct TemplateSource {
  std::string text;
  std::unique_ptr<Tokenizer> tokenizer;  // nullptr for a plain template file.
};

Result<TemplateSource> read_template(const std::string& path,
                                     const std::filesystem::path& models_dir) {
  if (!is_model(path)) {
    HEARTH_ASSIGN_OR_RETURN(std::string text, read_text_file(path, kMaxTemplateBytes));
    return TemplateSource{.text = std::move(text), .tokenizer = nullptr};
  }
  HEARTH_ASSIGN_OR_RETURN(const ModelFile file, open_model(path, models_dir));
  HEARTH_ASSIGN_OR_RETURN(const auto text, file.find_text("tokenizer.chat_template"));
  if (!text.has_value()) {
    return error(StatusCode::kNotFound, "model '{}' has no chat template", path);
  }
  HEARTH_ASSIGN_OR_RETURN(auto tokenizer, Tokenizer::load(file));
  return TemplateSource{.text = std::string(*text), .tokenizer = std::move(tokenizer)};
}

class TemplateCommand final : public Command {
 public:
  std::string_view name() const override { return "template"; }
  std::string_view summary() const override {
    return "Print the prompt that a chat template makes of messages";
  }

  void declare(OptionSet& options) override {
    options.add_positional(
        template_, {.name = "template", .help = "A model with a chat template, or a Jinja file."});
    options.add_positional(
        context_, {.name = "context",
                   .help = "JSON file with an object: messages, tools, add_generation_prompt and "
                           "what else the template reads; '-' or nothing reads standard input. "
                           "bos_token and eos_token come from the model unless they are given.",
                   .required = false});
    add_models_dir(options, models_dir_);
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const TemplateSource source, read_template(template_, models_dir_));
    HEARTH_ASSIGN_OR_RETURN(const ChatTemplate chat_template, ChatTemplate::compile(source.text));
    HEARTH_ASSIGN_OR_RETURN(const std::string text,
                            context_ == "-" ? read_stdin(kMaxContextBytes)
                                            : read_text_file(context_, kMaxContextBytes));
    auto context = json::parse(text);
    const std::string origin = context_ == "-" ? "standard input" : context_;
    if (!context.has_value()) return context.error().with_context(origin);
    json::Object* object = context->as_object();
    if (object == nullptr) {
      return make_status(StatusCode::kInvalidArgument, "{}: expected a JSON object, not {}", origin,
                         context->type_name());
    }
    if (source.tokenizer != nullptr) add_special_tokens(*source.tokenizer, *object);
    HEARTH_ASSIGN_OR_RETURN(const RenderedPrompt prompt, chat_template.render(*context));
    return print(prompt.text());
  }

 private:
  std::string template_;
  std::filesystem::path models_dir_;
  std::string context_ = "-";
};

}  // namespace

std::unique_ptr<Command> make_template_command() {
  return std::make_unique<TemplateCommand>();
}

}  // namespace hearth
