#!/usr/bin/env python3
"""Makes tests/golden/tensor: blocks of every number format with the values they stand for.

NAME.blocks holds random blocks and NAME.f32 their values by gguf.quants.dequantize, which must be the
values ggml's C code gives, bit for bit. inputs.f32 holds values to quantize and NAME.quantized the
bytes gguf.quants.quantize makes of them, for the formats it can write.

NF4 is of bitsandbytes, whose two nibbles of a byte are neighbours; ours lie as in Q4_0.

Made with: gguf 0.19.0, numpy 2.4, llama-cpp-python 0.3.36 (for ggml's C code), bitsandbytes 0.50.2.

usage: make_tensor_golden.py [OUTPUT_FOLDER]
"""

import ctypes
import pathlib
import sys

import bitsandbytes.functional
import gguf
import llama_cpp
import numpy as np
import torch
from gguf import GGMLQuantizationType as T

NUM_VALUES = 2048

# Where each block keeps its float16 scales, in bytes.
SCALE_OFFSETS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}
# The same for formats that came later: drawn apart, so that the files above stay.
LATER_SCALE_OFFSETS = {
    T.IQ1_S: [0], T.IQ1_M: [], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
    T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: [],
}
QUANTIZABLE = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]


def random_scales(random, count):
    """Finite float16 numbers of every kind: ordinary, subnormal, negative, zero, the largest."""
    scales = (random.standard_normal(count) * 10.0 ** random.integers(-8, 3, count)).astype(np.float16)
    scales[:4] = [0.0, -0.0, 65504.0, 5.96e-8]
    return random.permutation(scales)


def random_blocks(random, qtype, offsets):
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[qtype]
    blocks = random.integers(0, 256, (NUM_VALUES // block_len, block_bytes), dtype=np.uint8)
    for offset in offsets:
        blocks[:, offset:offset + 2] = random_scales(random, len(blocks)).view(np.uint8).reshape(-1, 2)
    if qtype == T.IQ1_M:
        spread_scales(blocks, random_scales(random, len(blocks)))
    if qtype == T.MXFP4:  # Exponents whose values are all finite.
        blocks[:, 0] = random.integers(0, 253, len(blocks))
        blocks[:4, 0] = [0, 1, 2, 252]
    return blocks


def spread_scales(blocks, scales):
    """IQ1_M keeps four bits of its float16 scale at the top of each of its last four words."""
    words = blocks[:, 48:].copy().view(np.uint16)
    for i in range(4):
        words[:, i] = (words[:, i] & 0x0FFF) | ((scales.view(np.uint16) >> (4 * i) & 15) << 12)
    blocks[:, 48:] = words.view(np.uint8)


def ggml_dequantize(qtype, blocks):
    library = ctypes.CDLL(str(next(pathlib.Path(llama_cpp.__file__).parent.rglob("libggml-base.so*"))))
    function = getattr(library, f"dequantize_row_{qtype.name.lower().replace('_k', '_K')}")
    values = np.empty(NUM_VALUES, np.float32)
    function(blocks.ctypes.data_as(ctypes.c_void_p), values.ctypes.data_as(ctypes.c_void_p),
             ctypes.c_int64(NUM_VALUES))
    return values


def make_blocks(out, random, formats):
    for qtype, offsets in formats.items():
        blocks = np.ascontiguousarray(random_blocks(random, qtype, offsets))
        values = gguf.quants.dequantize(blocks, qtype).reshape(-1)
        assert np.array_equal(values.view(np.uint32), ggml_dequantize(qtype, blocks).view(np.uint32)), qtype
        (out / f"{qtype.name}.blocks").write_bytes(blocks.tobytes())
        (out / f"{qtype.name}.f32").write_bytes(values.tobytes())


def make_quantized(out, random):
    inputs = random.standard_normal(NUM_VALUES).astype(np.float32)
    inputs[0:32] = 0.0  # A block without any extent,
    inputs[32:64] = 0.25  # one of equal values,
    inputs[64:96] = np.abs(inputs[64:96])  # one above zero,
    inputs[96:128] = -np.abs(inputs[96:128])  # one below,
    inputs[128:160] *= 1e-7  # one with a subnormal scale,
    inputs[160:192] = np.sign(inputs[160:192])  # one where the extreme is ambiguous,
    inputs[192:224] *= 1000.0  # and a large one.
    (out / "inputs.f32").write_bytes(inputs.tobytes())
    for qtype in QUANTIZABLE:
        (out / f"{qtype.name}.quantized").write_bytes(gguf.quants.quantize(inputs, qtype).tobytes())


def nf4_nibbles(neighbours):
    """From pairs of neighbours, high nibble first, to the order of Q4_0: [blocks, 32] each."""
    numbers = np.stack([neighbours >> 4, neighbours & 15], axis=-1).reshape(-1, 2, 32)
    return (numbers[:, :, :16] | numbers[:, :, 16:] << 4).reshape(-1, 32)


def nf4_blocks(absmax, neighbours):
    return np.concatenate([absmax.reshape(-1, 1).view(np.uint8), nf4_nibbles(neighbours.reshape(-1, 32))], axis=1)


def make_nf4(out, random):
    absmax = (random.standard_normal(NUM_VALUES // 64) * 10.0 ** random.integers(-8, 3, NUM_VALUES // 64)).astype(np.float32)
    neighbours = random.integers(0, 256, (NUM_VALUES // 2, 1), dtype=np.uint8)
    state = bitsandbytes.functional.QuantState(
        torch.from_numpy(absmax), shape=torch.Size([NUM_VALUES]), dtype=torch.float32, blocksize=64,
        code=bitsandbytes.functional.get_4bit_type("nf4", device="cpu", blocksize=64), quant_type="nf4")
    values = bitsandbytes.functional.dequantize_4bit(torch.from_numpy(neighbours), state)
    (out / "NF4.blocks").write_bytes(nf4_blocks(absmax, neighbours).tobytes())
    (out / "NF4.f32").write_bytes(values.numpy().tobytes())
    inputs = torch.from_numpy(np.fromfile(out / "inputs.f32", np.float32))
    packed, state = bitsandbytes.functional.quantize_4bit(inputs, blocksize=64, quant_type="nf4")
    (out / "NF4.quantized").write_bytes(nf4_blocks(state.absmax.numpy(), packed.numpy()).tobytes())


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/tensor")
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    make_blocks(out, random, SCALE_OFFSETS)
    make_quantized(out, random)
    make_blocks(out, np.random.default_rng(8), LATER_SCALE_OFFSETS)
    make_nf4(out, np.random.default_rng(9))


if __name__ == "__main__":
    main()
