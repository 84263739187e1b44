#!/usr/bin/env python3
"""Writes GGUF files of random weights in the shapes of real models, for comparing speed.

    make_models.py --quantize LLAMA_QUANTIZE --vocabulary MODEL.gguf --out DIRECTORY [SHAPE:TYPE ...]

Speed does not depend on the values, so no weights need to be fetched. Each shape is written once as
F16 (normal, scaled so that activations stay of order one); llama-quantize makes the other types of
it, with llama.cpp's own mix of tensor types. Files that are there are kept. The smaller shape takes
vocabulary and metadata from a real file of that model, the larger one gets a made-up vocabulary of
the right size.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import subprocess
import sys

import gguf
import numpy as np

SEED = 20250101
TYPES = ("F16", "Q4_0", "Q4_1", "Q8_0", "Q4_K_M")
NUM_SPECIAL = 256  # Control tokens at the end of the made-up vocabulary, as in Llama 3.


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    freq_base: float
    made_up_vocabulary: bool

    @property
    def head_dim(self):
        return self.hidden // self.heads


SHAPES = {
    "135m": Shape("SmolLM2-135M", 30, 576, 1536, 9, 3, 49152, 8192, 100000.0, False),
    "1b": Shape("Llama-3.2-1B", 16, 2048, 8192, 32, 8, 128256, 131072, 500000.0, True),
}


def made_up_pieces(count):
    """`count` distinct pieces and their merges: the byte letters, then pairs of them, then triples."""
    letters = list(byte_letters())
    pairs = itertools.product(letters, letters)
    triples = itertools.product((a + b for a, b in itertools.product(letters, letters)), letters)
    merged = list(itertools.islice(itertools.chain(pairs, triples), count - len(letters)))
    return letters + [a + b for a, b in merged], [f"{a} {b}" for a, b in merged]


def byte_letters():
    """How byte-level BPE writes each byte: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = itertools.count(0x100)
    for byte in range(256):
        yield chr(byte) if byte in printable else chr(next(shifted))


def add_made_up_vocabulary(writer, shape):
    pieces, merges = made_up_pieces(shape.vocab - NUM_SPECIAL)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    special += [f"<|reserved_special_token_{i}|>" for i in range(NUM_SPECIAL - len(special))]
    first_special = len(pieces)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(pieces + special)
    writer.add_token_types([gguf.TokenType.NORMAL] * first_special + [gguf.TokenType.CONTROL] * NUM_SPECIAL)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(first_special)
    writer.add_eos_token_id(first_special + 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")


def copy_vocabulary(writer, vocabulary):
    for field in gguf.GGUFReader(vocabulary).fields.values():
        if not field.name.startswith("tokenizer."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, inner)


def add_metadata(writer, shape):
    writer.add_name(f"{shape.name} shape, random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(shape.freq_base)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)


def matrices(shape):
    """Name, outputs and inputs of every matrix."""
    yield "token_embd", shape.vocab, shape.hidden
    kv_width = shape.kv_heads * shape.head_dim
    for layer in range(shape.layers):
        for name, rows, cols in (
                ("attn_q", shape.hidden, shape.hidden), ("attn_k", kv_width, shape.hidden),
                ("attn_v", kv_width, shape.hidden), ("attn_output", shape.hidden, shape.hidden),
                ("ffn_gate", shape.feed_forward, shape.hidden), ("ffn_up", shape.feed_forward, shape.hidden),
                ("ffn_down", shape.hidden, shape.feed_forward)):
            yield f"blk.{layer}.{name}", rows, cols


def write_f16(shape, vocabulary, path):
    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer, shape)
    if shape.made_up_vocabulary:
        add_made_up_vocabulary(writer, shape)
    else:
        copy_vocabulary(writer, vocabulary)
    generator = np.random.default_rng(SEED)
    for name, rows, cols in matrices(shape):
        values = generator.standard_normal((rows, cols), dtype=np.float32) / np.float32(cols**0.5)
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))
    norms = [f"blk.{i}.{name}" for i in range(shape.layers) for name in ("attn_norm", "ffn_norm")]
    for name in [*norms, "output_norm"]:
        writer.add_tensor(f"{name}.weight", np.ones(shape.hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(program, source, kind, path):
    result = subprocess.run([program, source, path, kind], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"make_models: {program} {source.name} {kind} failed:\n{result.stderr[-2000:]}")


def model_path(directory, shape_name, kind):
    return pathlib.Path(directory) / f"{SHAPES[shape_name].name}-random.{kind}.gguf"


def make(directory, shape_name, kind, tools):
    """Path of the file, which is written when it is missing: completely or not at all."""
    path = model_path(directory, shape_name, kind)
    if path.is_file():
        return path
    print(f"make_models: writing {path.name}", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    if kind == "F16":
        write_f16(SHAPES[shape_name], tools.vocabulary, partial)
    else:
        quantize(tools.quantize, make(directory, shape_name, "F16", tools), kind, partial)
    os.replace(partial, path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quantize", required=True, help="llama-quantize")
    parser.add_argument("--vocabulary", required=True, help="GGUF file of SmolLM2 to take the vocabulary from")
    parser.add_argument("--out", required=True, help="directory for the files")
    every = [f"{shape}:{kind}" for shape in SHAPES for kind in TYPES]
    parser.add_argument("models", nargs="*", metavar="SHAPE:TYPE", help=f"of {', '.join(every)}; default: all")
    args = parser.parse_args()
    unknown = set(args.models) - set(every)
    if unknown:
        parser.error(f"unknown models: {', '.join(sorted(unknown))}")
    for model in args.models or every:
        print(make(args.out, *model.split(":"), args))


if __name__ == "__main__":
    main()
