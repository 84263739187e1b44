// The expressions of the template language, and what the statements' parser shares with them.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "jinja/ast.h"
#include "jinja/failure.h"
#include "jinja/lexer.h"

namespace hearth::jinja {

class ExpressionParser {
 protected:
  ExpressionParser(std::string_view source, std::size_t max_depth);
  ~ExpressionParser() = default;

  // Bounds the parser's recursion; one per bracket, block and prefix operator.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.depth_ > parser_.max_depth_) {
        const std::uint32_t at = parser_.here();
        throw Failure{StatusCode::kOutOfRange,
                      fmt::format("nested deeper than {} levels", parser_.max_depth_), at};
      }
    }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    ExpressionParser& parser_;
  };

  // --- tokens ---

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  std::uint32_t here() const { return current().offset; }
  bool is_op(std::string_view op) const { return current().is_operator(op); }
  bool is_name(std::string_view name) const { return current().is_name(name); }
  Token take();
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  static std::string describe(const Token& token);
  [[noreturn]] void unexpected(std::string_view expected) const;
  void expect_op(std::string_view op);
  std::string expect_name();
  void expect(TokenType type, std::string_view what);
  NameId name_id(const std::string& name);
  const Text* text_literal(std::string text);

  // --- targets ---

  std::string target_name();
  // A name, ns.attribute (where allowed), or a tuple of them.
  ExprPtr assignment_target(bool with_namespace);
  ExprPtr single_target(bool with_namespace);

  // --- expressions ---

  // Records the depth of a node's children and refuses a tree too deep to walk.
  void grow(Expr& node, std::initializer_list<const Expr*> children) const;
  bool at_tuple_end() const;
  // One expression, or several with commas as a tuple. `parenthesized`: () is the empty tuple.
  ExprPtr tuple(bool with_condition = true, bool parenthesized = false);
  ExprPtr expression();
  ExprPtr logical_or();
  ExprPtr logical_and();
  ExprPtr logical(std::uint32_t at, bool conjunction, ExprPtr left,
                  ExprPtr (ExpressionParser::*next)());
  ExprPtr logical_not();
  ExprPtr unary_node(std::uint32_t at, UnaryOp op, ExprPtr operand) const;
  // The comparison operator here, taken; false when there is none.
  bool compare_operator(CompareOp& op);
  ExprPtr comparison();
  ExprPtr binary_node(BinaryOp op, ExprPtr left, ExprPtr (ExpressionParser::*next)());
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr filtered_unary();
  ExprPtr unary();
  ExprPtr primary();
  ExprPtr name();
  // Macros and loops need to know whether their bodies read the names they provide.
  void note_use(NameId id);
  ExprPtr strings();
  ExprPtr parenthesized();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr node);
  ExprPtr attribute(ExprPtr object);
  ExprPtr item_node(std::uint32_t at, ExprPtr object, ExprPtr key) const;
  ExprPtr subscript(ExprPtr object);
  ExprPtr subscript_key();
  ExprPtr call(ExprPtr callee);
  void grow_by_arguments(Expr& node, const CallArguments& arguments, const Expr* input) const;
  CallArguments arguments();
  void argument(CallArguments& out, std::uint32_t at);
  std::string dotted_name();
  ExprPtr filters(ExprPtr node);
  ExprPtr one_filter(ExprPtr input);
  bool at_test_argument() const;
  ExprPtr test(ExprPtr input);

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
  std::size_t max_depth_;
  std::size_t depth_ = 0;
  std::unique_ptr<Tree> tree_;
  std::unordered_map<std::string, NameId> ids_;
  std::vector<ForStatement*> open_loops_;  // In the current macro.
  std::vector<Signature*> open_signatures_;
};

}  // namespace hearth::jinja
