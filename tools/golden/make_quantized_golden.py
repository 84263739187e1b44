#!/usr/bin/env python3
"""Makes tests/golden/hf_quantized: tiny Llama directories, quantized as other programs do it.

Each METHOD/ is a model directory of one layer; METHOD.f32 holds the values of its down projection
as the program that the format is of dequantizes them.

Made with: torch 2.13, transformers 5.23, bitsandbytes 0.50.2, compressed-tensors 0.20.0, and of
AutoAWQ 0.2.9 the two functions that pack and dequantize. GPTQ's words are made here, after its
published layout; transformers runs FP8 directories on GPUs alone, so its values are made here, too.

usage: make_quantized_golden.py AUTOAWQ_SOURCES [OUTPUT_FOLDER]
"""

import importlib.util
import json
import pathlib
import sys

import bitsandbytes
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

HIDDEN, FFN, VOCAB = 64, 128, 32
TILE = 48  # Of FP8: what is left at the edges is smaller.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": FFN,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "hidden_act": "silu",
    "torch_dtype": "float16",
}
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (FFN, HIDDEN), "mlp.up_proj": (FFN, HIDDEN), "mlp.down_proj": (HIDDEN, FFN),
}


def plain_tensors():
    torch.manual_seed(11)
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": torch.randn(VOCAB, HIDDEN).half() * 0.3,
        "model.norm.weight": 1 + 0.1 * torch.randn(HIDDEN).half(),
        layer + "input_layernorm.weight": 1 + 0.1 * torch.randn(HIDDEN).half(),
        layer + "post_attention_layernorm.weight": 1 + 0.1 * torch.randn(HIDDEN).half(),
    }
    weights = {name: torch.randn(shape) * 0.05 for name, shape in LINEAR.items()}
    return tensors, weights


def words_of(numbers, bits):
    """[rows, n] numbers as [rows, n * bits / 32] words, the lowest bits first."""
    per_word = 32 // bits
    grouped = numbers.astype(np.uint64).reshape(numbers.shape[0], -1, per_word)
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    return (grouped << shifts).sum(axis=2).astype(np.uint32).view(np.int32)


def integers(weight, bits, group, symmetric, group_of=None):
    """Numbers [out, in], scales and zero points [out, groups] of a matrix."""
    rows, cols = weight.shape
    values = weight.numpy() if group_of is None else weight.numpy()[:, np.argsort(group_of, kind="stable")]
    grouped = values.reshape(rows, cols // group, group)
    top = 2**bits - 1
    if symmetric:
        scales = np.abs(grouped).max(axis=2) / (top // 2)
        zeros = np.full_like(scales, 2 ** (bits - 1))
    else:
        low, high = np.minimum(grouped.min(axis=2), 0), np.maximum(grouped.max(axis=2), 0)
        scales = (high - low) / top
        zeros = np.clip(np.rint(-low / scales), 1, top)
    scales = scales.astype(np.float16)
    columns = np.arange(cols) // group if group_of is None else group_of
    per_input = scales[:, columns].astype(np.float32)
    numbers = np.clip(np.rint(weight.numpy() / per_input) + zeros[:, columns], 0, top).astype(np.uint32)
    exact = (numbers.astype(np.float32) - zeros[:, columns].astype(np.float32)) * per_input
    return numbers, scales, zeros.astype(np.uint32), exact


def gptq(bits, group, symmetric, act_order=False, version="gptq"):
    def make(weight):
        group_of = None
        if act_order:
            group_of = np.random.default_rng(5).permutation(weight.shape[1]) // group
        numbers, scales, zeros, exact = integers(weight, bits, group, symmetric, group_of)
        stored = zeros - 1 if version == "gptq" else zeros
        columns = np.arange(weight.shape[1]) // group if group_of is None else group_of
        return {".qweight": torch.from_numpy(words_of(numbers, bits).T.copy()),
                ".qzeros": torch.from_numpy(words_of(stored.T.copy(), bits)),
                ".scales": torch.from_numpy(scales.T.copy()),
                ".g_idx": torch.from_numpy(columns.astype(np.int32)),
                ".bias": torch.zeros(weight.shape[0], dtype=torch.float16)}, exact
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": act_order,
              "checkpoint_format": version}
    return config, make


def awq(sources):
    spec = importlib.util.spec_from_file_location("packing", pathlib.Path(sources) / "awq/utils/packing_utils.py")
    packing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packing)

    def make(weight):
        numbers, scales, zeros, _ = integers(weight, 4, 32, symmetric=False)
        order = np.array(packing.AWQ_ORDER)
        mixed = lambda rows: rows.reshape(rows.shape[0], -1, 8)[:, :, order].reshape(rows.shape)
        parts = {".qweight": torch.from_numpy(words_of(mixed(numbers.T.copy()), 4)),
                 ".qzeros": torch.from_numpy(words_of(mixed(zeros.T.copy()), 4)),
                 ".scales": torch.from_numpy(scales.T.copy())}
        exact = packing.dequantize_gemm(parts[".qweight"], parts[".qzeros"], parts[".scales"].float(), 4, 32)
        return parts, exact.T.numpy()
    return {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}, make


def nf4(nested):
    def make(weight):
        layer = bitsandbytes.nn.Linear4bit(weight.shape[1], weight.shape[0], bias=False, quant_type="nf4",
                                           compress_statistics=nested)
        layer.weight = bitsandbytes.nn.Params4bit(weight.half(), requires_grad=False, quant_type="nf4",
                                                  compress_statistics=nested)
        layer = layer.to("cpu")
        parts = {"." + name: tensor for name, tensor in layer.state_dict().items()}
        state = layer.weight.quant_state
        state.dtype = torch.float32
        return parts, bitsandbytes.functional.dequantize_4bit(layer.weight.data, state).numpy()
    return {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": nested}, make


def int8():
    def make(weight):
        numbers, scales, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.half())
        exact = bitsandbytes.functional.int8_vectorwise_dequant(numbers, scales)
        return {".weight": numbers, ".SCB": scales.float(), ".weight_format": torch.tensor(0, dtype=torch.uint8)}, \
            exact.float().numpy()
    return {"quant_method": "bitsandbytes", "load_in_8bit": True}, make


def fp8():
    def make(weight):
        rows, cols = weight.shape
        tiles = torch.nn.functional.pad(weight, (0, -cols % TILE, 0, -rows % TILE))
        tiles = tiles.reshape(tiles.shape[0] // TILE, TILE, -1, TILE)
        scales = tiles.abs().amax(dim=(1, 3)) / 448
        spread = scales.repeat_interleave(TILE, 0)[:rows].repeat_interleave(TILE, 1)[:, :cols]
        numbers = (weight / spread).to(torch.float8_e4m3fn)
        exact = (numbers.float() * spread).to(torch.bfloat16).float()
        return {".weight": numbers, ".weight_scale_inv": scales}, exact.numpy()
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [TILE, TILE]}, make


def compressed(layout, **weights):
    """By the compressor of that format; scales and zero points as its observers would choose them."""
    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)

    def make(weight):
        group = args.group_size or weight.shape[1]
        if args.type == "float":
            scales = (weight.abs().amax(dim=1, keepdim=True) / 448).to(torch.bfloat16)
            state = {"weight": weight.to(torch.bfloat16), "weight_scale": scales}
        else:
            _, scales, zeros, _ = integers(weight, args.num_bits, group, args.symmetric)
            state = {"weight": weight.half(), "weight_scale": torch.from_numpy(scales)}
            if not args.symmetric:
                state["weight_zero_point"] = torch.from_numpy(zeros.astype(np.int64) - 2 ** (args.num_bits - 1)).to(torch.int8)
        compressor = BaseCompressor.get_value_from_registry(layout)
        parts = compressor.compress(dict(state), scheme)
        parts = {name: tensor.contiguous() for name, tensor in parts.items()}
        exactly = {} if args.type == "float" else {"weight_scale": parts["weight_scale"].float()}
        exact = compressor.decompress(parts | exactly, scheme)["weight"]
        return {"." + name: tensor for name, tensor in parts.items()}, exact.float().numpy()
    config = {"quant_method": "compressed-tensors", "format": layout,
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": json.loads(args.model_dump_json())}}}
    return config, make


def write(folder, name, config, make):
    tensors, weights = plain_tensors()
    for module, weight in weights.items():
        parts, exact = make(weight)
        for suffix, tensor in parts.items():
            tensors[f"model.layers.0.{module}{suffix}"] = tensor.contiguous()
    directory = folder / name
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    (directory / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": config}, indent=1) + "\n")
    (folder / f"{name}.f32").write_bytes(np.ascontiguousarray(exact, np.float32).tobytes())  # The last one's.


def main():
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "tests/golden/hf_quantized")
    write(folder, "nf4", *nf4(nested=False))
    write(folder, "nf4-nested", *nf4(nested=True))
    write(folder, "int8", *int8())
    write(folder, "gptq-4bit", *gptq(4, 32, symmetric=True))
    write(folder, "gptq-4bit-zeros", *gptq(4, 64, symmetric=False, version="gptq_v2"))
    write(folder, "gptq-4bit-act-order", *gptq(4, 64, symmetric=True, act_order=True))
    write(folder, "gptq-8bit", *gptq(8, 32, symmetric=True))
    write(folder, "awq", *awq(sys.argv[1]))
    write(folder, "fp8", *fp8())
    write(folder, "compressed-w4a16", *compressed("pack-quantized", num_bits=4, strategy="group", group_size=32))
    write(folder, "compressed-w4a16-zeros",
          *compressed("pack-quantized", num_bits=4, strategy="group", group_size=64, symmetric=False))
    write(folder, "compressed-w8a8", *compressed("int-quantized", num_bits=8, strategy="channel"))
    write(folder, "compressed-fp8", *compressed("float-quantized", num_bits=8, type="float", strategy="channel"))


if __name__ == "__main__":
    main()
