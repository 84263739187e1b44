#!/usr/bin/env python3
"""Prefill and single-stream decode of Hearth against llama.cpp: same file, same threads, by turns.

llama.cpp comes from its Python package, whose source distribution builds it for this machine:

    python3 -m venv build/peers && build/peers/bin/pip install -r bench/peers/requirements.txt
    build/peers/bin/python bench/peers/compare_llama_cpp.py

The two programs run in alternating rounds, so that whatever else the machine does hits both. Printed
are medians over the rounds and the ratio ours / theirs; only the ratio means anything on a shared
machine.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure_llama_cpp(args):
    """Runs in a process of its own: prints one JSON line per repetition."""
    import time

    import llama_cpp
    import numpy as np

    model = llama_cpp.Llama(
        model_path=args.model, n_ctx=args.prompt + args.decode, n_batch=args.prompt, n_ubatch=args.prompt,
        n_threads=args.threads, n_threads_batch=args.threads, flash_attn=args.flash_attention, verbose=False)
    vocab = model.n_vocab()
    prompt = [(i * 7919 + 13) % vocab for i in range(args.prompt)]

    def prefill():
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        np.asarray(model._ctx.get_logits()[:1])
        return args.prompt / (time.perf_counter() - start)

    def decode():
        start = time.perf_counter()
        for i in range(args.decode):
            model.eval([i % 1000])
            model._ctx.get_logits()[0]
        return args.decode / (time.perf_counter() - start)

    prefill()
    for _ in range(args.repeat):
        print(json.dumps(dict(prefill_tokens_per_s=prefill(), decode_tokens_per_s=decode())), flush=True)


def run(command):
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def compare(args):
    shape = ["--threads", str(args.threads), "--prompt", str(args.prompt), "--decode", str(args.decode),
             "--repeat", str(args.repeat)]
    programs = {
        "hearth": [str(args.bench), args.model, *shape],
        "llama.cpp": [sys.executable, __file__, "--side", "llama.cpp", "--model", args.model, *shape],
        "llama.cpp fa": [sys.executable, __file__, "--side", "llama.cpp", "--flash-attention", "--model", args.model,
                         *shape],
    }
    results = {name: [] for name in programs}
    for round_idx in range(args.rounds):
        for name, command in programs.items():
            print(f"round {round_idx + 1}/{args.rounds}: {name}", file=sys.stderr)
            results[name] += run(command)
    print(f"{pathlib.Path(args.model).name}, {args.threads} threads, medians of {args.rounds} rounds x {args.repeat}")
    for key, title in (("prefill_tokens_per_s", f"prefill {args.prompt}"), ("decode_tokens_per_s", f"decode {args.decode}")):
        medians = {name: statistics.median(r[key] for r in rows) for name, rows in results.items()}
        theirs = max(value for name, value in medians.items() if name != "hearth")
        detail = ", ".join(f"{name} {value:.1f}" for name, value in medians.items())
        print(f"{title:12} {detail} tokens/s; ratio to their better one {medians['hearth'] / theirs:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--bench", default=ROOT / "build/release/bench/model_bench")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=["llama.cpp"], help=argparse.SUPPRESS)
    parser.add_argument("--flash-attention", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    measure_llama_cpp(args) if args.side else compare(args)


if __name__ == "__main__":
    main()
