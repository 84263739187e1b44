#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/interpreter.h"
#include "jinja/nesting.h"
#include "jinja/operators.h"
#include "jinja/printing.h"

namespace hearth::jinja {

Value Interpreter::evaluate(const Expr& expr) {
  if (expr.kind == ExprKind::kConstant) return static_cast<const ConstantExpr&>(expr).value;
  const Nesting nesting(*this);
  spend();
  return evaluate_node(expr);
}

Value Interpreter::evaluate_node(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return static_cast<const ConstantExpr&>(expr).value;
    case ExprKind::kName:
      return lookup(static_cast<const NameExpr&>(expr).id);
    case ExprKind::kSequence:
      return eval_sequence(static_cast<const SequenceExpr&>(expr));
    case ExprKind::kDict:
      return eval_dict(static_cast<const DictExpr&>(expr));
    case ExprKind::kUnary:
      return eval_unary(static_cast<const UnaryExpr&>(expr));
    case ExprKind::kBinary:
      return eval_binary(static_cast<const BinaryExpr&>(expr));
    case ExprKind::kConcat:
      return eval_concat(static_cast<const ConcatExpr&>(expr));
    case ExprKind::kCompare:
      return eval_compare(static_cast<const CompareExpr&>(expr));
    case ExprKind::kLogical:
      return eval_logical(static_cast<const LogicalExpr&>(expr));
    case ExprKind::kConditional:
      return eval_conditional(static_cast<const ConditionalExpr&>(expr));
    case ExprKind::kAttribute:
      return eval_attribute(static_cast<const AttributeExpr&>(expr));
    case ExprKind::kItem:
      return eval_item(static_cast<const ItemExpr&>(expr));
    case ExprKind::kCall:
      return eval_call(static_cast<const CallExpr&>(expr));
    case ExprKind::kFilter:
      return eval_filter(static_cast<const FilterExpr&>(expr), nullptr);
    case ExprKind::kTest:
      return eval_test(static_cast<const TestExpr&>(expr));
    case ExprKind::kSlice:
    case ExprKind::kNamespaceTarget:
      break;
  }
  at(expr.offset);
  fail("not an expression");
}

Value Interpreter::lookup(NameId id) {
  for (Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    if (const Value* found = scope->find(id)) return *found;
  }
  if (has_global_[id]) return globals_[id];
  return undefined("'{}' is undefined", tree_.names[id]->view());
}

Value Interpreter::eval_sequence(const SequenceExpr& expr) {
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items)
    items.push_back(evaluate(*item));
  return expr.tuple ? tuple(std::move(items)) : list(std::move(items));
}

Value Interpreter::eval_dict(const DictExpr& expr) {
  auto* dict = make<Dict>();
  allocate(expr.items.size() * sizeof(Dict::Entry));
  for (const auto& [key_expr, value_expr] : expr.items) {
    const Value key = evaluate(*key_expr);
    at(key_expr->offset);
    require_hashable(*this, key);
    dict->set(key, evaluate(*value_expr));
  }
  return Value(Kind::kDict, dict);
}

Value Interpreter::eval_unary(const UnaryExpr& expr) {
  const Value operand = evaluate(*expr.operand);
  at(expr.offset);
  switch (expr.op) {
    case UnaryOp::kNot:
      return Value(!truthy(operand));
    case UnaryOp::kNegate:
      return negate(*this, operand);
    case UnaryOp::kPlus:
      return plus(*this, operand);
  }
  return operand;
}

Value Interpreter::eval_binary(const BinaryExpr& expr) {
  const Value left = evaluate(*expr.left);
  const Value right = evaluate(*expr.right);
  at(expr.offset);
  return binary(*this, expr.op, left, right);
}

Value Interpreter::eval_concat(const ConcatExpr& expr) {
  TextBuilder out;
  for (const ExprPtr& item : expr.items) {
    const Value value = evaluate(*item);
    at(item->offset);
    print(*this, out, value);
  }
  return text(std::move(out));
}

Value Interpreter::eval_compare(const CompareExpr& expr) {
  Value left = evaluate(*expr.first);
  for (const auto& [op, operand] : expr.rest) {
    const Value right = evaluate(*operand);
    at(expr.offset);
    if (!compare(*this, op, left, right)) return Value(false);
    left = right;
  }
  return Value(true);
}

Value Interpreter::eval_logical(const LogicalExpr& expr) {
  const Value left = evaluate(*expr.left);
  return truthy(left) == expr.conjunction ? evaluate(*expr.right) : left;
}

Value Interpreter::eval_conditional(const ConditionalExpr& expr) {
  if (truthy(evaluate(*expr.condition))) return evaluate(*expr.then);
  if (expr.otherwise != nullptr) return evaluate(*expr.otherwise);
  return undefined("an inline if without else has no value when its condition is false");
}

Value Interpreter::eval_attribute(const AttributeExpr& expr) {
  const Value object = evaluate(*expr.object);
  at(expr.offset);
  return get_attribute(*this, object, *expr.name);
}

Value Interpreter::eval_item(const ItemExpr& expr) {
  const Value object = evaluate(*expr.object);
  if (expr.key->kind == ExprKind::kSlice) {
    const auto& slice = static_cast<const SliceExpr&>(*expr.key);
    const SliceBounds bounds{optional_value(slice.start), optional_value(slice.stop),
                             optional_value(slice.step)};
    at(expr.offset);
    return get_slice(*this, object, bounds);
  }
  const Value key = evaluate(*expr.key);
  at(expr.offset);
  return get_item(*this, object, key);
}

Arguments Interpreter::eval_arguments(const CallArguments& arguments) {
  Arguments out;
  for (const ExprPtr& item : arguments.positional)
    out.positional.push_back(evaluate(*item));
  if (arguments.spread != nullptr) {
    const std::vector<Value> more = iterate(*this, evaluate(*arguments.spread));
    out.positional.insert(out.positional.end(), more.begin(), more.end());
  }
  for (const auto& [name, item] : arguments.named)
    out.named.emplace_back(name->view(), evaluate(*item));
  if (arguments.named_spread == nullptr) return out;
  const Value more = evaluate(*arguments.named_spread);
  at(arguments.named_spread->offset);
  if (!more.is(Kind::kDict)) fail("'**' needs a dict, not {}", type_name(more));
  for (const Dict::Entry& entry : more.as<Dict>().entries()) {
    const std::string_view name = text_of(entry.key, "an argument's name").view();
    if (std::ranges::any_of(out.named, [&](const auto& named) { return named.first == name; })) {
      fail("two values for the argument '{}'", name);
    }
    out.named.emplace_back(name, entry.value);
  }
  return out;
}

Value Interpreter::eval_call(const CallExpr& expr) {
  const Value callee = evaluate(*expr.callee);
  const Arguments arguments = eval_arguments(expr.arguments);
  at(expr.offset);
  return call(callee, arguments);
}

Value Interpreter::eval_filter(const FilterExpr& expr, const Value* block_text) {
  Value input;
  if (expr.input == nullptr) {  // The first filter of a filter block.
    HEARTH_CHECK(block_text != nullptr);
    input = *block_text;
  } else if (block_text != nullptr && expr.input->kind == ExprKind::kFilter) {
    input = eval_filter(static_cast<const FilterExpr&>(*expr.input), block_text);
  } else {
    input = evaluate(*expr.input);
  }
  const Arguments arguments = eval_arguments(expr.arguments);
  at(expr.offset);
  const Builtin* filter = find_filter(expr.name);
  if (filter == nullptr) fail("there is no filter '{}'", expr.name);
  return apply(*filter, input, arguments);
}

Value Interpreter::eval_test(const TestExpr& expr) {
  const Value input = evaluate(*expr.input);
  const Arguments arguments = eval_arguments(expr.arguments);
  at(expr.offset);
  const Builtin* test = find_test(expr.name);
  if (test == nullptr) fail("there is no test '{}'", expr.name);
  return Value(truthy(apply(*test, input, arguments)));
}

}  // namespace hearth::jinja
