#!/usr/bin/env python3
"""Makes the cases of tests/golden/models beyond Llama and Qwen 2: one or more per decoder family.

Like make_model_golden.py, which see: tiny random models as GGUF, in the names and layouts of llama.cpp's
converter, with logits and greedy text by transformers in float32 (but for the cache, see round_cache).

usage: make_family_golden.py [--hf FOLDER] [--only NAME] [OUTPUT_FOLDER]
  --hf FOLDER  also saves each model as a Hugging Face directory below FOLDER
  --only NAME  makes this case alone
"""

import argparse
import functools
import json
import math
import pathlib
import re
import sys

import gguf
import numpy as np
import safetensors.torch
import torch
import transformers

from make_model_golden import VOCAB, golden_of, interleave

SHAPE = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
             rms_norm_eps=1e-5, tie_word_embeddings=True, initializer_range=0.35,
             pad_token_id=0, bos_token_id=1, eos_token_id=2)
ROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0))
SHORT = [1.0 + 0.1 * i for i in range(3)]
LONG = [1.5 + 1.0 * i for i in range(3)]

# Modules of one layer, and outside of layers, in the usual spelling and the roles they have.
LLAMA = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.experts.down_proj": "ffn_down_exps",
}
DEEPSEEK = LLAMA | {
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
GEMMA2 = LLAMA | {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
BLOOM = {
    "input_layernorm": "attn_norm", "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
    "ln_mlp": "attn_norm", "ln_attn": "attn_norm_2",
}
GPT2 = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}
OLMO2 = LLAMA | {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
GLM = LLAMA | {"post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"}
HUNYUAN = LLAMA | {"self_attn.query_layernorm": "attn_q_norm", "self_attn.key_layernorm": "attn_k_norm"}
SEED = LLAMA | {"post_attention_layernorm": "post_attention_norm"}
GPT_OSS = SEED | {"self_attn.sinks": "attn_sinks"}
STARCODER2 = LLAMA | {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
PHI = LLAMA | {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
GPTJ = {
    "ln_1": "attn_norm", "attn.q_proj": "attn_q", "attn.k_proj": "attn_k", "attn.v_proj": "attn_v",
    "attn.out_proj": "attn_output", "mlp.fc_in": "ffn_up", "mlp.fc_out": "ffn_down",
}
MPT = {
    "norm_1": "attn_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "norm_2": "ffn_norm",
    "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down",
}
OPT = LLAMA | {
    "self_attn_layer_norm": "attn_norm", "self_attn.out_proj": "attn_output", "final_layer_norm": "ffn_norm",
    "fc1": "ffn_up", "fc2": "ffn_down",
}
STABLELM = LLAMA | {"self_attn.q_layernorm.norms": "attn_q_norm", "self_attn.k_layernorm.norms": "attn_k_norm"}
GPT_NEOX = {
    "input_layernorm": "attn_norm", "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
}
TOP = {
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm",
    "model.final_layernorm": "output_norm", "transformer.norm_f": "output_norm",
    "model.decoder.embed_tokens": "token_embd", "model.decoder.embed_positions": "position_embd",
    "model.decoder.final_layer_norm": "output_norm",
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "transformer.word_embeddings": "token_embd", "transformer.word_embeddings_layernorm": "token_embd_norm",
    "transformer.ln_f": "output_norm", "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
}


def split_groups(value, config, group_size):
    """From (group_size queries, key, value) per group of heads to all queries, all keys, all values."""
    dim = config.hidden_size // config.num_attention_heads
    parts = value.reshape(-1, group_size + 2, dim, *value.shape[1:])
    pick = [parts[:, :group_size], parts[:, group_size], parts[:, group_size + 1]]
    return np.concatenate([p.reshape(-1, *value.shape[1:]) for p in pick])


def bloom_tensor(role, value, config):
    return split_groups(value, config, 1) if role == "attn_qkv" else value


def falcon_tensor(role, value, config):
    heads, kv_heads = config.num_attention_heads, config.num_kv_heads
    if not config.new_decoder_architecture and config.multi_query:
        kv_heads = 1
    return split_groups(value, config, heads // kv_heads) if role == "attn_qkv" else value


def gemma_tensor(role, value, config):
    return value + 1 if role.endswith("norm") else value


def gpt2_tensor(role, value, config):
    return value.T if value.ndim == 2 and role.split("_")[0] in ("attn", "ffn") else value


def nemotron_tensor(role, value, config):
    return value + 1 if role in ("attn_norm", "ffn_norm", "output_norm") else value


def opt_tensor(role, value, config):
    return value[2:] if role == "position_embd" else value


def interleaved_tensor(role, value, config):
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    return interleave(value, heads[role]) if role in heads else value


def window_keys(writer, config):
    writer.add_sliding_window(config.sliding_window)


def listed_window_keys(writer, config):
    window_keys(writer, config)
    writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])


def olmo3_keys(writer, config):
    listed_window_keys(writer, config)
    rope = config.rope_parameters["full_attention"]
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    # The whole temperature; newer converters write it as yarn_attn_factor.
    writer.add_rope_scaling_attn_factors(rope["attention_factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def cohere_keys(writer, config):
    writer.add_logit_scale(config.logit_scale)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    if hasattr(config, "sliding_window"):
        window_keys(writer, config)


def partial_keys(writer, config):
    dim = config.hidden_size // config.num_attention_heads
    dim = getattr(config, "head_dim", None) or dim
    writer.add_rope_dimension_count(int(dim * config.rope_parameters["partial_rotary_factor"]))
    if hasattr(config, "use_parallel_residual"):
        writer.add_parallel_residual(config.use_parallel_residual)


def hunyuan_keys(writer, config):
    rope, dim = config.rope_parameters, config.head_dim
    writer.add_rope_freq_base(rope["rope_theta"] * rope["alpha"] ** (dim / (dim - 2)))
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    writer.add_rope_scaling_factor(1)


def gemma2_keys(writer, config):
    window_keys(writer, config)
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)


def gemma3_keys(writer, config):
    window_keys(writer, config)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    if config.rope_parameters["full_attention"]["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["full_attention"]["factor"])


def phi3_keys(writer, config):
    writer.add_sliding_window(config.sliding_window or 0)
    rope = config.rope_parameters
    dim = config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(int(dim * rope.get("partial_rotary_factor", 1.0)))
    if rope["rope_type"] != "longrope":
        return
    original = rope["original_max_position_embeddings"]
    scale = config.max_position_embeddings / original
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
    writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
    writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))


def phimoe_keys(writer, config):
    """As the converter does, but for the magnitude: it writes the one that phi3_keys computes."""
    expert_keys(writer, config)
    if config.router_jitter_noise != 0.01:
        writer.add_float32("phimoe.expert_jitter", config.router_jitter_noise)
    rope = config.rope_parameters
    if rope["rope_type"] != "longrope":
        return
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    long = rope["original_max_position_embeddings"] < 64
    writer.add_rope_scaling_attn_factors(rope["long_mscale" if long else "short_mscale"])
    writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
    writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))


def expert_keys(writer, config):
    count = getattr(config, "num_local_experts", None) or config.num_experts
    writer.add_expert_count(count)
    writer.add_expert_used_count(config.num_experts_per_tok)
    if size := getattr(config, "moe_intermediate_size", None):
        writer.add_expert_feed_forward_length(size)
    if size := getattr(config, "shared_expert_intermediate_size", None):
        writer.add_expert_shared_feed_forward_length(size)


def granite_keys(writer, config):
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)
    if hasattr(config, "num_local_experts"):
        expert_keys(writer, config)


def gpt_oss_keys(writer, config):
    expert_keys(writer, config)
    writer.add_expert_feed_forward_length(config.intermediate_size)
    window_keys(writer, config)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def minicpm_keys(writer, config):
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)


def arcee_keys(writer, config):
    rope = config.rope_parameters
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def mpt_keys(writer, config):
    writer.add_clamp_kqv(config.attn_config.clip_qkv)
    writer.add_max_alibi_bias(config.attn_config.alibi_bias_max)


def latent_keys(writer, config):
    """As llama.cpp's converter does; with attn_kv_b in one piece as its older versions did."""
    rope_dim, own_len = config.qk_rope_head_dim, config.qk_nope_head_dim + config.qk_rope_head_dim
    if config.q_lora_rank:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_rope_dimension_count(rope_dim)
    old = getattr(config, "old_layout", False)
    writer.add_head_count_kv(config.num_attention_heads if old else 1)
    writer.add_key_length(own_len if old else config.kv_lora_rank + rope_dim)
    writer.add_value_length(config.v_head_dim if old else config.kv_lora_rank)
    if not old:
        writer.add_key_length_mla(own_len)
        writer.add_value_length_mla(config.v_head_dim)
    rope = config.rope_parameters
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * rope["mscale_all_dim"])
    stated_expert_keys(writer, config)
    writer.add_expert_gating_func(
        gguf.ExpertGatingFuncType.SOFTMAX if hasattr(config, "topk_method") else gguf.ExpertGatingFuncType.SIGMOID)


def stated_expert_keys(writer, config):
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    if config.norm_topk_prob:
        writer.add_expert_weights_norm(True)
    if config.n_group:
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)


def falcon_keys(writer, config):
    writer.add_tensor_data_layout("jploski")


class Family:
    """How the models of one transformers class become files of one architecture."""

    def __init__(self, architecture, cls, modules=LLAMA, tensor=None, keys=None, **options):
        self.architecture, self.cls, self.modules = architecture, cls, modules
        self.tensor = tensor or (lambda role, value, config: value)
        self.keys = keys or (lambda writer, config: None)
        self.options = SHAPE | options
        if layer_norms := {"layer_norm_eps", "norm_epsilon", "norm_eps"} & options.keys():
            assert len(layer_norms) == 1
            del self.options["rms_norm_eps"]


def gemma(cls, architecture, modules, keys=None, **options):
    return Family(architecture, cls, modules, gemma_tensor, keys, head_dim=16, **options)


def longrope(original):
    return dict(original_max_position_embeddings=original, rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75, short_factor=SHORT,
        long_factor=LONG, original_max_position_embeddings=original))


def phimoe(original=None, jitter=0.01):
    rope = ROPE if original is None else dict(rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, short_factor=SHORT + [1.3], long_factor=LONG + [4.5],
        short_mscale=1.2, long_mscale=0.8, original_max_position_embeddings=original))
    return Family("phimoe", "Phimoe", keys=phimoe_keys, **rope, num_local_experts=4, num_experts_per_tok=2,
                  router_jitter_noise=jitter, attention_bias=True, lm_head_bias=True, tie_word_embeddings=False)


def gpt_oss(**options):
    rope = dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=16,
                truncate=False)
    return Family("gpt-oss", "GptOss", GPT_OSS, keys=gpt_oss_keys, **UNTIED, **(dict(
        rope_parameters=rope, intermediate_size=32, head_dim=16, sliding_window=12, num_local_experts=3,
        num_experts_per_tok=2) | options))


def partial(factor):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=factor))


LAYER_NORM_KEYS = ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
EPS = dict(layer_norm_eps=1e-5)
LATENT = dict(num_key_value_heads=4, kv_lora_rank=24, qk_rope_head_dim=8, qk_nope_head_dim=16,
              v_head_dim=12, n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, moe_intermediate_size=12,
              routed_scaling_factor=1.7, first_k_dense_replace=1, tie_word_embeddings=False)
LATENT_YARN = dict(rope_parameters=dict(
    rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1,
    mscale=0.707, mscale_all_dim=0.707))
UNTIED = dict(tie_word_embeddings=False)
OLMO3_ROPE = dict(sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                  full_attention=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0,
                                      original_max_position_embeddings=16, attention_factor=1.3))
FLAT = dict(n_layer=2, n_head=4, layer_norm_epsilon=1e-5)
GEMMA2_OPTIONS = dict(ROPE, query_pre_attn_scalar=16, sliding_window=12, attn_logit_softcapping=4.0,
                      final_logit_softcapping=5.0)
GEMMA3_ROPE = dict(sliding_attention=dict(rope_type="default", rope_theta=10000.0),
                   full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0))
QWEN_EXPERTS = dict(num_experts=6, num_experts_per_tok=3, moe_intermediate_size=16)

GRANITE_OPTIONS = dict(ROPE, attention_multiplier=0.3, embedding_multiplier=3.0, residual_multiplier=0.4,
                       logits_scaling=0.5)

CASES = {
    "arcee": Family("arcee", "Arcee", LLAMA, interleaved_tensor, arcee_keys, **UNTIED, rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=16)),
    "bloom": Family("bloom", "Bloom", BLOOM, bloom_tensor, **FLAT),
    # Not a power of two: ALiBi's slopes come from two sequences.
    "bloom-six-heads": Family("bloom", "Bloom", BLOOM, bloom_tensor, **(FLAT | dict(n_head=6)), hidden_size=48),
    "chatglm": Family("chatglm", "Glm", GLM, keys=partial_keys, **partial(0.5), head_dim=16, attention_bias=True),
    "cohere2": Family("cohere2", "Cohere2", keys=cohere_keys, **ROPE, **EPS, num_hidden_layers=4, head_dim=16,
                      sliding_window=12, logit_scale=0.3),
    "cwm": Family("llama", "Cwm", LLAMA, interleaved_tensor, listed_window_keys, **ROPE, **UNTIED, head_dim=8,
                  sliding_window=12, num_hidden_layers=2),
    "command-r": Family("command-r", "Cohere", keys=cohere_keys, **ROPE, **EPS, logit_scale=0.3),
    "command-r-plus": Family("command-r", "Cohere", keys=cohere_keys, **ROPE, **EPS, logit_scale=0.3,
                             use_qk_norm=True),
    "ernie4_5": Family("ernie4_5", "Ernie4_5", **ROPE, head_dim=16, use_bias=True),
    # The class is not part of transformers; it computes what Llama's does.
    "exaone": Family("exaone", "Llama", **ROPE),
    "exaone4": Family("exaone4", "Exaone4", OLMO2, keys=listed_window_keys, **ROPE, num_hidden_layers=4,
                      sliding_window=12),
    "glm4": Family("glm4", "Glm4", GLM, keys=partial_keys, **partial(0.5), head_dim=16, attention_bias=True),
    "gptj": Family("gptj", "GPTJ", GPTJ, keys=lambda writer, config: writer.add_rope_dimension_count(config.rotary_dim),
                   **FLAT, **UNTIED, n_embd=32, n_positions=128, n_inner=None, rotary_dim=4),
    "gptneox": Family("gptneox", "GPTNeoX", GPT_NEOX, bloom_tensor, partial_keys, **partial(0.5), **EPS, **UNTIED,
                      num_key_value_heads=4),
    "gptneox-serial": Family("gptneox", "GPTNeoX", GPT_NEOX, bloom_tensor, partial_keys, **partial(0.5), **EPS,
                             **UNTIED, num_key_value_heads=4, use_parallel_residual=False),
    "helium": Family("llama", "Helium", **ROPE, head_dim=8, attention_bias=True, mlp_bias=True),
    "hunyuan": Family("hunyuan-dense", "HunYuanDenseV1", HUNYUAN, keys=hunyuan_keys, head_dim=16, rope_parameters=dict(
        rope_type="dynamic", rope_theta=10000.0, alpha=20.0, factor=1.0)),
    # As for exaone.
    "internlm2": Family("internlm2", "Llama", LLAMA, interleaved_tensor, **ROPE),
    "jais2": Family("jais2", "Jais2", **ROPE, **EPS, **UNTIED, attention_bias=True, mlp_bias=True),
    # The class is not part of transformers; it computes what Granite's does, with factors that follow from others.
    "minicpm": Family("minicpm", "Granite", LLAMA, interleaved_tensor, minicpm_keys, **ROPE,
                      attention_multiplier=8**-0.5, embedding_multiplier=3.0, logits_scaling=0.5,
                      residual_multiplier=1.4 / math.sqrt(2)),
    "mpt": Family("mpt", "Mpt", MPT, keys=mpt_keys, n_layers=2, n_heads=4, d_model=32, max_seq_len=128,
                  layer_norm_epsilon=1e-5, attn_config=dict(clip_qkv=1.5, alibi_bias_max=4)),
    "nemotron": Family("nemotron", "Nemotron", LLAMA, nemotron_tensor, partial_keys, **partial(0.5), **UNTIED,
                       norm_eps=1e-5),
    "olmo": Family("olmo", "Olmo", LLAMA, interleaved_tensor, lambda writer, config: writer.add_layer_norm_eps(1e-5),
                   **ROPE, **UNTIED),
    "olmo2": Family("olmo2", "Olmo2", OLMO2, **ROPE, **UNTIED),
    "olmo3": Family("olmo2", "Olmo3", OLMO2, keys=olmo3_keys, **UNTIED, num_hidden_layers=4, sliding_window=12,
                    rope_parameters=OLMO3_ROPE),
    "olmoe": Family("olmoe", "Olmoe", keys=expert_keys, **ROPE, **UNTIED, num_experts=6, num_experts_per_tok=3),
    "opt": Family("opt", "OPT", OPT, opt_tensor, ffn_dim=48, word_embed_proj_dim=32, num_key_value_heads=4),
    "phi2": Family("phi2", "Phi", PHI, keys=partial_keys, **partial(0.5), **EPS, **UNTIED),
    "seed_oss": Family("seed_oss", "SeedOss", SEED, **ROPE, **UNTIED, head_dim=16),
    "stablelm": Family("stablelm", "StableLm", keys=partial_keys, **partial(0.25), **EPS, **UNTIED, use_qkv_bias=True),
    "stablelm-parallel": Family("stablelm", "StableLm", keys=partial_keys, **partial(0.25), **EPS, **UNTIED,
                                use_parallel_residual=True),
    "stablelm-head-norms": Family("stablelm", "StableLm", STABLELM, keys=partial_keys, **partial(0.25), **EPS, **UNTIED,
                                  use_parallel_residual=True, qk_layernorm=True),
    "starcoder": Family("starcoder", "GPTBigCode", GPT2, keys=lambda writer, config: writer.add_head_count_kv(1),
                        n_embd=32, n_positions=128, n_inner=None, **FLAT),
    "starcoder2": Family("starcoder2", "Starcoder2", STARCODER2, **ROPE, norm_epsilon=1e-5, sliding_window=None),
    "deepseek2": Family("deepseek2", "DeepseekV2", DEEPSEEK, keys=latent_keys, **LATENT, **LATENT_YARN, q_lora_rank=20,
                        topk_method="group_limited_greedy", n_group=4, topk_group=2, attention_bias=True),
    # As V2 Lite: queries without a latent of their own; in the layout of older files.
    "deepseek2-lite": Family("deepseek2", "DeepseekV2", DEEPSEEK, keys=latent_keys, **LATENT, **ROPE, q_lora_rank=None,
                             topk_method="greedy", old_layout=True),
    "deepseek3": Family("deepseek2", "DeepseekV3", DEEPSEEK, keys=latent_keys, **LATENT, **LATENT_YARN, q_lora_rank=20,
                        n_group=4, topk_group=2, norm_topk_prob=True),
    "falcon": Family("falcon", "Falcon", BLOOM, falcon_tensor, falcon_keys, **ROPE),
    "falcon-two-norms": Family("falcon", "Falcon", BLOOM, falcon_tensor, falcon_keys, **ROPE, num_kv_heads=2,
                               new_decoder_architecture=True),
    "gemma": gemma("Gemma", "gemma", LLAMA, **ROPE),
    "gemma2": gemma("Gemma2", "gemma2", GEMMA2, gemma2_keys, **GEMMA2_OPTIONS),
    "gemma3": gemma("Gemma3", "gemma3", GEMMA2, gemma3_keys, num_hidden_layers=6, sliding_window=12,
                    query_pre_attn_scalar=16, rope_parameters=GEMMA3_ROPE),
    "gpt-oss": gpt_oss(),
    "gpt-oss-mxfp4": gpt_oss(hidden_size=64, intermediate_size=32, num_hidden_layers=1),
    "gpt2": Family("gpt2", "GPT2", GPT2, gpt2_tensor, n_embd=32, n_positions=128, n_inner=None, **FLAT),
    "granite": Family("granite", "Granite", LLAMA, interleaved_tensor, granite_keys, **GRANITE_OPTIONS),
    "granitemoe": Family("granitemoe", "GraniteMoe", LLAMA, interleaved_tensor, granite_keys, **GRANITE_OPTIONS,
                         num_local_experts=4, num_experts_per_tok=2),
    "mixtral": Family("llama", "Mixtral", LLAMA, interleaved_tensor, expert_keys, **ROPE, num_local_experts=4,
                      num_experts_per_tok=2, tie_word_embeddings=False),
    "phi3": Family("phi3", "Phi3", keys=phi3_keys, **ROPE, sliding_window=12, tie_word_embeddings=False),
    "phi3-short": Family("phi3", "Phi3", keys=phi3_keys, **longrope(64)),
    "phi3-long": Family("phi3", "Phi3", keys=phi3_keys, **longrope(16)),
    "phimoe": phimoe(),
    "phimoe-long": phimoe(16, jitter=0.1),
    "qwen2moe": Family("qwen2moe", "Qwen2Moe", keys=expert_keys, **ROPE, **QWEN_EXPERTS,
                       shared_expert_intermediate_size=24, tie_word_embeddings=False),
    "qwen3": Family("qwen3", "Qwen3", **ROPE, head_dim=16),
    "qwen3moe": Family("qwen3moe", "Qwen3Moe", keys=expert_keys, **ROPE, **QWEN_EXPERTS, head_dim=16,
                       norm_topk_prob=True),
    "smollm3": Family("smollm3", "SmolLM3", LLAMA, interleaved_tensor, **ROPE, num_hidden_layers=4),
}


def round_cache(model):
    """Rounds keys and values to float16, as our cache does. False where a class has no one place for it."""
    module = sys.modules[type(model).__module__]
    if hasattr(module, "BloomAttention"):
        owner, name, first = module.BloomAttention, "_reshape", None
    elif latent := [c for c in vars(module).values() if hasattr(c, "expand_kv")]:
        owner, name, first = latent[0], "expand_kv", 1
    elif hasattr(module, "eager_attention_forward"):
        owner, name, first = module, "eager_attention_forward", 2
    else:
        return False
    original = getattr(owner, name)
    if hasattr(original, "rounds"):
        return True

    def half(x):
        return x.half().float()

    def rounded(*args, **kwargs):
        if first is None:
            query, key, value = original(*args, **kwargs)
            return query, half(key), half(value)
        return original(*args[:first], half(args[first]), half(args[first + 1]), *args[first + 2:], **kwargs)

    rounded.rounds = True
    setattr(owner, name, rounded)
    return True


def make_model(family, seed):
    config_name = {"Gemma3": "Gemma3TextConfig"}.get(family.cls, f"{family.cls}Config")
    model_name = {"GPT2": "GPT2LMHeadModel"}.get(family.cls, f"{family.cls}ForCausalLM")
    config = getattr(transformers, config_name)(**family.options)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = getattr(transformers, model_name)(config).float().eval()
    center = 0.0 if family.tensor in (gemma_tensor, nemotron_tensor) else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
            elif "norm" in name or ".ln_" in name:
                parameter.uniform_(center - 0.5, center + 0.5)
            elif name.endswith("sinks"):
                parameter.uniform_(-1.0, 3.0)
            elif name.endswith("gate_up_proj") and family.cls == "GptOss":
                parameter.normal_(0.0, 1.2)  # So that some inner activations reach their limit.
            elif parameter.ndim > 1:
                parameter.normal_(0.0, 0.35)
        for name, buffer in model.named_buffers():
            if name.endswith("score_correction_bias"):
                buffer.normal_(0.0, 0.3)
    round_cache(model)
    if family.cls == "Phimoe":
        # The class calls this without a length, so that the long divisors would never be used; the model's
        # own code and earlier versions of the class use them for texts beyond the original context.
        rotary = model.model.rotary_emb
        rotary.rope_init_fn = functools.partial(rotary.rope_init_fn, seq_len=64)
    if family.cls == "Mpt":
        # The class knows one maximum alone; the model's own code reads it.
        build = model.transformer.build_mpt_alibi_tensor
        model.transformer.build_mpt_alibi_tensor = functools.partial(
            build, alibi_bias_max=config.attn_config.alibi_bias_max)
    return model


def lively_model(family):
    """Of a few models the one that repeats itself least: its greedy text proves most."""
    models = [make_model(family, seed) for seed in range(7, 13)]
    return max(models, key=lambda model: len(set(golden_of(model)["greedy"])))


def round_to_mxfp4(values):
    """[..., in_features] to its blocks of 4-bit floats and exponents, and to what these stand for."""
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    groups = values.reshape(*values.shape[:-1], -1, 32)
    exponents = np.ceil(np.log2(np.abs(groups).max(axis=-1) / 6))
    scaled = groups / np.exp2(exponents)[..., None]
    codes = np.abs(np.abs(scaled)[..., None] - levels).argmin(axis=-1)
    rounded = np.sign(scaled) * levels[codes] * np.exp2(exponents)[..., None]
    codes = (codes + 8 * (scaled < 0)).astype(np.uint8)
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return blocks, (exponents + 127).astype(np.uint8), rounded.reshape(values.shape).astype(np.float32)


def quantize_experts(model):
    """Rounds the experts' matrices in place. Returns the tensors that stand for them in a directory."""
    stored = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(("gate_up_proj", "down_proj")):
            continue
        blocks, scales, rounded = round_to_mxfp4(parameter.detach().numpy().swapaxes(1, 2))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(rounded.swapaxes(1, 2).copy()))
        stored |= {f"{name}_blocks": torch.from_numpy(np.ascontiguousarray(blocks)),
                   f"{name}_scales": torch.from_numpy(np.ascontiguousarray(scales))}
    return stored


def save_mxfp4(folder, model, stored):
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()
               if f"{name}_blocks" not in stored}
    safetensors.torch.save_file(tensors | stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn"])
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def gpt_oss_experts(prefix, kind, value):
    if kind.startswith("gate_up_proj"):
        parts = {"ffn_gate_exps": value[..., 0::2], "ffn_up_exps": value[..., 1::2]}
    else:
        parts = {"ffn_down_exps": value}
    for role, part in parts.items():
        if kind.endswith("bias"):
            yield f"{prefix}{role}.bias", part
        else:
            yield f"{prefix}{role}.weight", part.swapaxes(1, 2)


def tensors_of(family, model):
    stacks = {}
    biases = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("score_correction_bias")]
    for name, parameter in [*model.named_parameters(), *biases]:
        value = parameter.detach().numpy()
        prefix = ""
        if inside := re.search(r"\.(layers|h|blocks)\.(\d+)\.(.*)", name):
            prefix, name = f"blk.{inside[2]}.", inside[3]
        if ".norms." in name:
            stacks.setdefault(f"{prefix}{family.modules[name.rsplit('.', 2)[0]]}.weight", []).append(value)
            continue
        name = name.replace("block_sparse_moe", "mlp")
        if name.startswith("mlp.experts.") and family.cls == "GptOss":
            yield from gpt_oss_experts(prefix, name.rsplit(".")[-1], value)
            continue
        if name.endswith("score_correction_bias"):
            yield f"{prefix}exp_probs_b.bias", value
            continue
        if name == "self_attn.kv_b_proj.weight" and not getattr(model.config, "old_layout", False):
            config = model.config
            heads = value.reshape(config.num_attention_heads, -1, config.kv_lora_rank)
            keys, values = np.split(heads, [config.qk_nope_head_dim], axis=1)
            yield f"{prefix}attn_k_b.weight", keys.swapaxes(1, 2)
            yield f"{prefix}attn_v_b.weight", values
            continue
        if name == "mlp.experts.gate_up_proj":
            gate, up = np.split(value, 2, axis=1)
            yield f"{prefix}ffn_gate_exps.weight", gate
            yield f"{prefix}ffn_up_exps.weight", up
            continue
        module, kind = name.rsplit(".", 1) if name.endswith(("weight", "bias")) else (name, "weight")
        role = family.modules[module] if prefix else TOP[module]
        if family.tensor is not nemotron_tensor or kind == "weight":
            value = family.tensor(role, value, model.config)
        yield f"{prefix}{role}.{kind}", value
    yield from ((name, np.stack(values)) for name, values in stacks.items())


def gguf_mxfp4(values):
    """In a GGUF block the exponent comes first, and nibbles of values 16 apart share a byte."""
    blocks, scales, rounded = round_to_mxfp4(values)
    assert np.array_equal(values, rounded)
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], 32)
    packed = codes[..., :16] | codes[..., 16:] << 4
    return np.concatenate([scales[..., None], packed], axis=-1).reshape(*values.shape[:-1], -1)


def write_gguf(path, family, model, mxfp4=False):
    config = model.config
    writer = gguf.GGUFWriter(path, family.architecture)
    writer.add_name(f"tiny random {family.architecture}")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    flat = family.modules in (BLOOM, GPT2, GPTJ, MPT)
    writer.add_feed_forward_length(4 * config.hidden_size if flat else config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(VOCAB)
    layer_eps = [getattr(config, key) for key in LAYER_NORM_KEYS if hasattr(config, key)]
    if layer_eps:
        writer.add_layer_norm_eps(layer_eps[0])
    elif family.cls != "Olmo":
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if not flat and not hasattr(config, "kv_lora_rank"):
        writer.add_head_count_kv(config.num_key_value_heads)
    if family.cls == "Falcon":
        writer.add_head_count_kv(config.num_kv_heads if config.new_decoder_architecture else 1)
    if "head_dim" in family.options:
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    family.keys(writer, config)
    for name, value in tensors_of(family, model):
        value = np.ascontiguousarray(value)
        if mxfp4 and name.endswith("exps.weight"):
            mxfp4_type = gguf.GGMLQuantizationType.MXFP4
            writer.add_tensor(name, gguf_mxfp4(value), raw_dtype=mxfp4_type)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def minicpm_directory(config, tensors):
    factors = dict(scale_emb=config.pop("embedding_multiplier"), scale_depth=1.4,
                   dim_model_base=config["hidden_size"] / config.pop("logits_scaling"))
    for name in ("attention_multiplier", "residual_multiplier"):
        del config[name]
    return "MiniCPM", factors, tensors


EXAONE = {
    "model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f", "model.layers": "transformer.h",
    "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "self_attn.o_proj": "attn.attention.out_proj",
    "self_attn": "attn.attention", "mlp.gate_proj": "mlp.c_fc_0", "mlp.up_proj": "mlp.c_fc_1", "mlp.down_proj":
    "mlp.c_proj",
}
INTERNLM2 = {
    "model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
}


def renamed(names, tensors):
    def rename(name):
        for old, new in names.items():
            name = name.replace(old, new)
        return name
    return {rename(name): value for name, value in tensors.items()}


def exaone_directory(config, tensors):
    own = dict(num_layers=config.pop("num_hidden_layers"), layer_norm_epsilon=config.pop("rms_norm_eps"),
               activation_function=config.pop("hidden_act"))
    return "Exaone", own, renamed(EXAONE, tensors)


def internlm2_directory(config, tensors):
    """Queries, key and value of a group of heads lie together."""
    tensors = renamed(INTERNLM2, tensors)
    groups = config["num_key_value_heads"]
    for name in [name for name in tensors if name.endswith("q_proj.weight")]:
        parts = [tensors.pop(name.replace("q_proj", kind)) for kind in ("q_proj", "k_proj", "v_proj")]
        width = parts[0].shape[1]
        fused = torch.cat([part.reshape(groups, -1, width) for part in parts], dim=1).reshape(-1, width)
        tensors[name.replace("self_attn.q_proj", "attention.wqkv")] = fused
    return "InternLM2", dict(bias=config.pop("attention_bias")), tensors


# Directories of classes that are not part of transformers.
DIRECTORIES = {"minicpm": minicpm_directory, "exaone": exaone_directory, "internlm2": internlm2_directory}


def save_as_foreign(folder, convert):
    config = json.loads((folder / "config.json").read_text())
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    name, own, tensors = convert(config, tensors)
    kept = {key: config[key] for key in config if key not in ("rope_parameters", "model_type", "dtype", "mlp_bias")}
    rope = dict(rope_theta=config["rope_parameters"]["rope_theta"], rope_scaling=None)
    config = kept | own | rope | dict(
        architectures=[f"{name}ForCausalLM"], model_type=name.lower(), torch_dtype="float32",
        auto_map=dict(AutoModelForCausalLM=f"modeling_{name.lower()}.{name}ForCausalLM"))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hf", type=pathlib.Path)
    parser.add_argument("--only")
    parser.add_argument("out", nargs="?", type=pathlib.Path, default=pathlib.Path("tests/golden/models"))
    options = parser.parse_args()
    for name in [options.only] if options.only else CASES:
        family = CASES[name]
        model = lively_model(family)
        stored = quantize_experts(model) if name.endswith("mxfp4") else {}
        write_gguf(options.out / f"{name}.gguf", family, model, bool(stored))
        golden = golden_of(model) | dict(float16_cache=round_cache(model))
        (options.out / f"{name}.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        if options.hf:
            model.save_pretrained(options.hf / name)
            if stored:
                save_mxfp4(options.hf / name, model, stored)
            if name in DIRECTORIES:
                save_as_foreign(options.hf / name, DIRECTORIES[name])
        spread = np.abs(np.array(golden["logits"])).max()
        print(f"{name}: largest logit {spread:.1f}, greedy {golden['greedy']}")


if __name__ == "__main__":
    main()
