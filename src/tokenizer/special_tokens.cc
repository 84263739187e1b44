#include "tokenizer/special_tokens.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace hearth {

namespace {

// Spellings of tokens that end an answer. `even_if_normal`: nobody writes such a text by chance, so
// a file that calls the token normal is wrong about it.
struct EndName {
  std::string_view text;
  bool ends_turn = false;  // May serve as EOT when the file names none.
  bool even_if_normal = true;
};
constexpr std::array<EndName, 24> kEndNames = {{
    {.text = "<|eot_id|>", .ends_turn = true},       // Llama 3
    {.text = "<|im_end|>", .ends_turn = true},       // ChatML
    {.text = "<|end|>", .ends_turn = true},          // Phi 3
    {.text = "<end_of_turn>", .ends_turn = true},    // Gemma
    {.text = "<|endoftext|>", .ends_turn = true},    // GPT-2
    {.text = "<|end_of_text|>", .ends_turn = true},  // Granite
    {.text = "<EOT>", .ends_turn = true, .even_if_normal = false},
    {.text = "_<EOT>", .ends_turn = true, .even_if_normal = false},
    {.text = "[EOT]", .ends_turn = true, .even_if_normal = false},
    {.text = "<\xEF\xBD\x9C"
             "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",  // DeepSeek
     .ends_turn = true},
    {.text = "<end_of_utterance>", .ends_turn = true},  // SmolDocling
    {.text = "<|eom_id|>"},                             // Llama 3.1, before a tool's answer
    {.text = "<|return|>"},                             // o200k_harmony
    {.text = "<|call|>"},
    {.text = "<|flush|>"},  // Solar
    {.text = "<|calls|>"},
    {.text = "<|fim_pad|>"},
    {.text = "<|repo_name|>"},
    {.text = "<|file_sep|>"},
    {.text = "</s>", .even_if_normal = false},
    {.text = "<eos>", .even_if_normal = false},
    {.text = "<turn|>", .even_if_normal = false},
    {.text = "[EOS]", .even_if_normal = false},
    {.text = "[e~[", .even_if_normal = false},
}};

// Harmony and Solar: "<|end|>" ends one message of an answer there, not the answer.
bool end_is_a_message_border(const Vocabulary& vocabulary) {
  const auto has = [&vocabulary](std::string_view text) {
    const auto id = vocabulary.find(text);
    return id && is_special(vocabulary.kind(*id));
  };
  const bool calls = has("<|call|>") || has("<|calls|>");
  return calls && (has("<|return|>") || has("<|flush|>"));
}

}  // namespace

bool is_special(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUserDefined;
}

void add_once(std::vector<TokenId>& ids, std::optional<TokenId> id) {
  if (id && std::ranges::find(ids, *id) == ids.end()) ids.push_back(*id);
}

void add_well_known_ends(Vocabulary& vocabulary, SpecialTokens& special, bool mark_normal) {
  const bool skip_end = end_is_a_message_border(vocabulary);
  for (const EndName& name : kEndNames) {
    const auto id = vocabulary.find(name.text);
    if (!id || (skip_end && name.text == "<|end|>")) continue;
    if (!is_special(vocabulary.kind(*id)) && !name.even_if_normal) continue;
    if (mark_normal || is_special(vocabulary.kind(*id)))
      vocabulary.set_kind(*id, TokenKind::kControl);
    add_once(special.end_of_generation, id);
    if (name.ends_turn && !special.eot) special.eot = id;
  }
}

bool is_phi3(std::string_view model_name) {
  std::string lower(model_name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower.contains("phi-3") || lower.contains("phi3");
}

bool keeps_space_after_in_phi3(std::string_view text) {
  return text == "<unk>" || text == "<s>" || text == "<|endoftext|>";
}

}  // namespace hearth
