// Tokenizer tables of any content, and what must hold for every text once they are accepted.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/utf8.h"
#include "tests/support/tokenizer_tables.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

using hearth::SpecialText;
using hearth::TextSpan;
using hearth::TokenId;
using hearth::Tokenizer;
using hearth::test::TokenizerTables;

constexpr std::array<std::string_view, 9> kIdKeys = {
    "bos_token_id",     "eos_token_id",     "eot_token_id",
    "eom_token_id",     "unknown_token_id", "padding_token_id",
    "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id"};

std::string_view pick_scheme(FuzzedDataProvider& data) {
  const auto schemes = hearth::pretokenizer_schemes();
  return schemes[data.ConsumeIntegralInRange<std::size_t>(0, schemes.size() - 1)].names.front();
}

TokenizerTables make_tables(FuzzedDataProvider& data) {
  TokenizerTables tables;
  if (data.ConsumeBool()) tables = hearth::test::byte_tables();
  tables.model = data.ConsumeBool() ? "gpt2" : "llama";
  tables.pre = pick_scheme(data);
  tables.model_name = data.ConsumeBool() ? "phi-3" : "";
  const auto num_tokens = data.ConsumeIntegralInRange<std::size_t>(0, 40);
  for (std::size_t i = 0; i < num_tokens; ++i) {
    const auto type = data.ConsumeIntegralInRange<std::int64_t>(0, 7);
    const auto byte = data.ConsumeIntegral<std::uint8_t>();
    if (type == hearth::test::kByteType) {
      tables.add(fmt::format("<0x{:02X}>", byte), type);
    } else {
      tables.add(data.ConsumeRandomLengthString(12), type);
    }
  }
  if (data.ConsumeBool()) {
    for (std::size_t i = 0; i < tables.tokens.size(); ++i) {
      tables.rest.scores.push_back(static_cast<float>(data.ConsumeIntegral<std::int8_t>()));
    }
  }
  const auto num_merges = data.ConsumeIntegralInRange<std::size_t>(0, 40);
  for (std::size_t i = 0; i < num_merges && !tables.tokens.empty(); ++i) {
    const auto pick = [&] {
      return tables.tokens[data.ConsumeIntegralInRange<std::size_t>(0, tables.tokens.size() - 1)];
    };
    if (data.ConsumeBool()) {
      tables.merges.push_back(data.ConsumeRandomLengthString(8));
    } else {
      tables.add_merge(pick(), pick());
    }
  }
  for (const std::string_view key : kIdKeys) {
    if (!data.ConsumeBool()) continue;
    const auto id = data.ConsumeIntegralInRange<std::uint32_t>(0, 300);
    tables.rest.ids.push_back({.key = key, .id = id});
  }
  for (auto* flag : {&tables.rest.add_bos, &tables.rest.add_eos, &tables.rest.add_space_prefix,
                     &tables.rest.remove_extra_whitespaces}) {
    if (data.ConsumeBool()) *flag = data.ConsumeBool();
  }
  return tables;
}

void check_encoding(const Tokenizer& tokenizer, std::string_view text, std::size_t cut) {
  const auto whole = tokenizer.encode(text, false, SpecialText::kPlain);
  const std::array<TextSpan, 2> spans = {
      {{.text = text.substr(0, cut)}, {.text = text.substr(cut)}}};
  HEARTH_CHECK(tokenizer.encode(spans, false) == whole);
  for (const TokenId id : tokenizer.encode(text, true, SpecialText::kParse)) {
    HEARTH_CHECK(id >= 0 && static_cast<std::size_t>(id) < tokenizer.vocab_size());
  }
}

// Every byte is a token and nothing but merging happens: the text must come back.
void check_round_trip(const TokenizerTables& tables, const Tokenizer& tokenizer,
                      std::string_view text) {
  const bool only_normal = std::ranges::all_of(
      tables.types, [](std::int64_t type) { return type == hearth::test::kNormalType; });
  if (tables.model != "gpt2" || tables.tokens.size() < 256 || !only_normal) return;
  if (hearth::find_pretokenizer_scheme(tables.pre)->nfc) return;
  const auto ids = tokenizer.encode(text, false, SpecialText::kPlain);
  HEARTH_CHECK(tokenizer.decode(ids, true) == hearth::utf8::sanitize(text));
}

void check_detokenizer(const Tokenizer& tokenizer, std::string_view text, std::string stop) {
  const auto ids = tokenizer.encode(text, true, SpecialText::kParse);
  hearth::DetokenizerOptions options;
  if (!stop.empty()) options.stop.push_back(stop);
  hearth::Detokenizer detokenizer(tokenizer, options);
  std::string answer;
  for (const TokenId id : ids) {
    const std::string piece = detokenizer.push(id);
    HEARTH_CHECK(hearth::utf8::is_valid(piece) || !hearth::utf8::is_valid(stop));
    answer += piece;
  }
  answer += detokenizer.finish();
  HEARTH_CHECK(stop.empty() || !answer.contains(stop));
  if (detokenizer.matched_stop()) return;
  std::string bytes;
  for (const TokenId id : ids)
    bytes += tokenizer.token_bytes(id, false);
  HEARTH_CHECK(answer == hearth::utf8::sanitize(bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  TokenizerTables tables = make_tables(data);
  const auto made = Tokenizer::create(tables.metadata());
  if (!made.has_value()) return 0;
  std::string stop = data.ConsumeRandomLengthString(6);
  const auto cut = data.ConsumeIntegral<std::uint8_t>();
  const std::string text = data.ConsumeRemainingBytesAsString();
  check_encoding(**made, text, std::min<std::size_t>(cut, text.size()));
  check_round_trip(tables, **made, text);
  check_detokenizer(**made, text, std::move(stop));
  return 0;
}
