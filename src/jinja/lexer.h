// Template source to tokens, with whitespace control applied: the environment is the one chat
// templates are written for (trim_blocks and lstrip_blocks on, the final newline dropped).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::jinja {

enum class TokenType : std::uint8_t {
  kData,  // Text outside of tags.
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,  // text: unescaped
  kInteger,
  kFloat,
  kOperator,  // text: the operator
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  std::uint32_t offset = 0;  // Of its first byte in the normalized source.
  std::string text;
  std::int64_t integer = 0;
  double number = 0;

  bool is_operator(std::string_view op) const { return type == TokenType::kOperator && text == op; }
  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
};

// Line ends become \n and one newline at the very end goes away.
std::string normalize_source(std::string_view source);

// Tokens of a normalized source, kEnd last. Throws Failure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace hearth::jinja
