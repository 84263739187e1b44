// Walks a syntax tree.
#pragma once

#include <stop_token>
#include <vector>

#include "base/json.h"
#include "jinja/ast.h"
#include "jinja/runtime.h"

namespace hearth::jinja {

// Names of one block, macro call or loop body. Scopes form a chain towards the template's own.
struct Scope final : Object {
  explicit Scope(Scope* enclosing) : parent(enclosing) {}
  struct Variable {
    NameId id;
    Value value;
  };
  Value* find(NameId id);
  void set(NameId id, const Value& value);

  Scope* parent;
  std::vector<Variable> variables;
};

// The `loop` of a running loop.
struct LoopState final : Object {
  std::vector<Value> items;
  std::size_t idx = 0;
  std::size_t depth0 = 0;
  const ForStatement* statement = nullptr;  // Set when `loop(...)` may call it again.
  Scope* scope = nullptr;                   // Around the loop.
  bool has_changed = false;                 // loop.changed() was called before.
  std::vector<Value> last_changed;
};

struct Macro final : Object {
  Macro(const Signature& what, Scope* where, const Text* called)
      : signature(what), scope(where), name(called) {}
  const Signature& signature;
  Scope* scope;      // Where it was defined.
  const Text* name;  // nullptr for a call block's body.
};

class Interpreter final : public Runtime {
 public:
  Interpreter(const Tree& tree, const Limits& limits, std::chrono::system_clock::time_point now,
              std::stop_token stop);

  // Renders with the members of `context` as variables; `trusted` members count as the template's
  // own text. `context` outlives the interpreter. Throws Failure.
  TextBuilder run(const json::Object& context, const std::vector<std::string_view>& trusted);

  Value call(const Value& callee, const Arguments& arguments) override;

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  // Bounds the nesting of evaluation, and so the stack.
  class Nesting;
  class CallNesting;

  Value import(const json::Value& value, Origin origin);

  // --- statements (interpreter.cc) ---
  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow run_data(const DataStatement& statement);
  Flow run_output(const OutputStatement& statement);
  Flow run_if(const IfStatement& statement);
  Flow run_for(const ForStatement& statement);
  Flow run_set(const SetStatement& statement);
  Flow run_set_block(const SetBlockStatement& statement);
  Flow run_macro(const MacroStatement& statement);
  Flow run_call_block(const CallBlockStatement& statement);
  Flow run_filter_block(const FilterBlockStatement& statement);
  Flow run_with(const WithStatement& statement);
  Flow run_scope(const ScopeStatement& statement);

  void loop(const ForStatement& statement, const Value& sequence, Scope* around,
            std::size_t depth0);
  std::vector<Value> loop_items(const ForStatement& statement, const Value& sequence);
  Value call_macro(const Macro& macro, const Arguments& arguments);
  void bind_parameters(const Macro& macro, const Arguments& arguments, Scope& scope);
  void bind_rest(const Macro& macro, const Arguments& arguments, Scope& scope);
  void assign(const Expr& target, const Value& value);
  void write(const Value& value);
  void check_output() const;
  template <typename Body>
  Value capture(Scope* scope, Body body);
  template <typename Body>
  Flow in_scope(Scope* scope, Body body);

  // --- expressions (evaluate.cc) ---
  Value evaluate(const Expr& expr);
  Value evaluate_node(const Expr& expr);
  Value lookup(NameId id);
  Value eval_sequence(const SequenceExpr& expr);
  Value eval_dict(const DictExpr& expr);
  Value eval_unary(const UnaryExpr& expr);
  Value eval_binary(const BinaryExpr& expr);
  Value eval_concat(const ConcatExpr& expr);
  Value eval_compare(const CompareExpr& expr);
  Value eval_logical(const LogicalExpr& expr);
  Value eval_conditional(const ConditionalExpr& expr);
  Value eval_attribute(const AttributeExpr& expr);
  Value eval_item(const ItemExpr& expr);
  Value eval_call(const CallExpr& expr);
  Value eval_filter(const FilterExpr& expr, const Value* block_text);
  Value eval_test(const TestExpr& expr);
  Arguments eval_arguments(const CallArguments& arguments);
  Value optional_value(const ExprPtr& expr) { return expr == nullptr ? Value() : evaluate(*expr); }

  const Tree& tree_;
  std::vector<Value> globals_;    // By NameId.
  std::vector<bool> has_global_;  // By NameId.
  Scope* root_ = nullptr;
  Scope* scope_ = nullptr;
  TextBuilder* out_ = nullptr;
  std::size_t depth_ = 0;       // Of evaluation.
  std::size_t call_depth_ = 0;  // Of macro calls and recursive loops.
  std::size_t data_bytes_ = 0;  // Template text written so far.
};

}  // namespace hearth::jinja
