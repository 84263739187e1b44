#!/usr/bin/env python3
"""Makes tests/golden/models: tiny random models as GGUF and their logits by transformers.

Each case is one shape of the decoder (grouped heads, biases, rope scaling, untied output, another
family) small enough to commit. The weights are random with a fixed seed: they prove the arithmetic,
not any quality. The logits and the greedy continuation come from transformers in float32.

Made with: torch 2.15.0, transformers 5.23.0, gguf 0.19.0, numpy 2.4 (any recent version gives the same
values within the tests' error budget).

usage: make_model_golden.py [OUTPUT_FOLDER]
"""

import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

VOCAB = 64
PROMPT_LEN = 40
GREEDY_LEN = 12

BASE = dict(
    vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    rms_norm_eps=1e-5, tie_word_embeddings=True, initializer_range=0.35,
)

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=16)

CASES = {
    "llama-tied": dict(),
    "llama-untied-bias": dict(tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
    "llama-wide-heads": dict(head_dim=16, num_key_value_heads=1),
    "llama-rope-linear": dict(rope=dict(rope_type="linear", factor=4.0)),
    "llama-rope-llama3": dict(rope=LLAMA3),
    "llama-rope-yarn": dict(rope=YARN),
    "qwen2": dict(family="qwen2"),
}


def make_model(case):
    options = dict(BASE)
    options.update({k: v for k, v in case.items() if k not in ("family", "rope")})
    rope = dict(case.get("rope", dict(rope_type="default")))
    rope["rope_theta"] = 10000.0
    options["rope_parameters"] = rope
    family = case.get("family", "llama")
    classes = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }
    config_class, model_class = classes[family]
    torch.manual_seed(7)
    model = model_class(config_class(**options)).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return family, model


def interleave(weight, num_heads):
    """Llama files hold the two halves of each head's rotated pairs next to each other."""
    shape = weight.shape
    return weight.reshape(num_heads, 2, shape[0] // num_heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
TOP_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}


def tensors_of(family, model):
    config = model.config
    for name, parameter in model.named_parameters():
        value = parameter.detach().numpy()
        if name in TOP_NAMES:
            yield TOP_NAMES[name], value
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        if family == "llama" and module == "self_attn.q_proj":
            value = interleave(value, config.num_attention_heads)
        if family == "llama" and module == "self_attn.k_proj":
            value = interleave(value, config.num_key_value_heads)
        yield f"blk.{layer}.{NAMES[module]}.{kind}", value


def llama3_factors(config, rope):
    """Divisors per frequency, from the definition of Llama-3 scaling."""
    dim = config.head_dim
    frequency = 1.0 / (10000.0 ** (np.arange(0, dim, 2, dtype=np.float64) / dim))
    wavelength = 2 * np.pi / frequency
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    smooth = (original / wavelength - low) / (high - low)
    mixed = 1.0 / ((1 - smooth) / factor + smooth)
    result = np.where(wavelength > original / low, factor, np.where(wavelength < original / high, 1.0, mixed))
    return result.astype(np.float32)


def write_gguf(path, case, family, model):
    config = model.config
    writer = gguf.GGUFWriter(path, family)
    writer.add_name(f"tiny random {family}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCAB)
    if "head_dim" in case:
        writer.add_key_length(case["head_dim"])
        writer.add_value_length(case["head_dim"])
        writer.add_rope_dimension_count(case["head_dim"])
    rope = case.get("rope")
    if rope and rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope and rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope and rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config, rope))
    for name, value in tensors_of(family, model):
        writer.add_tensor(name, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def golden_of(model):
    """Logits of the prompt and the greedy text after it."""
    prompt = [(i * i * 7 + i * 3 + 1) % VOCAB for i in range(PROMPT_LEN)]
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0]
        tokens = list(prompt)
        for _ in range(GREEDY_LEN):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return dict(prompt=prompt, greedy=tokens[PROMPT_LEN:],
                logits=[[round(float(x), 5) for x in row] for row in logits])


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/models")
    out.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        family, model = make_model(case)
        write_gguf(out / f"{name}.gguf", case, family, model)
        golden = golden_of(model)
        (out / f"{name}.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, "greedy", golden["greedy"])


if __name__ == "__main__":
    main()
