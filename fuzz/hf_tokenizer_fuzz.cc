// tokenizer.json of any content, and what must hold for every text once it is accepted.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "base/utf8.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/hf_tokenizer.h"

namespace {

using hearth::SpecialText;
using hearth::TextSpan;
using hearth::TokenId;
using hearth::Tokenizer;

void check(const Tokenizer& tokenizer, std::string_view text) {
  const auto plain = tokenizer.encode(text, false, SpecialText::kPlain);
  const TextSpan parsed{.text = text, .special = SpecialText::kParse};
  const auto ids = tokenizer.encode(std::span(&parsed, 1), false);
  HEARTH_CHECK(tokenizer.min_tokens(std::span(&parsed, 1)) <= ids.size());
  hearth::Detokenizer detokenizer(tokenizer, {});
  std::string answer;
  std::string bytes;
  for (const TokenId id : plain) {
    HEARTH_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size());
    answer += detokenizer.push(id);
    bytes += tokenizer.token_bytes(id, false);
  }
  answer += detokenizer.finish();
  HEARTH_CHECK(answer == hearth::utf8::sanitize(bytes));
  const auto pair = tokenizer.encode_pair(text, text.substr(text.size() / 2));
  HEARTH_CHECK(pair.ids.size() == pair.type_ids.size());
}

}  // namespace

// The file, and behind its last closing brace the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  if (size == 0) return 0;
  const std::size_t file_size = std::min(input.rfind('}'), size - 1) + 1;
  hearth::HfTokenizerFiles files;
  files.tokenizer_json = input.substr(0, file_size);
  const auto made = hearth::make_hf_tokenizer(files);
  if (!made.has_value()) return 0;
  check(**made, input.substr(file_size));
  check(**made, "It's 123  \xC3\xA9\xE4\xBD\xA0 <s> [MASK]");
  return 0;
}
