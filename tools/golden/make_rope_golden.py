#!/usr/bin/env python3
"""Makes tests/golden/hf/rope.json: rotation frequencies as transformers computes them.

One case per kind of rope scaling and per way to spell it in config.json: the keys that the case changes,
and the frequencies and the magnitude of the class's rotary embedding. A case that names a length has
those that transformers uses for texts of that length.

Made with: torch 2.15.0, transformers 5.23.0.

usage: make_rope_golden.py [OUTPUT_FILE]
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers

BASE = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, vocab_size=64,
            intermediate_size=48, head_dim=32, max_position_embeddings=4096, rms_norm_eps=1e-5,
            tie_word_embeddings=True, architectures=["LlamaForCausalLM"], model_type="llama")
YARN = dict(factor=8.0, original_max_position_embeddings=512)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=512)
LONG = dict(short_factor=[1.0 + i / 8 for i in range(16)], long_factor=[2.0 + i for i in range(16)])
QWEN2 = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2")
PHIMOE = dict(architectures=["PhimoeForCausalLM"], model_type="phimoe", num_local_experts=4, num_experts_per_tok=2,
              original_max_position_embeddings=512)
GEMMA3 = dict(architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", hidden_activation="gelu_pytorch_tanh",
              num_hidden_layers=6)


def new(kind, theta=10000.0, **rope):
    """As transformers 5 writes it."""
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **rope))


def old(kind, theta=10000.0, key="rope_type", **rope):
    """As before; `type` is the oldest."""
    return dict(rope_theta=theta, rope_scaling={key: kind, **rope})


CASES = {
    "default": new("default", theta=500000.0),
    "default-old": dict(rope_theta=500000.0, rope_scaling=None),
    "linear": new("linear", factor=4.0),
    "linear-old": old("linear", factor=4.0),
    "linear-oldest": old("linear", key="type", factor=4.0),
    "dynamic": new("dynamic", factor=4.0),
    "dynamic-oldest": old("dynamic", key="type", factor=4.0),
    "dynamic-full": new("dynamic", factor=4.0) | dict(length=4096),
    "llama3": new("llama3", theta=500000.0, **LLAMA3),
    "llama3-old": old("llama3", theta=500000.0, **LLAMA3),
    "yarn": new("yarn", **YARN),
    "yarn-oldest": old("yarn", key="type", theta=1e6, **YARN) | QWEN2,
    "yarn-own-context": new("yarn", factor=8.0),
    "yarn-betas": new("yarn", **YARN, beta_fast=16, beta_slow=2),
    "yarn-attention-factor": new("yarn", **YARN, attention_factor=0.8),
    "yarn-mscale": new("yarn", **YARN, mscale=0.7, mscale_all_dim=1.4),
    "yarn-mscale-alone": new("yarn", **YARN, mscale=0.7),
    "yarn-mscale-equal": new("yarn", **YARN, mscale=1.0, mscale_all_dim=1.0),
    "yarn-mscale-zero": new("yarn", **YARN, mscale=1.0, mscale_all_dim=0),
    "yarn-attention-factor-first": new("yarn", **YARN, attention_factor=1.3, mscale=0.7, mscale_all_dim=1.4),
    "yarn-not-truncated": new("yarn", **YARN, truncate=False),
    "yarn-no-factor": new("yarn", factor=None, original_max_position_embeddings=512),
    "longrope-short": new("longrope", **LONG, original_max_position_embeddings=512) | dict(length=512),
    "longrope-long": new("longrope", **LONG, original_max_position_embeddings=512) | dict(length=513),
    "longrope-factor": new("longrope", **LONG, factor=4.0, original_max_position_embeddings=512),
    "longrope-attention-factor": new("longrope", **LONG, attention_factor=1.5, original_max_position_embeddings=512),
    "longrope-beside": old("longrope", key="type", **LONG) | dict(original_max_position_embeddings=512),
    "phimoe-short": PHIMOE | new("longrope", **LONG, short_mscale=1.2, long_mscale=0.8) | dict(length=512),
    "gemma3-kinds": GEMMA3 | dict(rope_parameters=dict(
        sliding_attention=dict(rope_type="default", rope_theta=10000.0),
        full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6))),
    "gemma3-old": GEMMA3 | dict(rope_theta=1e6, rope_local_base_freq=10000.0,
                                rope_scaling=dict(rope_type="linear", factor=8.0)),
}


def rotary_of(config):
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config)
    return next(module for name, module in model.named_modules() if name.endswith("rotary_emb"))


def angles_of(case):
    """cos and sin of position 1, each frequency once."""
    length = case.get("length", 64)
    keys = {key: value for key, value in (BASE | case).items() if key != "length"}
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(keys))
        rotary = rotary_of(transformers.AutoConfig.from_pretrained(folder))
    positions = torch.arange(length)[None]
    kind = ["full_attention"] if case.get("model_type") == "gemma3_text" else []
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), positions, *kind)
    half = cos.shape[-1] // 2
    return dict(length=length, cos=cos[0, 1, :half].tolist(), sin=sin[0, 1, :half].tolist(), config=keys)


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/hf/rope.json")
    rows = [json.dumps(dict(name=name) | angles_of(case)) for name, case in CASES.items()]
    out.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{out}: {len(rows)} cases")


if __name__ == "__main__":
    main()
