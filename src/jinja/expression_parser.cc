#include "jinja/expression_parser.h"

#include <algorithm>
#include <array>

namespace hearth::jinja {
namespace {

using std::string_view;

// Operators of one level chain without nesting; the tree still grows by one per operator.
constexpr std::uint32_t kMaxTreeDepth = 500;

bool is_constant_name(string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

}  // namespace

ExpressionParser::ExpressionParser(string_view source, std::size_t max_depth)
    : tokens_(tokenize(source)), max_depth_(max_depth), tree_(std::make_unique<Tree>()) {}

Token ExpressionParser::take() {
  Token token = current();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool ExpressionParser::skip_op(string_view op) {
  if (!is_op(op)) return false;
  take();
  return true;
}

bool ExpressionParser::skip_name(string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

std::string ExpressionParser::describe(const Token& token) {
  switch (token.type) {
    case TokenType::kData:
      return "text";
    case TokenType::kBlockBegin:
      return "'{%'";
    case TokenType::kBlockEnd:
      return "the end of the tag";
    case TokenType::kVariableBegin:
      return "'{{'";
    case TokenType::kVariableEnd:
      return "'}}'";
    case TokenType::kString:
      return "a string";
    case TokenType::kEnd:
      return "the end of the template";
    default:
      return fmt::format("'{}'", token.text);
  }
}

void ExpressionParser::unexpected(string_view expected) const {
  fail_at(here(), "expected {}, got {}", expected, describe(current()));
}

void ExpressionParser::expect_op(string_view op) {
  if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
}

std::string ExpressionParser::expect_name() {
  if (current().type != TokenType::kName) unexpected("a name");
  return take().text;
}

void ExpressionParser::expect(TokenType type, string_view what) {
  if (current().type != type) unexpected(what);
  take();
}

NameId ExpressionParser::name_id(const std::string& name) {
  const auto [it, added] = ids_.try_emplace(name, static_cast<NameId>(tree_->names.size()));
  if (added) tree_->names.push_back(text_literal(name));
  return it->second;
}

const Text* ExpressionParser::text_literal(std::string text) {
  const std::size_t size = text.size();
  Marks marks;
  marks.append(size, Origin::kTemplate);
  auto* owner = tree_->arena.make<TextBuffer>(std::move(text), std::move(marks));
  // A second, borrowing buffer: literals are shared by renders and must never grow in place.
  auto* buffer = tree_->arena.make<TextBuffer>(owner->bytes(), Origin::kTemplate);
  return tree_->arena.make<Text>(buffer, 0, size, false);
}

std::string ExpressionParser::target_name() {
  const std::uint32_t at = here();
  std::string name = expect_name();
  if (is_constant_name(name)) fail_at(at, "cannot assign to '{}'", name);
  return name;
}

ExprPtr ExpressionParser::assignment_target(bool with_namespace) {
  const std::uint32_t at = here();
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!is_op("=") && !is_name("in") && !is_op(")") && current().type != TokenType::kBlockEnd) {
    items.push_back(single_target(with_namespace));
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (items.empty()) unexpected("a name to assign to");
  if (!is_tuple) return std::move(items.front());
  auto tuple = std::make_unique<SequenceExpr>(at, true);
  tuple->items = std::move(items);
  return tuple;
}

ExprPtr ExpressionParser::single_target(bool with_namespace) {
  const Nesting nesting(*this);
  const std::uint32_t at = here();
  if (skip_op("(")) {
    ExprPtr inner = assignment_target(with_namespace);
    expect_op(")");
    return inner;
  }
  const std::string name = target_name();
  if (with_namespace && skip_op(".")) {
    const NameId id = name_id(name);
    return std::make_unique<NamespaceTarget>(at, id, text_literal(expect_name()));
  }
  return std::make_unique<NameExpr>(at, name_id(name));
}

void ExpressionParser::grow(Expr& node, std::initializer_list<const Expr*> children) const {
  for (const Expr* child : children) {
    if (child != nullptr) node.depth = std::max(node.depth, child->depth + 1);
  }
  if (node.depth > kMaxTreeDepth) {
    throw Failure{StatusCode::kOutOfRange,
                  fmt::format("an expression of more than {} chained operations", kMaxTreeDepth),
                  node.offset};
  }
}

bool ExpressionParser::at_tuple_end() const {
  return current().type == TokenType::kVariableEnd || current().type == TokenType::kBlockEnd ||
         is_op(")");
}

ExprPtr ExpressionParser::tuple(bool with_condition, bool parenthesized) {
  const std::uint32_t at = here();
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end() && !(is_tuple && is_name("recursive"))) {
    items.push_back(with_condition ? expression() : logical_or());
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (items.empty() && !parenthesized) unexpected("an expression");
  auto node = std::make_unique<SequenceExpr>(at, true);
  node->items = std::move(items);
  for (const ExprPtr& item : node->items)
    grow(*node, {item.get()});
  return node;
}

ExprPtr ExpressionParser::expression() {
  const Nesting nesting(*this);
  const std::uint32_t at = here();
  ExprPtr value = logical_or();
  while (skip_name("if")) {
    auto node = std::make_unique<ConditionalExpr>(at);
    node->then = std::move(value);
    node->condition = logical_or();
    if (skip_name("else")) node->otherwise = expression();
    grow(*node, {node->then.get(), node->condition.get(), node->otherwise.get()});
    value = std::move(node);
  }
  return value;
}

ExprPtr ExpressionParser::logical_or() {
  ExprPtr left = logical_and();
  while (is_name("or"))
    left = logical(take().offset, false, std::move(left), &ExpressionParser::logical_and);
  return left;
}

ExprPtr ExpressionParser::logical_and() {
  ExprPtr left = logical_not();
  while (is_name("and"))
    left = logical(take().offset, true, std::move(left), &ExpressionParser::logical_not);
  return left;
}

ExprPtr ExpressionParser::logical(std::uint32_t at, bool conjunction, ExprPtr left,
                                  ExprPtr (ExpressionParser::*next)()) {
  auto node = std::make_unique<LogicalExpr>(at, conjunction);
  node->left = std::move(left);
  node->right = (this->*next)();
  grow(*node, {node->left.get(), node->right.get()});
  return node;
}

ExprPtr ExpressionParser::logical_not() {
  if (!is_name("not")) return comparison();
  const Nesting nesting(*this);
  return unary_node(take().offset, UnaryOp::kNot, logical_not());
}

ExprPtr ExpressionParser::unary_node(std::uint32_t at, UnaryOp op, ExprPtr operand) const {
  auto node = std::make_unique<UnaryExpr>(at, op);
  node->operand = std::move(operand);
  grow(*node, {node->operand.get()});
  return node;
}

bool ExpressionParser::compare_operator(CompareOp& op) {
  static constexpr std::array<std::pair<string_view, CompareOp>, 6> kOperators = {{
      {"==", CompareOp::kEqual},
      {"!=", CompareOp::kNotEqual},
      {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual},
      {">", CompareOp::kGreater},
      {">=", CompareOp::kGreaterEqual},
  }};
  for (const auto& [text, which] : kOperators) {
    if (!skip_op(text)) continue;
    op = which;
    return true;
  }
  if (skip_name("in")) {
    op = CompareOp::kIn;
    return true;
  }
  if (!is_name("not") || !ahead().is_name("in")) return false;
  take();
  take();
  op = CompareOp::kNotIn;
  return true;
}

ExprPtr ExpressionParser::comparison() {
  const std::uint32_t at = here();
  ExprPtr first = sum();
  CompareOp op{};
  if (!compare_operator(op)) return first;
  auto node = std::make_unique<CompareExpr>(at);
  node->first = std::move(first);
  grow(*node, {node->first.get()});
  do {
    node->rest.emplace_back(op, sum());
    grow(*node, {node->rest.back().second.get()});
  } while (compare_operator(op));
  return node;
}

ExprPtr ExpressionParser::binary_node(BinaryOp op, ExprPtr left,
                                      ExprPtr (ExpressionParser::*next)()) {
  auto node = std::make_unique<BinaryExpr>(take().offset, op);
  node->left = std::move(left);
  node->right = (this->*next)();
  grow(*node, {node->left.get(), node->right.get()});
  return node;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (true) {
    if (is_op("+")) {
      left = binary_node(BinaryOp::kAdd, std::move(left), &ExpressionParser::concatenation);
    } else if (is_op("-")) {
      left = binary_node(BinaryOp::kSubtract, std::move(left), &ExpressionParser::concatenation);
    } else {
      return left;
    }
  }
}

ExprPtr ExpressionParser::concatenation() {
  const std::uint32_t at = here();
  ExprPtr first = product();
  if (!is_op("~")) return first;
  auto node = std::make_unique<ConcatExpr>(at);
  grow(*node, {first.get()});
  node->items.push_back(std::move(first));
  while (skip_op("~")) {
    node->items.push_back(product());
    grow(*node, {node->items.back().get()});
  }
  return node;
}

ExprPtr ExpressionParser::product() {
  static constexpr std::array<std::pair<string_view, BinaryOp>, 4> kOperators = {{
      {"*", BinaryOp::kMultiply},
      {"/", BinaryOp::kDivide},
      {"//", BinaryOp::kFloorDivide},
      {"%", BinaryOp::kModulo},
  }};
  ExprPtr left = power();
  while (true) {
    const auto op =
        std::ranges::find_if(kOperators, [&](const auto& entry) { return is_op(entry.first); });
    if (op == kOperators.end()) return left;
    left = binary_node(op->second, std::move(left), &ExpressionParser::power);
  }
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = filtered_unary();
  while (is_op("**"))
    left = binary_node(BinaryOp::kPower, std::move(left), &ExpressionParser::filtered_unary);
  return left;
}

ExprPtr ExpressionParser::filtered_unary() {
  ExprPtr node = unary();
  while (true) {
    if (is_op("|")) {
      node = filters(std::move(node));
    } else if (is_name("is")) {
      node = test(std::move(node));
    } else if (is_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::unary() {
  if (is_op("-") || is_op("+")) {
    const Nesting nesting(*this);
    const Token sign = take();
    const UnaryOp op = sign.text == "-" ? UnaryOp::kNegate : UnaryOp::kPlus;
    return postfix(unary_node(sign.offset, op, unary()));
  }
  return postfix(primary());
}

ExprPtr ExpressionParser::primary() {
  const Token& token = current();
  const std::uint32_t at = token.offset;
  switch (token.type) {
    case TokenType::kName:
      return name();
    case TokenType::kString:
      return strings();
    case TokenType::kInteger:
      return std::make_unique<ConstantExpr>(at, Value(take().integer));
    case TokenType::kFloat:
      return std::make_unique<ConstantExpr>(at, Value(take().number));
    default:
      break;
  }
  if (is_op("(")) return parenthesized();
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  unexpected("an expression");
}

ExprPtr ExpressionParser::name() {
  const Token token = take();
  const string_view text = token.text;
  if (text == "true" || text == "True")
    return std::make_unique<ConstantExpr>(token.offset, Value(true));
  if (text == "false" || text == "False")
    return std::make_unique<ConstantExpr>(token.offset, Value(false));
  if (text == "none" || text == "None")
    return std::make_unique<ConstantExpr>(token.offset, Value());
  const NameId id = name_id(token.text);
  note_use(id);
  return std::make_unique<NameExpr>(token.offset, id);
}

void ExpressionParser::note_use(NameId id) {
  if (id == tree_->known.loop) {
    for (ForStatement* loop : open_loops_)
      loop->uses_loop = true;
  }
  for (Signature* signature : open_signatures_) {
    signature->uses_caller |= id == tree_->known.caller;
    signature->uses_varargs |= id == tree_->known.varargs;
    signature->uses_kwargs |= id == tree_->known.kwargs;
  }
}

ExprPtr ExpressionParser::strings() {
  const std::uint32_t at = here();
  std::string text;
  while (current().type == TokenType::kString)
    text += take().text;
  return std::make_unique<ConstantExpr>(at, Value(text_literal(std::move(text))));
}

ExprPtr ExpressionParser::parenthesized() {
  const Nesting nesting(*this);
  take();
  ExprPtr inner = tuple(true, true);
  expect_op(")");
  return inner;
}

ExprPtr ExpressionParser::list() {
  const Nesting nesting(*this);
  auto node = std::make_unique<SequenceExpr>(take().offset, false);
  while (!is_op("]")) {
    if (!node->items.empty()) {
      expect_op(",");
      if (is_op("]")) break;
    }
    node->items.push_back(expression());
    grow(*node, {node->items.back().get()});
  }
  expect_op("]");
  return node;
}

ExprPtr ExpressionParser::dict() {
  const Nesting nesting(*this);
  auto node = std::make_unique<DictExpr>(take().offset);
  while (!is_op("}")) {
    if (!node->items.empty()) {
      expect_op(",");
      if (is_op("}")) break;
    }
    ExprPtr key = expression();
    expect_op(":");
    node->items.emplace_back(std::move(key), expression());
    grow(*node, {node->items.back().first.get(), node->items.back().second.get()});
  }
  expect_op("}");
  return node;
}

ExprPtr ExpressionParser::postfix(ExprPtr node) {
  while (true) {
    if (is_op(".")) {
      node = attribute(std::move(node));
    } else if (is_op("[")) {
      node = subscript(std::move(node));
    } else if (is_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::attribute(ExprPtr object) {
  const std::uint32_t at = take().offset;
  if (current().type == TokenType::kInteger) {
    auto key = std::make_unique<ConstantExpr>(at, Value(take().integer));
    return item_node(at, std::move(object), std::move(key));
  }
  auto node = std::make_unique<AttributeExpr>(at, text_literal(expect_name()));
  node->object = std::move(object);
  grow(*node, {node->object.get()});
  return node;
}

ExprPtr ExpressionParser::item_node(std::uint32_t at, ExprPtr object, ExprPtr key) const {
  auto node = std::make_unique<ItemExpr>(at);
  node->object = std::move(object);
  node->key = std::move(key);
  grow(*node, {node->object.get(), node->key.get()});
  return node;
}

ExprPtr ExpressionParser::subscript(ExprPtr object) {
  const Nesting nesting(*this);
  const std::uint32_t at = take().offset;
  std::vector<ExprPtr> keys;
  while (!is_op("]")) {
    if (!keys.empty()) expect_op(",");
    keys.push_back(subscript_key());
  }
  expect_op("]");
  if (keys.size() == 1) return item_node(at, std::move(object), std::move(keys.front()));
  auto key = std::make_unique<SequenceExpr>(at, true);
  for (ExprPtr& item : keys) {
    if (item->kind == ExprKind::kSlice) fail_at(item->offset, "a slice cannot be part of a tuple");
    grow(*key, {item.get()});
    key->items.push_back(std::move(item));
  }
  return item_node(at, std::move(object), std::move(key));
}

ExprPtr ExpressionParser::subscript_key() {
  const std::uint32_t at = here();
  ExprPtr first;
  if (!is_op(":")) {
    first = expression();
    if (!is_op(":")) return first;
  }
  auto node = std::make_unique<SliceExpr>(at);
  node->start = std::move(first);
  take();
  const auto part_follows = [&] { return !is_op("]") && !is_op(",") && !is_op(":"); };
  if (part_follows()) node->stop = expression();
  if (skip_op(":") && part_follows()) node->step = expression();
  grow(*node, {node->start.get(), node->stop.get(), node->step.get()});
  return node;
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  auto node = std::make_unique<CallExpr>(here());
  node->callee = std::move(callee);
  node->arguments = arguments();
  grow_by_arguments(*node, node->arguments, node->callee.get());
  return node;
}

void ExpressionParser::grow_by_arguments(Expr& node, const CallArguments& arguments,
                                         const Expr* input) const {
  grow(node, {input, arguments.spread.get(), arguments.named_spread.get()});
  for (const ExprPtr& item : arguments.positional)
    grow(node, {item.get()});
  for (const auto& [name, item] : arguments.named)
    grow(node, {item.get()});
}

CallArguments ExpressionParser::arguments() {
  const Nesting nesting(*this);
  const std::uint32_t at = here();
  expect_op("(");
  CallArguments out;
  bool first = true;
  while (!is_op(")")) {
    if (!std::exchange(first, false)) {
      expect_op(",");
      if (is_op(")")) break;
    }
    argument(out, at);
  }
  expect_op(")");
  return out;
}

void ExpressionParser::argument(CallArguments& out, std::uint32_t at) {
  bool valid = out.named_spread == nullptr;
  if (skip_op("*")) {
    valid = valid && out.spread == nullptr;
    out.spread = expression();
  } else if (skip_op("**")) {
    out.named_spread = expression();
  } else if (current().type == TokenType::kName && ahead().is_operator("=")) {
    const Text* name = text_literal(take().text);
    take();
    const auto same = [&](const auto& entry) { return entry.first->view() == name->view(); };
    valid = valid && std::ranges::none_of(out.named, same);
    out.named.emplace_back(name, expression());
  } else {
    valid = valid && out.spread == nullptr && out.named.empty();
    out.positional.push_back(expression());
  }
  if (!valid) fail_at(at, "invalid arguments of a call");
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect_name();
  while (skip_op("."))
    name += "." + expect_name();
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr node) {
  while (skip_op("|"))
    node = one_filter(std::move(node));
  return node;
}

ExprPtr ExpressionParser::one_filter(ExprPtr input) {
  auto node = std::make_unique<FilterExpr>(here());
  node->name = dotted_name();
  node->input = std::move(input);
  if (is_op("(")) node->arguments = arguments();
  grow_by_arguments(*node, node->arguments, node->input.get());
  return node;
}

bool ExpressionParser::at_test_argument() const {
  const TokenType type = current().type;
  if (type == TokenType::kName) return !is_name("else") && !is_name("or") && !is_name("and");
  return type == TokenType::kString || type == TokenType::kInteger || type == TokenType::kFloat ||
         is_op("[") || is_op("{");
}

ExprPtr ExpressionParser::test(ExprPtr input) {
  const std::uint32_t at = take().offset;
  const bool negated = skip_name("not");
  auto node = std::make_unique<TestExpr>(at);
  node->name = dotted_name();
  if (is_op("(")) {
    node->arguments = arguments();
  } else if (at_test_argument()) {
    if (is_name("is")) fail_at(here(), "tests cannot be chained with 'is'");
    node->arguments.positional.push_back(postfix(primary()));
  }
  node->input = std::move(input);
  grow_by_arguments(*node, node->arguments, node->input.get());
  if (!negated) return node;
  return unary_node(at, UnaryOp::kNot, std::move(node));
}

}  // namespace hearth::jinja
