#include "jinja/interpreter.h"

#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/nesting.h"
#include "jinja/operators.h"
#include "jinja/printing.h"

namespace hearth::jinja {

Value* Scope::find(NameId id) {
  const auto found = std::ranges::find(variables, id, &Variable::id);
  return found == variables.end() ? nullptr : &found->value;
}

void Scope::set(NameId id, const Value& value) {
  if (Value* found = find(id)) {
    *found = value;
  } else {
    variables.push_back({id, value});
  }
}

Interpreter::Interpreter(const Tree& tree, const Limits& limits,
                         std::chrono::system_clock::time_point now, std::stop_token stop)
    : Runtime(limits, now, std::move(stop)),
      tree_(tree),
      globals_(tree.names.size()),
      has_global_(tree.names.size(), false) {}

TextBuilder Interpreter::run(const json::Object& context,
                             const std::vector<std::string_view>& trusted) {
  for (std::size_t id = 0; id < tree_.names.size(); ++id) {
    const std::string_view name = tree_.names[id]->view();
    if (const json::Value* given = context.find(name)) {
      const bool own = std::ranges::find(trusted, name) != trusted.end();
      globals_[id] = import(*given, own ? Origin::kTemplate : Origin::kInput);
      has_global_[id] = true;
    } else if (name == "self") {
      // Jinja's reference to the template's own blocks; templates here have none to offer.
      globals_[id] = Value(Kind::kNamespace, make<Namespace>());
      has_global_[id] = true;
    } else if (const Builtin* builtin = find_global(name)) {
      globals_[id] = Value(Kind::kFunction, make<Function>(*builtin, Value()));
      has_global_[id] = true;
    }
  }
  root_ = scope_ = make<Scope>(nullptr);
  TextBuilder out;
  out_ = &out;
  execute(tree_.body);
  return out;
}

Value Interpreter::import(const json::Value& value, Origin origin) {
  spend();
  if (const std::string* text = value.as_string())
    return borrowed_text(*text, origin).with_origin(origin);
  if (const bool* boolean = value.as_bool()) return Value(*boolean).with_origin(origin);
  if (const json::Array* array = value.as_array()) {
    std::vector<Value> items;
    items.reserve(array->size());
    for (const json::Value& item : *array)
      items.push_back(import(item, origin));
    return list(std::move(items)).with_origin(origin);
  }
  if (const json::Object* object = value.as_object()) {
    auto* dict = make<Dict>();
    dict->reserve(object->size());
    allocate(object->size() * sizeof(Dict::Entry));
    for (const json::Member& member : *object) {
      dict->set(borrowed_text(member.key, origin), import(member.value, origin));
    }
    return Value(Kind::kDict, dict).with_origin(origin);
  }
  if (value.is_null()) return Value().with_origin(origin);
  std::int64_t integer = 0;
  std::uint64_t big = 0;
  double number = 0;
  if (value.is_integer() && value.to_int64(integer)) return Value(integer).with_origin(origin);
  if (value.is_integer() && value.to_uint64(big)) return Value(big).with_origin(origin);
  value.to_double(number);
  return Value(number).with_origin(origin);
}

// --- scopes and output ---

template <typename Body>
Interpreter::Flow Interpreter::in_scope(Scope* scope, Body body) {
  Scope* const outer = std::exchange(scope_, scope);
  const Flow flow = body();
  scope_ = outer;
  return flow;
}

template <typename Body>
Value Interpreter::capture(Scope* scope, Body body) {
  TextBuilder captured;
  TextBuilder* const outer = std::exchange(out_, &captured);
  in_scope(scope, [&] {
    body();
    return Flow::kNormal;
  });
  out_ = outer;
  return text(std::move(captured));
}

void Interpreter::check_output() const {
  if (out_->size() > limits().max_output_bytes) {
    over_limit("the template writes more than {} bytes", limits().max_output_bytes);
  }
}

void Interpreter::write(const Value& value) {
  if (value.is_text() &&
      value.text().size >
          limits().max_output_bytes - std::min(limits().max_output_bytes, out_->size())) {
    over_limit("the template writes more than {} bytes", limits().max_output_bytes);
  }
  print(*this, *out_, value);
  check_output();
}

void Interpreter::assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) {
    scope_->set(static_cast<const NameExpr&>(target).id, value);
    return;
  }
  at(target.offset);
  if (target.kind == ExprKind::kNamespaceTarget) {
    const auto& attribute = static_cast<const NamespaceTarget&>(target);
    const Value object = lookup(attribute.id);
    if (!object.is(Kind::kNamespace)) fail("only a namespace's attributes can be assigned to");
    if (attribute.name->view().starts_with('_'))
      fail("a namespace attribute cannot begin with '_'");
    allocate(sizeof(Dict::Entry));
    object.state<Namespace>().attributes.set(Value(attribute.name), value);
    return;
  }
  const auto& targets = static_cast<const SequenceExpr&>(target).items;
  const std::vector<Value> items = iterate(*this, value);
  if (items.size() != targets.size()) {
    fail("{} names for {} values", targets.size(), items.size());
  }
  for (std::size_t i = 0; i < items.size(); ++i)
    assign(*targets[i], items[i]);
}

// --- statements ---

Interpreter::Flow Interpreter::execute(const Block& block) {
  const Nesting nesting(*this);
  for (const StatementPtr& statement : block) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  spend();
  switch (statement.kind) {
    case StatementKind::kData:
      return run_data(static_cast<const DataStatement&>(statement));
    case StatementKind::kOutput:
      return run_output(static_cast<const OutputStatement&>(statement));
    case StatementKind::kIf:
      return run_if(static_cast<const IfStatement&>(statement));
    case StatementKind::kFor:
      return run_for(static_cast<const ForStatement&>(statement));
    case StatementKind::kSet:
      return run_set(static_cast<const SetStatement&>(statement));
    case StatementKind::kSetBlock:
      return run_set_block(static_cast<const SetBlockStatement&>(statement));
    case StatementKind::kMacro:
      return run_macro(static_cast<const MacroStatement&>(statement));
    case StatementKind::kCallBlock:
      return run_call_block(static_cast<const CallBlockStatement&>(statement));
    case StatementKind::kFilterBlock:
      return run_filter_block(static_cast<const FilterBlockStatement&>(statement));
    case StatementKind::kWith:
      return run_with(static_cast<const WithStatement&>(statement));
    case StatementKind::kScope:
      return run_scope(static_cast<const ScopeStatement&>(statement));
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_data(const DataStatement& statement) {
  spend_bytes(statement.text.size());
  out_->append(statement.text, Origin::kTemplate);
  check_output();
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_output(const OutputStatement& statement) {
  const Value value = evaluate(*statement.value);
  at(statement.offset);
  write(value);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_if(const IfStatement& statement) {
  for (const IfStatement::Branch& branch : statement.branches) {
    if (branch.condition == nullptr || truthy(evaluate(*branch.condition)))
      return execute(branch.body);
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_for(const ForStatement& statement) {
  const Value sequence = evaluate(*statement.sequence);
  at(statement.offset);
  loop(statement, sequence, scope_, 0);
  return Flow::kNormal;
}

std::vector<Value> Interpreter::loop_items(const ForStatement& statement, const Value& sequence) {
  std::vector<Value> items = iterate(*this, sequence);
  if (statement.filter == nullptr) return items;
  std::vector<Value> kept;
  Scope* const scope = make<Scope>(scope_);
  in_scope(scope, [&] {
    for (const Value& item : items) {
      scope->variables.clear();
      assign(*statement.target, item);
      if (truthy(evaluate(*statement.filter))) kept.push_back(item);
    }
    return Flow::kNormal;
  });
  return kept;
}

void Interpreter::loop(const ForStatement& statement, const Value& sequence, Scope* around,
                       std::size_t depth0) {
  Scope* const caller_scope = std::exchange(scope_, around);
  auto* state = make<LoopState>();
  state->items = loop_items(statement, sequence);
  state->depth0 = depth0;
  state->scope = around;
  if (statement.recursive) state->statement = &statement;
  // One scope for all rounds, as Python's loop body has one set of locals: a macro defined in the
  // body sees the last round's values.
  Scope* const scope = make<Scope>(around);
  // Jinja's rule for `else`: no round reached its end, be it for want of items or by break and
  // continue.
  bool completed = false;
  in_scope(scope, [&] {
    for (; state->idx < state->items.size(); ++state->idx) {
      spend();
      scope->variables.clear();
      if (statement.uses_loop) scope->set(tree_.known.loop, Value(Kind::kLoop, state));
      assign(*statement.target, state->items[state->idx]);
      const Flow flow = execute(statement.body);
      completed = completed || flow == Flow::kNormal;
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNormal;
  });
  if (!completed) {
    in_scope(make<Scope>(around), [&] { return execute(statement.otherwise); });
  }
  scope_ = caller_scope;
}

Interpreter::Flow Interpreter::run_set(const SetStatement& statement) {
  assign(*statement.target, evaluate(*statement.value));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_set_block(const SetBlockStatement& statement) {
  Value captured = capture(make<Scope>(scope_), [&] { execute(statement.body); });
  if (statement.filter != nullptr) {
    captured = eval_filter(static_cast<const FilterExpr&>(*statement.filter), &captured);
  }
  assign(*statement.target, captured);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_macro(const MacroStatement& statement) {
  scope_->set(statement.id,
              Value(Kind::kMacro, make<Macro>(statement.signature, scope_, statement.name)));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_call_block(const CallBlockStatement& statement) {
  const Value callee = evaluate(*statement.call->callee);
  Arguments arguments = eval_arguments(statement.call->arguments);
  const Value caller(Kind::kMacro, make<Macro>(statement.signature, scope_, nullptr));
  arguments.named.emplace_back("caller", caller);
  at(statement.offset);
  write(call(callee, arguments));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_filter_block(const FilterBlockStatement& statement) {
  const Value captured = capture(make<Scope>(scope_), [&] { execute(statement.body); });
  write(eval_filter(static_cast<const FilterExpr&>(*statement.filter), &captured));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::run_with(const WithStatement& statement) {
  std::vector<Value> values;
  values.reserve(statement.bindings.size());
  for (const auto& [target, value] : statement.bindings)
    values.push_back(evaluate(*value));
  return in_scope(make<Scope>(scope_), [&] {
    for (std::size_t i = 0; i < values.size(); ++i)
      assign(*statement.bindings[i].first, values[i]);
    return execute(statement.body);
  });
}

Interpreter::Flow Interpreter::run_scope(const ScopeStatement& statement) {
  return in_scope(make<Scope>(statement.from_root ? root_ : scope_),
                  [&] { return execute(statement.body); });
}

// --- calls ---

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  switch (callee.kind()) {
    case Kind::kFunction: {
      const auto& function = callee.as<Function>();
      return apply(function.builtin, function.self, arguments);
    }
    case Kind::kMacro:
      return call_macro(callee.as<Macro>(), arguments);
    case Kind::kJoiner: {
      auto& joiner = callee.state<Joiner>();
      return std::exchange(joiner.used, true) ? joiner.separator : text("");
    }
    case Kind::kLoop: {
      const auto& state = callee.as<LoopState>();
      if (state.statement == nullptr) fail("only a loop marked recursive can be called");
      if (arguments.positional.size() != 1) fail("a recursive loop takes one sequence");
      const CallNesting nesting(*this);
      return capture(scope_, [&] {
        loop(*state.statement, arguments.positional.front(), state.scope, state.depth0 + 1);
      });
    }
    case Kind::kUndefined:
      fail_undefined(callee);
    default:
      fail("{} cannot be called", type_name(callee));
  }
}

Value Interpreter::call_macro(const Macro& macro, const Arguments& arguments) {
  const CallNesting nesting(*this);
  auto* scope = make<Scope>(macro.scope);
  return capture(scope, [&] {
    bind_parameters(macro, arguments, *scope);
    execute(macro.signature.body);
  });
}

void Interpreter::bind_parameters(const Macro& macro, const Arguments& arguments, Scope& scope) {
  const auto& parameters = macro.signature.parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto named = std::ranges::find(arguments.named, parameters[i].name->view(),
                                         [](const auto& entry) { return entry.first; });
    if (i < arguments.positional.size()) {
      scope.set(parameters[i].id, arguments.positional[i]);
    } else if (named != arguments.named.end()) {
      scope.set(parameters[i].id, named->second);
    } else if (parameters[i].fallback != nullptr) {
      scope.set(parameters[i].id, evaluate(*parameters[i].fallback));
    } else {
      scope.set(parameters[i].id,
                undefined("parameter '{}' was not provided", parameters[i].name->view()));
    }
  }
  bind_rest(macro, arguments, scope);
}

// What the parameters left over: caller, kwargs, varargs.
void Interpreter::bind_rest(const Macro& macro, const Arguments& arguments, Scope& scope) {
  const Signature& signature = macro.signature;
  const auto is_parameter = [&](std::string_view name) {
    return std::ranges::any_of(signature.parameters, [&](const Signature::Parameter& p) {
      return p.name->view() == name;
    });
  };
  const bool provides_caller = signature.uses_caller && !is_parameter("caller");
  if (provides_caller) scope.set(tree_.known.caller, undefined("No caller defined"));
  auto* rest = make<Dict>();
  for (const auto& [name, value] : arguments.named) {
    if (is_parameter(name)) {
      const auto idx = std::ranges::find(signature.parameters, name,
                                         [](const auto& p) { return p.name->view(); }) -
                       signature.parameters.begin();
      if (static_cast<std::size_t>(idx) < arguments.positional.size()) {
        fail("the macro got two values for '{}'", name);
      }
    } else if (name == "caller" && provides_caller) {
      scope.set(tree_.known.caller, value);
    } else if (signature.uses_kwargs && name != "caller") {
      rest->set(text(name), value);
    } else {
      fail("the macro takes no argument named '{}'", name);
    }
  }
  if (signature.uses_kwargs) scope.set(tree_.known.kwargs, Value(Kind::kDict, rest));
  std::vector<Value> extra;
  for (std::size_t i = signature.parameters.size(); i < arguments.positional.size(); ++i) {
    extra.push_back(arguments.positional[i]);
  }
  if (signature.uses_varargs) {
    scope.set(tree_.known.varargs, tuple(std::move(extra)));
  } else if (!extra.empty()) {
    fail("the macro takes {} arguments, {} are given", signature.parameters.size(),
         arguments.positional.size());
  }
}

}  // namespace hearth::jinja
