#!/usr/bin/env python3
"""Makes tests/golden/tokenizer/hf/ and the GGUF vocabularies of encoders with the reference
implementations.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0 protobuf
    tools/golden/make_hf_tokenizer_golden.py

hf/NAME.json          a small tokenizer.json trained here by Hugging Face `tokenizers`
hf/NAME.golden.json   its ids, pairs and decoded texts, by the same library
small_unigram.gguf/json    a SentencePiece unigram with its normalization table, ids by
                           `sentencepiece`
small_wordpiece.gguf/json  a WordPiece vocabulary as GGUF files spell it, ids by `tokenizers`
"""

import io
import json
import pathlib
import tempfile

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from compare_real_tokenizers import make_texts
from make_tokenizer_golden import SENTENCES, write_vocabulary

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/tokenizer"
OUT = ROOT / "hf"
SPECIAL = ["<|end|>", "<|user|>"]
# A small normalization table (sources and targets as code points): one to many, many to one, keys
# that begin with other keys, characters that vanish, spaces.
RULES = ["41\t61", "C9\tE9", "65 301\tE9", "65 301 323\t65", "FB01\t66 69", "A0\t20", "3000\t20",
         "9\t20", "A\t20", "D\t20", "200B\t20", "B\t", "7F\t", "AD\t", "AC00\t1100 1161",
         "1100 1161\tAC00", "FF21\t41", "2460\t31", "BD\t31 2F 32", "2026\t2E 2E 2E", "D\t20"]
SPLIT = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def added(text, special=True, **options):
    return AddedToken(text, special=special, **{"normalized": False, **options})


def sentencepiece_model(**options):
    saved = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for s in SENTENCES for line in s.split("\n") if line),
        model_writer=saved, num_threads=1, minloglevel=2, **options)
    return sentencepiece_model_pb2.ModelProto.FromString(saved.getvalue())


def unigram_proto():
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("".join(rule + "\n" for rule in dict.fromkeys(RULES)))
        rules.flush()
        return sentencepiece_model(model_type="unigram", vocab_size=500, character_coverage=0.98,
                                   normalization_rule_tsv=rules.name,
                                   user_defined_symbols=["<tool>"], hard_vocab_limit=False)


def make_byte_level():
    """Like Llama 3: a split, byte-level words, templates, tokens with every flag."""
    made = Tokenizer(models.BPE(ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    made.add_special_tokens([added(t) for t in SPECIAL])
    made.add_special_tokens([added("<mask>", lstrip=True), added("<right>", rstrip=True)])
    made.add_tokens([added("word", special=False, single_word=True),
                     added("Norm", special=False, normalized=True), added("\t\t", special=False)])
    end = made.token_to_id(SPECIAL[0])
    made.post_processor = processors.Sequence(
        [processors.ByteLevel(), processors.TemplateProcessing(
            single=f"{SPECIAL[0]} $A", pair=f"{SPECIAL[0]} $A {SPECIAL[0]} $B:1",
            special_tokens=[(SPECIAL[0], end)])])
    return made


def make_falcon_like():
    """Steps behind ByteLevel see bytes as they are spelled; NFC; a space in front."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=True),
         pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(SENTENCES, trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    made.add_special_tokens([added(t) for t in SPECIAL])
    return made


def make_byte_fallback():
    """Like Llama 2: one word, code points as symbols, bytes for what has no token."""
    proto = sentencepiece_model(model_type="bpe", vocab_size=650, byte_fallback=True,
                                character_coverage=0.98, normalization_rule_name="identity",
                                remove_extra_whitespaces=False)
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    merges = []
    for piece in (p.piece for p in proto.pieces if p.type == 1):
        merges += [(vocab[piece], (piece[:i], piece[i:])) for i in range(1, len(piece))
                   if piece[:i] in vocab and piece[i:] in vocab]
    merges = [pair for _, pair in sorted(merges)]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True,
                                byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                      decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([added("<unk>"), added("<s>"), added("</s>", normalized=True)])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return made


def make_unknown_bpe():
    """Code points as symbols, unknown ones not fused; regex replacement, lower case, spaces away."""
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(),
         normalizers.Replace(Regex(r"\s{2,}|[\x{AD}]"), " ")])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("-", "merged_with_previous"),
         pre_tokenizers.Split(Regex("[aeiou]+"), "merged_with_next"),
         pre_tokenizers.Split(Regex(r"\d+"), "removed", invert=False)])
    made.train_from_iterator([s for s in SENTENCES if s.isascii()],
                             trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]"]))
    made.add_tokens([AddedToken("FoX", special=False, normalized=True)])
    return made


def make_unigram():
    """Like XLM-R: SentencePiece's table, Metaspace, unknown texts joined."""
    proto = unigram_proto()
    made = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=0))
    made.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
         normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens([added("<unk>"), added("<s>"), added("</s>"),
                             added("<mask>", lstrip=True)])
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return made


def make_unigram_bytes():
    """A unigram with byte fallback; a mark only at the start; Nmt, NFKD, marks away."""
    pieces = [("<unk>", 0.0)] + [(f"<0x{b:02X}>", -20.0) for b in range(256)]
    pieces += [(p.piece, p.score) for p in unigram_proto().pieces if p.type == 1][:300]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents()])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                      decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([added(t) for t in SPECIAL])
    return made


def make_wordpiece(lowercase=True):
    made = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=30))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def make_whitespace():
    """WordPiece over Whitespace words; NFD; nothing around a text, no decoder."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.NFD()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=["[UNK]"]))
    return made


def write_golden(path, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    path.write_text(text.replace("},{", "},\n{") + "\n")


def make_hf(name, made, num_texts=220):
    (OUT / f"{name}.json").write_text(made.to_str(pretty=False) + "\n")
    made = Tokenizer.from_file(str(OUT / f"{name}.json"))
    specials = [t.content for t in made.get_added_tokens_decoder().values()]
    texts = make_texts(num_texts, specials + [" word ", "words", "norm Norm", " fox"], seed=len(name))
    # The reference shows an added token that is found in the normalized text in its normalized
    # spelling; we show the token's own.
    added_ids = made.get_added_tokens_decoder()
    plain = [t for t in make_texts(num_texts // 2, [], seed=len(name) + 1)
             if not any(i in added_ids and added_ids[i].normalized
                        for i in made.encode(t, add_special_tokens=False).ids)]
    write_golden(OUT / f"{name}.golden.json", {
        "cases": [{"text": t, "ids": made.encode(t).ids} for t in texts],
        "pairs": [{"text": a, "second": b, "ids": e.ids, "type_ids": e.type_ids}
                  for a, b in zip(texts[0::8], texts[1::8]) for e in [made.encode(a, b)]],
        "decoded": [{"ids": ids, "text": made.decode(ids)} for t in plain
                    for ids in [made.encode(t, add_special_tokens=False).ids]],
    })


def make_gguf_unigram():
    proto = unigram_proto()
    kinds = {1: gguf.TokenType.NORMAL, 2: gguf.TokenType.UNKNOWN, 3: gguf.TokenType.CONTROL,
             4: gguf.TokenType.USER_DEFINED}

    def extra(writer):
        writer.add_token_scores([p.score for p in proto.pieces])
        writer.add_unk_token_id(0)
        writer.add_eos_token_id(2)
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
        writer.add_remove_extra_whitespaces(True)
        writer.add_add_space_prefix(True)

    write_vocabulary(ROOT / "small_unigram.gguf", "t5",
                     [(p.piece, kinds[p.type]) for p in proto.pieces], extra)
    processor = sentencepiece.SentencePieceProcessor()
    processor.LoadFromSerializedProto(proto.SerializeToString())
    # No user-defined piece in the texts: what stands behind one gets its own space in front.
    texts = [t for t in make_texts(300, [], seed=3) if "\0" not in t and "▁" not in t]
    write_golden(ROOT / "small_unigram.json",
                 {"plain": [{"text": t, "ids": processor.encode(t)} for t in texts]})


def make_gguf_wordpiece():
    made = make_wordpiece()
    made.model.max_input_chars_per_word = 100
    vocab = sorted(made.get_vocab().items(), key=lambda item: item[1])

    def entry(token):
        if token.startswith("["):
            kind = gguf.TokenType.CONTROL if len(token) > 1 else gguf.TokenType.NORMAL
            return (token if len(token) > 1 else "▁" + token, kind)
        continues = token.startswith("##") and len(token) > 2
        return (token[2:] if continues else "▁" + token, gguf.TokenType.NORMAL)

    def extra(writer):
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(2)
        writer.add_sep_token_id(3)

    write_vocabulary(ROOT / "small_wordpiece.gguf", "bert", [entry(t) for t, _ in vocab], extra)
    # The files' spelling of a piece is ambiguous where it has that mark of its own.
    texts = [t for t in make_texts(250, ["[CLS]", "[MASK]"], seed=4) if "▁" not in t]
    write_golden(ROOT / "small_wordpiece.json", {
        "parsed": [{"text": t, "ids": made.encode(t).ids} for t in texts],
        "pairs": [{"text": a, "second": b, "ids": e.ids, "type_ids": e.type_ids}
                  for a, b in zip(texts[0::8], texts[1::8]) for e in [made.encode(a, b)]]})


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    make_hf("byte_level", make_byte_level())
    make_hf("falcon_like", make_falcon_like())
    make_hf("byte_fallback", make_byte_fallback())
    make_hf("unknown_bpe", make_unknown_bpe())
    make_hf("unigram", make_unigram(), 150)
    make_hf("unigram_bytes", make_unigram_bytes())
    make_hf("wordpiece", make_wordpiece())
    make_hf("wordpiece_cased", make_wordpiece(lowercase=False), 120)
    make_hf("whitespace", make_whitespace(), 120)
    make_gguf_unigram()
    make_gguf_wordpiece()


if __name__ == "__main__":
    main()
