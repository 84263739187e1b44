#include "jinja/template.h"

#include "base/utf8.h"
#include "jinja/interpreter.h"
#include "jinja/lexer.h"
#include "jinja/parser.h"

namespace hearth::jinja {
namespace {

Status to_status(const Failure& failure, std::string_view source) {
  const SourcePosition position = locate(source, failure.offset);
  return make_status(failure.code, "{} (template line {}, column {})", failure.message,
                     position.line, position.column);
}

}  // namespace

Template::Template(std::string source, std::unique_ptr<const Tree> tree, const Limits& limits)
    : source_(std::move(source)), tree_(std::move(tree)), limits_(limits) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::compile(std::string_view source, const Limits& limits) {
  constexpr std::size_t kMaxSourceBytes = 4u << 20;
  if (source.size() > kMaxSourceBytes) {
    return error(StatusCode::kOutOfRange, "the template has {} bytes, the limit is {}",
                 source.size(), kMaxSourceBytes);
  }
  if (!utf8::is_valid(source)) {
    return error(StatusCode::kInvalidArgument, "the template is not valid UTF-8 at byte {}",
                 utf8::first_invalid(source));
  }
  std::string normalized = normalize_source(source);
  try {
    auto tree = parse(normalized, limits.max_depth);
    return Template(std::move(normalized), std::move(tree), limits);
  } catch (const Failure& failure) {
    return std::unexpected(to_status(failure, normalized));
  }
}

Result<Rendered> Template::render(const RenderInput& input) const {
  try {
    Interpreter interpreter(*tree_, limits_, input.now, input.stop);
    TextBuilder out = interpreter.run(input.variables, input.trusted);
    Rendered rendered;
    rendered.runs = out.marks().runs();
    rendered.text = out.take_bytes();
    return rendered;
  } catch (const Failure& failure) {
    return std::unexpected(to_status(failure, source_));
  }
}

}  // namespace hearth::jinja
