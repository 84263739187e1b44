#include "jinja/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "jinja/expression_parser.h"
#include "jinja/failure.h"

namespace hearth::jinja {
namespace {

using std::string_view;

class Parser final : ExpressionParser {
 public:
  Parser(string_view source, std::size_t max_depth) : ExpressionParser(source, max_depth) {}

  std::unique_ptr<const Tree> run() {
    tree_->known = {name_id("loop"), name_id("caller"), name_id("varargs"), name_id("kwargs")};
    tree_->body = block_until({});
    return std::move(tree_);
  }

 private:
  using EndTags = std::initializer_list<string_view>;
  using StatementParser = StatementPtr (Parser::*)(std::uint32_t);

  Block block_until(EndTags end_tags) {
    const Nesting nesting(*this);
    Block body;
    while (current().type != TokenType::kEnd) {
      if (current().type == TokenType::kData) {
        const Token token = take();
        body.push_back(std::make_unique<DataStatement>(token.offset, token.text));
      } else if (current().type == TokenType::kVariableBegin) {
        body.push_back(output());
      } else {
        take();  // kBlockBegin
        if (std::ranges::any_of(end_tags, [&](string_view tag) { return is_name(tag); }))
          return body;
        body.push_back(statement());
        expect(TokenType::kBlockEnd, "the end of the tag");
      }
    }
    if (end_tags.size() > 0) {
      fail_at(here(), "the template ends where '{}' is expected", *end_tags.begin());
    }
    return body;
  }

  // The rest of an opening tag and the body up to one of `end_tags`, whose name is the current
  // token.
  Block body_until(EndTags end_tags) {
    skip_op(":");
    expect(TokenType::kBlockEnd, "the end of the tag");
    return block_until(end_tags);
  }

  Block body_through(string_view end_tag) {
    Block body = body_until({end_tag});
    take();
    return body;
  }

  StatementPtr output() {
    auto statement = std::make_unique<OutputStatement>(take().offset);
    statement->value = tuple();
    expect(TokenType::kVariableEnd, "'}}'");
    return statement;
  }

  StatementPtr statement() {
    struct Tag {
      string_view name;
      StatementParser parse;
    };
    static constexpr std::array<Tag, 20> kTags = {{
        {"if", &Parser::if_tag},
        {"for", &Parser::for_tag},
        {"set", &Parser::set_tag},
        {"macro", &Parser::macro_tag},
        {"call", &Parser::call_tag},
        {"filter", &Parser::filter_tag},
        {"with", &Parser::with_tag},
        {"print", &Parser::print_tag},
        {"generation", &Parser::generation_tag},
        {"block", &Parser::block_tag},
        {"break", &Parser::loop_control_tag},
        {"continue", &Parser::loop_control_tag},
        {"include", &Parser::refused_tag},
        {"import", &Parser::refused_tag},
        {"from", &Parser::refused_tag},
        {"extends", &Parser::refused_tag},
        {"autoescape", &Parser::refused_tag},
        {"do", &Parser::refused_tag},
        {"trans", &Parser::refused_tag},
        {"debug", &Parser::refused_tag},
    }};
    if (current().type != TokenType::kName) unexpected("a tag name");
    const auto tag = std::ranges::find(kTags, string_view(current().text), &Tag::name);
    if (tag == kTags.end()) fail_at(here(), "unknown tag '{}'", current().text);
    const std::uint32_t offset = here();
    return (this->*tag->parse)(offset);
  }

  StatementPtr refused_tag(std::uint32_t offset) {
    throw Failure{StatusCode::kUnimplemented,
                  fmt::format("the tag '{}' is not available in chat templates", current().text),
                  offset};
  }

  StatementPtr if_tag(std::uint32_t offset) {
    auto node = std::make_unique<IfStatement>(offset);
    take();
    while (true) {
      IfStatement::Branch branch;
      branch.condition = tuple(false);
      branch.body = body_until({"elif", "else", "endif"});
      node->branches.push_back(std::move(branch));
      const Token end = take();
      if (end.text == "elif") continue;
      if (end.text == "else") node->branches.push_back({nullptr, body_through("endif")});
      return node;
    }
  }

  StatementPtr for_tag(std::uint32_t offset) {
    auto node = std::make_unique<ForStatement>(offset);
    take();
    node->target = assignment_target(false);
    if (!skip_name("in")) unexpected("'in'");
    node->sequence = tuple(false);
    if (skip_name("if")) node->filter = expression();
    node->recursive = skip_name("recursive");
    open_loops_.push_back(node.get());
    node->body = body_until({"endfor", "else"});
    open_loops_.pop_back();
    if (take().text == "else") node->otherwise = body_through("endfor");
    return node;
  }

  StatementPtr set_tag(std::uint32_t offset) {
    take();
    ExprPtr target = assignment_target(true);
    if (skip_op("=")) {
      auto node = std::make_unique<SetStatement>(offset);
      node->target = std::move(target);
      node->value = tuple();
      return node;
    }
    auto node = std::make_unique<SetBlockStatement>(offset);
    node->target = std::move(target);
    if (is_op("|")) node->filter = filters(nullptr);
    node->body = body_through("endset");
    return node;
  }

  StatementPtr macro_tag(std::uint32_t offset) {
    auto node = std::make_unique<MacroStatement>(offset);
    take();
    const std::string name = target_name();
    node->id = name_id(name);
    node->name = tree_->names[node->id];
    parameters(node->signature);
    signature_body(node->signature, "endmacro");
    return node;
  }

  StatementPtr call_tag(std::uint32_t offset) {
    auto node = std::make_unique<CallBlockStatement>(offset);
    take();
    if (is_op("(")) parameters(node->signature);
    ExprPtr call = expression();
    if (call->kind != ExprKind::kCall) fail_at(offset, "expected a call");
    node->call.reset(static_cast<CallExpr*>(call.release()));
    signature_body(node->signature, "endcall");
    return node;
  }

  void parameters(Signature& signature) {
    expect_op("(");
    bool fallbacks = false;
    while (!is_op(")")) {
      if (!signature.parameters.empty()) expect_op(",");
      Signature::Parameter parameter;
      const std::uint32_t at = here();
      parameter.id = name_id(target_name());
      parameter.name = tree_->names[parameter.id];
      if (skip_op("=")) {
        parameter.fallback = expression();
        fallbacks = true;
      } else if (fallbacks) {
        fail_at(at, "a parameter without default follows one with a default");
      }
      signature.parameters.push_back(std::move(parameter));
    }
    expect_op(")");
  }

  void signature_body(Signature& signature, string_view end_tag) {
    std::vector<ForStatement*> outer_loops;
    outer_loops.swap(open_loops_);
    open_signatures_.push_back(&signature);
    signature.body = body_through(end_tag);
    open_signatures_.pop_back();
    outer_loops.swap(open_loops_);
  }

  StatementPtr filter_tag(std::uint32_t offset) {
    auto node = std::make_unique<FilterBlockStatement>(offset);
    take();
    node->filter = filters(one_filter(nullptr));
    node->body = body_through("endfilter");
    return node;
  }

  StatementPtr with_tag(std::uint32_t offset) {
    auto node = std::make_unique<WithStatement>(offset);
    take();
    while (current().type != TokenType::kBlockEnd) {
      if (!node->bindings.empty()) expect_op(",");
      ExprPtr target = assignment_target(false);
      expect_op("=");
      node->bindings.emplace_back(std::move(target), expression());
    }
    node->body = body_through("endwith");
    return node;
  }

  StatementPtr print_tag(std::uint32_t offset) {
    take();
    auto node = std::make_unique<OutputStatement>(offset);
    auto concat = std::make_unique<ConcatExpr>(offset);
    while (current().type != TokenType::kBlockEnd) {
      if (!concat->items.empty()) expect_op(",");
      concat->items.push_back(expression());
      grow(*concat, {concat->items.back().get()});
    }
    node->value = std::move(concat);
    return node;
  }

  StatementPtr generation_tag(std::uint32_t offset) {
    take();
    auto node = std::make_unique<ScopeStatement>(offset);
    node->body = body_through("endgeneration");
    return node;
  }

  StatementPtr block_tag(std::uint32_t offset) {
    take();
    auto node = std::make_unique<ScopeStatement>(offset);
    const std::string name = expect_name();
    node->from_root = !skip_name("scoped");
    std::vector<ForStatement*> outer_loops;
    outer_loops.swap(open_loops_);
    node->body = body_through("endblock");
    outer_loops.swap(open_loops_);
    skip_name(name);
    return node;
  }

  StatementPtr loop_control_tag(std::uint32_t offset) {
    const std::string name = take().text;
    if (open_loops_.empty()) fail_at(offset, "'{}' outside of a loop", name);
    return std::make_unique<LoopControlStatement>(offset, name == "break");
  }
};

}  // namespace

std::unique_ptr<const Tree> parse(std::string_view source, std::size_t max_depth) {
  return Parser(source, max_depth).run();
}

}  // namespace hearth::jinja
