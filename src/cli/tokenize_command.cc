#include <fmt/ranges.h>

#include <charconv>
#include <filesystem>

#include "base/json.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/terminal.h"
#include "tokenizer/hf_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

constexpr std::size_t kMaxInputBytes = std::size_t{256} << 20;

std::string_view kind_name(TokenKind kind) {
  switch (kind) {
    case TokenKind::kNormal:
      return "";
    case TokenKind::kUnknown:
      return "unknown";
    case TokenKind::kControl:
      return "control";
    case TokenKind::kUserDefined:
      return "user-defined";
    case TokenKind::kUnused:
      return "unused";
    case TokenKind::kByte:
      return "byte";
  }
  return "";
}

// Ids separated by blanks, commas or brackets, so that every output of this command can be read
// back.
Result<std::vector<TokenId>> parse_ids(std::string_view text, std::size_t vocab_size) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<TokenId> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kSeparators), text.size()));
    if (text.empty()) return ids;
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    TokenId id = 0;
    const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (failure != std::errc() || end != word.data() + word.size() || id < 0 ||
        static_cast<std::size_t>(id) >= vocab_size) {
      return error(StatusCode::kInvalidArgument, "'{}' is not a token id from 0 to {}", word,
                   vocab_size - 1);
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

std::string token_table(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::vector<std::vector<std::string>> rows = {{"id", "piece", "text", "kind"}};
  for (const TokenId id : ids) {
    rows.push_back({fmt::format("{}", id), json::dump(tokenizer.piece(id)),
                    json::dump(tokenizer.token_bytes(id, true)),
                    std::string(kind_name(tokenizer.kind(id)))});
  }
  return format_table(rows, {true, false, false, false}) +
         fmt::format("{} tokens, {}\n", ids.size(), tokenizer.description());
}

// A GGUF file's own, or a Hugging Face tokenizer.json.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::string& given,
                                                  const std::filesystem::path& models_dir) {
  std::filesystem::path path(given);
  std::error_code failure;
  if (path.extension() != ".json" && !std::filesystem::exists(path, failure)) {
    HEARTH_ASSIGN_OR_RETURN(ModelLocation location, resolve_model(given, models_dir));
    path = std::move(location.path);
  }
  if (path.extension() == ".json" || std::filesystem::exists(path / "tokenizer.json", failure)) {
    return load_hf_tokenizer(path);
  }
  HEARTH_ASSIGN_OR_RETURN(const ModelFile file, open_model(path.string(), models_dir));
  return Tokenizer::load(file);
}

class TokenizeCommand final : public Command {
 public:
  std::string_view name() const override { return "tokenize"; }
  std::string_view summary() const override {
    return "Show how a model splits a text into tokens, or join tokens to a text";
  }

  void declare(OptionSet& options) override {
    options.add_positional(model_, {.name = "model",
                                    .help = "GGUF file (a vocabulary alone is enough), "
                                            "tokenizer.json, a directory that holds one of "
                                            "them, or the name of a model in the registry "
                                            "(hearth list)."});
    options.add_positional(text_, {.name = "text",
                                   .help = "The text, or the ids with --detokenize; '-' or "
                                           "nothing reads standard input to its end.",
                                   .required = false});
    add_models_dir(options, models_dir_);
    options.add(json_, {.name = "json",
                        .help = "Print a JSON list of ids, or a JSON string with --detokenize."});
    options.add(special_, {.name = "special",
                           .help = "Add BOS and EOS as the model file asks for; with "
                                   "--detokenize: show control tokens."});
    options.add(parse_special_, {.name = "parse-special",
                                 .help = "Let the spelling of a control token in the text become "
                                         "that token. Message texts are served without it."});
    options.add(lines_, {.name = "lines",
                         .help = "Work on each line of the input alone: a JSON string becomes a "
                                 "JSON list of ids, a list of two strings the ids of that pair, "
                                 "with --detokenize a list of ids a JSON string."});
    options.add(detokenize_, {.name = "detokenize", .help = "Turn ids into text."});
  }

  Status run() override {
    HEARTH_ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(model_, models_dir_));
    if (text_ == "-") {
      HEARTH_ASSIGN_OR_RETURN(text_, read_stdin(kMaxInputBytes));
    }
    if (lines_) return print_lines(*tokenizer);
    return detokenize_ ? print_text(*tokenizer) : print_ids(*tokenizer);
  }

 private:
  Status print_text(const Tokenizer& tokenizer) const {
    HEARTH_ASSIGN_OR_RETURN(const auto ids, parse_ids(text_, tokenizer.vocab_size()));
    const std::string text = tokenizer.decode(ids, special_);
    return print(json_ ? json::dump(text) + "\n" : text);
  }

  Status print_ids(const Tokenizer& tokenizer) const {
    const auto ids = tokenizer.encode(text_, special_, span_kind());
    if (!json_) return print(token_table(tokenizer, ids));
    return print(fmt::format("[{}]\n", fmt::join(ids, ", ")));
  }

  Status print_lines(const Tokenizer& tokenizer) const {
    std::string_view rest = text_;
    for (std::size_t number = 1; !rest.empty(); ++number) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      auto answer = answer_line(tokenizer, line);
      if (!answer) return answer.error().with_context(fmt::format("line {}", number));
      HEARTH_RETURN_IF_ERROR(print(*answer + "\n"));
    }
    return {};
  }

  Result<std::string> answer_line(const Tokenizer& tokenizer, std::string_view line) const {
    if (detokenize_) {
      HEARTH_ASSIGN_OR_RETURN(const auto ids, parse_ids(line, tokenizer.vocab_size()));
      return json::dump(tokenizer.decode(ids, special_));
    }
    HEARTH_ASSIGN_OR_RETURN(const json::Value value, json::parse(line));
    const json::Array* pair = value.as_array();
    const bool is_pair = pair != nullptr && pair->size() == 2 &&
                         (*pair)[0].as_string() != nullptr && (*pair)[1].as_string() != nullptr;
    if (is_pair) {
      const EncodedPair encoded =
          tokenizer.encode_pair(*(*pair)[0].as_string(), *(*pair)[1].as_string(), span_kind());
      return fmt::format("[{}]", fmt::join(encoded.ids, ", "));
    }
    const std::string* text = value.as_string();
    if (text == nullptr) {
      return error(StatusCode::kInvalidArgument, "{}, neither a string nor a list of two",
                   value.type_name());
    }
    return fmt::format("[{}]", fmt::join(tokenizer.encode(*text, special_, span_kind()), ", "));
  }

  SpecialText span_kind() const {
    return parse_special_ ? SpecialText::kParse : SpecialText::kPlain;
  }

  std::string model_;
  std::filesystem::path models_dir_;
  std::string text_ = "-";
  bool json_ = false;
  bool lines_ = false;
  bool special_ = true;
  bool parse_special_ = true;
  bool detokenize_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() {
  return std::make_unique<TokenizeCommand>();
}

}  // namespace hearth
