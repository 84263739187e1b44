#include "tokenizer/chat_prompt.h"

namespace hearth {

void add_special_tokens(const Tokenizer& tokenizer, json::Object& context) {
  const SpecialTokens& special = tokenizer.special();
  const auto add = [&](const char* name, std::optional<TokenId> id) {
    if (id.has_value() && context.find(name) == nullptr) context.append(name, tokenizer.piece(*id));
  };
  add("bos_token", special.bos);
  add("eos_token", special.eos);
  add("unk_token", special.unknown);
  add("pad_token", special.padding);
}

std::vector<TextSpan> text_spans(const RenderedPrompt& prompt) {
  std::vector<TextSpan> spans;
  spans.reserve(prompt.spans.size());
  for (const RenderedPrompt::Span& span : prompt.spans)
    spans.push_back({span.text, span.special});
  return spans;
}

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const TextSpan> spans,
                                   const std::stop_token& stop) {
  std::vector<TokenId> ids = tokenizer.encode(spans, false, stop);
  const SpecialTokens& special = tokenizer.special();
  if (special.add_bos && special.bos.has_value() && (ids.empty() || ids.front() != *special.bos)) {
    ids.insert(ids.begin(), *special.bos);
  }
  return ids;
}

}  // namespace hearth
