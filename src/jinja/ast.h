// The syntax tree of a template. Built once by the parser, then only read: renders of several
// threads share it. Nodes own their children; literal texts live in the arena beside the tree.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace hearth::jinja {

// Index of a name in Tree::names: variables are looked up by number.
using NameId = std::uint32_t;

enum class ExprKind : std::uint8_t {
  kConstant,
  kName,
  kSequence,  // Tuple or list.
  kDict,
  kUnary,
  kBinary,
  kConcat,
  kCompare,
  kLogical,
  kConditional,
  kAttribute,
  kItem,
  kSlice,
  kCall,
  kFilter,
  kTest,
  kNamespaceTarget,  // Only as an assignment's target.
};

struct Expr {
  Expr(ExprKind of_kind, std::uint32_t at) : kind(of_kind), offset(at) {}
  Expr(const Expr&) = delete;
  Expr& operator=(const Expr&) = delete;
  virtual ~Expr() = default;
  ExprKind kind;
  std::uint32_t offset;     // In the source.
  std::uint32_t depth = 1;  // Nodes on the longest path down.
};
using ExprPtr = std::unique_ptr<Expr>;

struct ConstantExpr final : Expr {
  ConstantExpr(std::uint32_t at, Value constant) : Expr(ExprKind::kConstant, at), value(constant) {}
  Value value;
};

struct NameExpr final : Expr {
  NameExpr(std::uint32_t at, NameId name) : Expr(ExprKind::kName, at), id(name) {}
  NameId id;
};

struct SequenceExpr final : Expr {
  SequenceExpr(std::uint32_t at, bool is_tuple) : Expr(ExprKind::kSequence, at), tuple(is_tuple) {}
  bool tuple;
  std::vector<ExprPtr> items;
};

struct DictExpr final : Expr {
  explicit DictExpr(std::uint32_t at) : Expr(ExprKind::kDict, at) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

enum class UnaryOp : std::uint8_t { kNot, kNegate, kPlus };

struct UnaryExpr final : Expr {
  UnaryExpr(std::uint32_t at, UnaryOp which) : Expr(ExprKind::kUnary, at), op(which) {}
  UnaryOp op;
  ExprPtr operand;
};

enum class BinaryOp : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower
};

struct BinaryExpr final : Expr {
  BinaryExpr(std::uint32_t at, BinaryOp which) : Expr(ExprKind::kBinary, at), op(which) {}
  BinaryOp op;
  ExprPtr left, right;
};

struct ConcatExpr final : Expr {  // a ~ b ~ c
  explicit ConcatExpr(std::uint32_t at) : Expr(ExprKind::kConcat, at) {}
  std::vector<ExprPtr> items;
};

enum class CompareOp : std::uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct CompareExpr final : Expr {  // a < b <= c
  explicit CompareExpr(std::uint32_t at) : Expr(ExprKind::kCompare, at) {}
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};

struct LogicalExpr final : Expr {
  LogicalExpr(std::uint32_t at, bool is_and) : Expr(ExprKind::kLogical, at), conjunction(is_and) {}
  bool conjunction;
  ExprPtr left, right;
};

struct ConditionalExpr final : Expr {
  explicit ConditionalExpr(std::uint32_t at) : Expr(ExprKind::kConditional, at) {}
  ExprPtr condition, then;
  ExprPtr otherwise;  // May be null: undefined.
};

struct AttributeExpr final : Expr {
  AttributeExpr(std::uint32_t at, const Text* attribute)
      : Expr(ExprKind::kAttribute, at), name(attribute) {}
  ExprPtr object;
  const Text* name;
};

struct ItemExpr final : Expr {
  explicit ItemExpr(std::uint32_t at) : Expr(ExprKind::kItem, at) {}
  ExprPtr object, key;
};

struct SliceExpr final : Expr {  // Only as an ItemExpr's key.
  explicit SliceExpr(std::uint32_t at) : Expr(ExprKind::kSlice, at) {}
  ExprPtr start, stop, step;  // Each may be null.
};

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<const Text*, ExprPtr>> named;
  ExprPtr spread;        // *args; may be null.
  ExprPtr named_spread;  // **kwargs; may be null.
};

struct CallExpr final : Expr {
  explicit CallExpr(std::uint32_t at) : Expr(ExprKind::kCall, at) {}
  ExprPtr callee;
  CallArguments arguments;
};

struct FilterExpr final : Expr {
  explicit FilterExpr(std::uint32_t at) : Expr(ExprKind::kFilter, at) {}
  ExprPtr input;  // Null at the start of a filter block's chain: the block's text.
  std::string name;
  CallArguments arguments;
};

struct TestExpr final : Expr {
  explicit TestExpr(std::uint32_t at) : Expr(ExprKind::kTest, at) {}
  ExprPtr input;
  std::string name;
  CallArguments arguments;
};

struct NamespaceTarget final : Expr {  // set ns.name = ...
  NamespaceTarget(std::uint32_t at, NameId of, const Text* attribute)
      : Expr(ExprKind::kNamespaceTarget, at), id(of), name(attribute) {}
  NameId id;
  const Text* name;
};

enum class StatementKind : std::uint8_t {
  kData,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kBreak,
  kContinue,
};

struct Statement {
  Statement(StatementKind of_kind, std::uint32_t at) : kind(of_kind), offset(at) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  virtual ~Statement() = default;
  StatementKind kind;
  std::uint32_t offset;
};
using StatementPtr = std::unique_ptr<Statement>;
using Block = std::vector<StatementPtr>;

struct DataStatement final : Statement {
  DataStatement(std::uint32_t at, std::string data)
      : Statement(StatementKind::kData, at), text(std::move(data)) {}
  std::string text;
};

struct OutputStatement final : Statement {
  explicit OutputStatement(std::uint32_t at) : Statement(StatementKind::kOutput, at) {}
  ExprPtr value;
};

struct IfStatement final : Statement {
  explicit IfStatement(std::uint32_t at) : Statement(StatementKind::kIf, at) {}
  struct Branch {
    ExprPtr condition;  // Null in the else branch.
    Block body;
  };
  std::vector<Branch> branches;
};

struct ForStatement final : Statement {
  explicit ForStatement(std::uint32_t at) : Statement(StatementKind::kFor, at) {}
  ExprPtr target, sequence;
  ExprPtr filter;  // May be null.
  bool recursive = false;
  bool uses_loop = false;  // The body names `loop`.
  Block body, otherwise;
};

struct SetStatement final : Statement {
  explicit SetStatement(std::uint32_t at) : Statement(StatementKind::kSet, at) {}
  ExprPtr target, value;
};

struct SetBlockStatement final : Statement {
  explicit SetBlockStatement(std::uint32_t at) : Statement(StatementKind::kSetBlock, at) {}
  ExprPtr target;
  ExprPtr filter;  // May be null.
  Block body;
};

// What a macro and a call block's body share.
struct Signature {
  struct Parameter {
    NameId id = 0;
    const Text* name = nullptr;
    ExprPtr fallback;  // May be null.
  };
  std::vector<Parameter> parameters;
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  Block body;
};

struct MacroStatement final : Statement {
  explicit MacroStatement(std::uint32_t at) : Statement(StatementKind::kMacro, at) {}
  NameId id = 0;
  const Text* name = nullptr;
  Signature signature;
};

struct CallBlockStatement final : Statement {
  explicit CallBlockStatement(std::uint32_t at) : Statement(StatementKind::kCallBlock, at) {}
  std::unique_ptr<CallExpr> call;
  Signature signature;
};

struct FilterBlockStatement final : Statement {
  explicit FilterBlockStatement(std::uint32_t at) : Statement(StatementKind::kFilterBlock, at) {}
  ExprPtr filter;
  Block body;
};

struct WithStatement final : Statement {
  explicit WithStatement(std::uint32_t at) : Statement(StatementKind::kWith, at) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> bindings;
  Block body;
};

// A `generation` or `block` tag: a body with names of its own.
struct ScopeStatement final : Statement {
  explicit ScopeStatement(std::uint32_t at) : Statement(StatementKind::kScope, at) {}
  bool from_root = false;  // A named block sees only the template's own top-level names.
  Block body;
};

struct LoopControlStatement final : Statement {
  LoopControlStatement(std::uint32_t at, bool is_break)
      : Statement(is_break ? StatementKind::kBreak : StatementKind::kContinue, at) {}
};

// Names the interpreter itself gives a meaning.
struct KnownNames {
  NameId loop = 0, caller = 0, varargs = 0, kwargs = 0;
};

struct Tree {
  Arena arena;
  std::vector<const Text*> names;  // By NameId.
  KnownNames known;
  Block body;
};

}  // namespace hearth::jinja
