#include "tokenizer/chat_template.h"

#include "base/clock.h"
#include "jinja/template.h"

namespace hearth {
namespace {

// Special tokens handed to the template by us, not by a user.
constexpr std::string_view kOwnVariables[] = {"bos_token", "eos_token", "unk_token", "pad_token"};

SpecialText special_text(jinja::Origin origin) {
  return origin == jinja::Origin::kTemplate ? SpecialText::kParse : SpecialText::kPlain;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  jinja::Template compiled;
};

std::string RenderedPrompt::text() const {
  std::string out;
  for (const Span& span : spans)
    out += span.text;
  return out;
}

ChatTemplate::ChatTemplate(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, TemplateLimits limits) {
  const jinja::Limits engine_limits{.max_steps = limits.max_steps,
                                    .max_output_bytes = limits.max_output_bytes,
                                    .max_value_bytes = limits.max_value_bytes,
                                    .max_depth = limits.max_depth};
  HEARTH_ASSIGN_OR_RETURN(auto compiled, jinja::Template::compile(source, engine_limits));
  return ChatTemplate(std::make_unique<const Impl>(std::string(source), std::move(compiled)));
}

Result<RenderedPrompt> ChatTemplate::render(const json::Value& context,
                                            const RenderOptions& options) const {
  const json::Object* variables = context.as_object();
  if (variables == nullptr) {
    return error(StatusCode::kInvalidArgument, "a chat template's context is an object, not {}",
                 context.type_name());
  }
  const jinja::RenderInput input{.variables = *variables,
                                 .trusted = {std::begin(kOwnVariables), std::end(kOwnVariables)},
                                 .now = options.now.value_or(system_clock().wall_now()),
                                 .stop = options.stop};
  HEARTH_ASSIGN_OR_RETURN(const auto rendered, impl_->compiled.render(input));
  RenderedPrompt prompt;
  std::size_t begin = 0;
  for (const jinja::Marks::Run& run : rendered.runs) {
    prompt.spans.push_back(
        {rendered.text.substr(begin, run.end - begin), special_text(run.origin)});
    begin = run.end;
  }
  return prompt;
}

std::string_view ChatTemplate::source() const {
  return impl_->source;
}

}  // namespace hearth
