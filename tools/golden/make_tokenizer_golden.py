#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/ with the reference implementations.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0 protobuf
    tools/golden/make_tokenizer_golden.py models/SmolLM2-135M-Instruct.Q4_1.gguf

splits.json          words of each pre-tokenizer scheme, by Hugging Face `tokenizers` from the
                     expressions in the families' tokenizer.json files
smollm2.json         ids of the real SmolLM2 vocabulary, by `tokenizers`
small_bpe.gguf/json  a byte-level BPE trained here (vocabulary only), ids by `tokenizers`
small_spm.gguf/json  a SentencePiece BPE trained here (vocabulary only), ids by `sentencepiece`,
                     also with changed flags and unused pieces
"""

import io
import json
import pathlib
import random
import sys
import unicodedata

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, trainers

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/tokenizer"

SENTENCES = """\
The quick brown fox jumps over the lazy dog. It's what they'd've said: "I'll don't we're YOU'RE I'M he'S"
Grö\u00dfe, Stra\u00dfe, na\u00efve fa\u00e7ade, \u00c6r\u00f8sk\u00f8bing \u2014 \u00abguillemets\u00bb \u201eAnf\u00fchrung\u201c \u2026
\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u044d\u0442\u0438\u0445 \u043c\u044f\u0433\u043a\u0438\u0445 \u0431\u0443\u043b\u043e\u043a 2024
\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u1f00\u03c1\u03c7\u03ae \u1ff7
\u4f60\u597d,\u4e16\u754c!\u6211\u80fd\u541e\u4e0b\u73bb\u7483\u800c\u4e0d\u4f24\u8eab\u4f53\u30022023\u5e745\u670817\u65e5
\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a\u3002\u6771\u4eac333\u30e1\u30fc\u30c8\u30eb
\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \uc548\ub155\ud558\uc138\uc694 \u1100\u1161\u11a8 1,234\uc6d0
\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0e01\u0e33
\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f \u0661\u0662\u0663\u0664 \u0627\u0644\u0644\u0651\u064f\u063a\u064e\u0629
\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd, \u05d0\u05b8\u05dc\u05b6\u05e3\u05be\u05d1\u05b5\u05bc\u05d9\u05ea
\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e, \u0967\u0968\u0969\u0964 \u09ac\u09be\u0982\u09b2\u09be
\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0c24\u0c46\u0c32\u0c41\u0c17\u0c41 \u1019\u103c\u1014\u103a\u1019\u102c \u1797\u17b6\u179f\u17b6 \u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8 \u12a0\u121b\u122d\u129b
Ti\u1ebfng Vi\u1ec7t: Nguy\u1ec5n Ph\u01b0\u1ee3ng; T\u00fcrk\u00e7e: \u0130stanbul \u0131\u011f\u00fc\u015f; Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105
def f(x):\\n\\treturn {k: v**2 for k, v in x.items() if v >= 0x1F}  # comment\\n\\n\\nclass A(B):\\n    pass\\n
#include <stdio.h>\\nint main(void) { printf("%d\\\\n", 1<<10); return 0; }\\r\\n\\r\\n
SELECT * FROM `t` WHERE a<>b AND c LIKE '%x%'; -- 100%\\n{"key": [1, 2.5e-10, null, true]}
https://example.com/path?q=1&x=%20#frag user@mail.co C:\\\\Windows\\\\System32 ./a/../b
e^{i\u03c0}+1=0 \u2211 1/n\u00b2 = \u03c0\u00b2/6 \u2248 1.6449 \u2200x\u2208\u211d \u00bd \u2153 \u2167 \u2460\u2461 \u00b2\u00b3\u00b9
\U0001d407\U0001d41e\U0001d425 \U0001d4e6\U0001d4f8 \U0001d7d8\U0001d7d9 \u210c\U0001d522 \uff26\uff35\uff2c\uff2c\uff11\uff12\uff13
\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3
z\u0334\u0322\u035da\u0335 e\u0301 \u00e9 A\u030a \u00c5 \u212b n\u0303 \u1ebf e\u0302\u0301 d\u0323\u0307 \u1e0b\u0323 \u0301x
1234567890 12 345 67890123456789 3.14159 1,000,000 0xDEADBEEF v1.2.3-rc4 \u0663\u0664 \u096a\u096b
       leading and trailing      \\n \\n  \\t\\t mixed \u00a0nbsp \u3000wide\u2003em\u200bzero\u202f\u1680\u180e\u2028\u2029\u0085end
'S 'T 'RE 'Ve 'm 'LL 'd '\u017f \u2019s \u2019t I'Mx we'Llx o'clock 'twas ''' '''' '1's
CamelCaseWords HTTPServer XMLHttpRequest snake_case kebab-case MACRO_NAME McDonald \u00c9COLE \u01c5ungla
!!! ??? ... --- === *** ### $$$ %%% ((( ))) [[[ ]]] ||| /// ~~~ ``` @@@ <<< >>> ,,, ;;; \"\"\" _____ $+<=>^~`|""".split("\n")
SENTENCES = [s.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t")
             .replace("\\r", "\r").replace("\0", "\\") for s in SENTENCES]

WHITE_SPACE = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\t ", "\u00a0",
               "\u3000", "\u2003", "\u2028", "\x85", "\x0b", "\u200b", "\u180e", "\u1680"]


def make_texts(seed, num_random):
    rng = random.Random(seed)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    pool = [chr(c) for c in range(0x20, 0x2FFF) if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    texts = list(SENTENCES)
    for space in WHITE_SPACE:
        texts += [space, "a" + space, space + "b", "x" + space + "1", "!" + space + "\n" + space]
    texts += [" " * n + "x" for n in (4, 7, 16, 33)] + ["1" * n for n in (2, 3, 4, 5, 7, 20)]
    for _ in range(num_random):
        parts = []
        for _ in range(rng.randint(1, 10)):
            kind = rng.random()
            if kind < 0.4:
                parts.append(rng.choice(words))
            elif kind < 0.65:
                parts.append(rng.choice(WHITE_SPACE))
            elif kind < 0.75:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 9))))
            elif kind < 0.9:
                parts.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 4))))
            else:
                parts.append("".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 6))))
        texts.append("".join(parts))
    return texts


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
HEAD = r"[^\r\n\p{L}\p{N}]?"
SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CJK_LLM = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK_LETTERS = (
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-"
    "\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-"
    "\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
    "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184"
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
    "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8"
    "-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943]+")
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


# One representative name of each row; what that family's tokenizer.json declares.
SCHEMES = {
    "gpt-2": [split(GPT2)],
    "smollm": [digits(), split(GPT2)],
    "llama-bpe": [split(LLAMA3)],
    "minicpm5": [split(r"\p{N}{1,3}"),
                 split(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+"))],
    "qwen2": [split(QWEN2)],
    "qwen35": [split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
                     r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")],
    "gpt-4o": [split(f"{HEAD}{UPPER}*{LOWER}+{CONTRACTION}?|{HEAD}{UPPER}+{LOWER}*{CONTRACTION}?"
                     r"|\p{N}{1,3}" + SLASH_TAIL)],
    "tekken": [split(f"{HEAD}{UPPER}*{LOWER}+|{HEAD}{UPPER}+{LOWER}*" r"|\p{N}" + SLASH_TAIL)],
    "deepseek-llm": [
        split("[\r\n]"), split(DEEPSEEK_LETTERS),
        split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"), split(r"\s+$"),
        split(CJK_LLM), split(r"\p{N}+")],
    "deepseek-coder": [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK_LLM),
                       digits()],
    "deepseek-v3": [
        split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
        split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
              "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*"
              "|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")],
    "falcon": [pre_tokenizers.Punctuation(behavior="contiguous"), split(GPT2),
               split("[0-9][0-9][0-9]")],
    "bloom": [split(BLOOM)],
    "viking": [split(BLOOM), split(r"\p{N}")],
    "bailingmoe": [split(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
                         r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")],
    "seed-coder": [split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}"
                         r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+")],
    "jais-2": [split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
                     + "".join(rf"\s{{{n}}}(?!\S)|" for n in (512, 256, 128, 64, 32, 16, 8, 4, "1,2")) + r"\s{1}")],
    "default": [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"),
                split("[0-9][0-9][0-9]")],
}


def write_json(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    (OUT / name).write_text(text.replace("],[", "],\n[").replace("},{", "},\n{") + "\n")


def make_splits():
    texts = make_texts(7, 60)
    schemes = {}
    for name, steps in SCHEMES.items():
        sequence = pre_tokenizers.Sequence(steps)
        schemes[name] = [[len(piece.encode()) for piece, _ in sequence.pre_tokenize_str(text)]
                         for text in texts]
    write_json("splits.json", {"texts": texts, "word_bytes": schemes})


def cases(encode, texts):
    return [{"text": text, "ids": encode(text)} for text in texts]


def make_smollm2(path):
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    plain = cases(lambda t: tokenizer.encode(t).ids, make_texts(11, 250))
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True)
         for t, kind in zip(tokens, types) if kind in (gguf.TokenType.CONTROL,)])
    chat = ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|><|im_end|> b",
            "<|im_start|", "<<|im_end|>>", "<|im_start|><|endoftext|>", " <|im_end|> \n"]
    write_json("smollm2.json",
               {"plain": plain, "parsed": cases(lambda t: tokenizer.encode(t).ids, chat)})


def write_vocabulary(path, model, entries, extra):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list([entry[0] for entry in entries])
    writer.add_token_types([entry[1] for entry in entries])
    extra(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_small_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split(QWEN2), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    saved = json.loads(tokenizer.to_str())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in saved["merges"]]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    user = ["<tool>", "<tool>s", "\t\t"]
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in user])
    entries = [(t, gguf.TokenType.NORMAL)
               for t, _ in sorted(saved["vocab"].items(), key=lambda item: item[1])]
    entries += [(t, gguf.TokenType.CONTROL) for t in special]
    entries += [(t, gguf.TokenType.USER_DEFINED) for t in user]
    ids = {t: i for i, (t, _) in enumerate(entries)}
    assert all(tokenizer.token_to_id(t) == ids[t] for t in special + user)

    def extra(writer):
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges(merges)
        writer.add_bos_token_id(ids["<|endoftext|>"])
        writer.add_eos_token_id(ids["<|im_end|>"])
        writer.add_add_bos_token(False)

    write_vocabulary(OUT / "small_bpe.gguf", "gpt2", entries, extra)
    plain = cases(lambda t: tokenizer.encode(t).ids, make_texts(13, 120))
    texts = ["<|im_start|>user\nHi <tool>x</tool><|im_end|>\n", "<tool>s<tool>", "a\t\tb\t\t\tc",
             "<|im_start<|im_end|>|>", "e\u0301<|im_end|>\u0301e"]
    write_json("small_bpe.json",
               {"plain": plain, "parsed": cases(lambda t: tokenizer.encode(t).ids, texts)})


def make_small_spm():
    saved = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for s in SENTENCES for line in s.split("\n") if line),
        model_writer=saved, model_type="bpe", vocab_size=800, byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", split_digits=True,
        remove_extra_whitespaces=False, control_symbols=["<|im_start|>", "<|im_end|>"],
        num_threads=1, minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto.FromString(saved.getvalue())
    kinds = {1: gguf.TokenType.NORMAL, 2: gguf.TokenType.UNKNOWN, 3: gguf.TokenType.CONTROL,
             4: gguf.TokenType.USER_DEFINED, 5: gguf.TokenType.UNUSED, 6: gguf.TokenType.BYTE}

    def extra(writer):
        writer.add_token_scores([piece.score for piece in proto.pieces])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)

    write_vocabulary(OUT / "small_spm.gguf", "llama",
                     [(p.piece, kinds[p.type]) for p in proto.pieces], extra)
    texts = make_texts(17, 120) + [" ", "  ", " a  b ", "<s>", "</s>x", "<unk>", "<0x41>", "\u2581"]
    texts = [text for text in texts if "\0" not in text]

    def encode_with(change):
        copy = sentencepiece_model_pb2.ModelProto.FromString(proto.SerializeToString())
        change(copy)
        processor = sentencepiece.SentencePieceProcessor()
        processor.LoadFromSerializedProto(copy.SerializeToString())
        return lambda text: processor.encode(text)

    def no_prefix(copy):
        copy.normalizer_spec.add_dummy_prefix = False

    def collapse(copy):
        copy.normalizer_spec.remove_extra_whitespaces = True

    unused = [i for i, p in enumerate(proto.pieces) if p.type == 1 and len(p.piece) >= 2][::9]

    def mark_unused(copy):
        for i in unused:
            copy.pieces[i].type = 5

    def no_bytes(copy):
        for piece in copy.pieces:
            if piece.type == 6:
                piece.type = 5
        copy.trainer_spec.byte_fallback = False

    write_json("small_spm.json", {
        "plain": cases(encode_with(lambda copy: None), texts),
        "no_prefix": cases(encode_with(no_prefix), texts[::3]),
        "collapse": cases(encode_with(collapse), texts[::3]),
        "unused_ids": unused,
        "unused": cases(encode_with(mark_unused), texts[::2]),
        "no_bytes": cases(encode_with(no_bytes), texts[::2]),
    })


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    make_splits()
    make_smollm2(sys.argv[1])
    make_small_bpe()
    make_small_spm()


if __name__ == "__main__":
    main()
