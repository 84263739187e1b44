#!/usr/bin/env python3
"""Makes tests/golden/e2e/greedy_chat.json: greedy chat answers of `hearth serve` with the default model.

Beside each answer stands what llama.cpp says to the same prompt ids, and how many tokens agree before
the two part: both round activations to 8 bits, in different places, so near ties may fall either way.
Where llama.cpp's smallest margin between the two best logits is above 0.1 the answer is marked `clear`
and must agree.

Made with: llama-cpp-python 0.3.36.

usage: HEARTH_BINARY=build/release/hearth make_greedy_chat.py
"""

import json
import pathlib
import subprocess
import sys

import llama_cpp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "e2e"))
from hearth_e2e import BINARY, GOLDEN, MODEL, Server, clean_environment  # noqa: E402

MAX_TOKENS = 48
CLEAR_MARGIN = 0.1
PROMPTS = [
    "Write one sentence about the sea.",
    "Count from one to ten in words.",
    "What is a hearth? Answer in one sentence.",
    "List three colours.",
    "What is the capital of France?",
    "Translate to French: good morning.",
]


def run(*arguments, stdin):
    return subprocess.run([BINARY, *arguments], input=stdin.encode(), env=clean_environment(),
                          capture_output=True, check=True).stdout.decode()


def prompt_ids(prompt):
    context = {"messages": [{"role": "user", "content": prompt}], "add_generation_prompt": True}
    text = run("template", MODEL, stdin=json.dumps(context))
    return json.loads(run("tokenize", MODEL, "--json", stdin=text))


def peer_answer(model, ids):
    """llama.cpp's greedy ids without the end token, and the smallest margin on the way."""
    model.reset()
    model.eval(ids)
    answer, margin = [], float("inf")
    while len(answer) < MAX_TOKENS:
        logits = np.array(model._ctx.get_logits()[:model.n_vocab()])
        second, best = np.sort(logits)[-2:]
        margin = min(margin, float(best - second))
        if (chosen := int(logits.argmax())) == model.token_eos():
            break
        answer.append(chosen)
        model.eval([chosen])
    return answer, margin


def common_length(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main():
    peer = llama_cpp.Llama(str(MODEL), n_ctx=1024, n_threads=1, verbose=False)
    answers = []
    with Server() as server:
        for prompt in PROMPTS:
            answer = server.chat(prompt, max_tokens=MAX_TOKENS)
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            ids = json.loads(run("tokenize", MODEL, "--json", stdin=text))
            peer_ids, margin = peer_answer(peer, prompt_ids(prompt))
            answers.append({
                "prompt": prompt,
                "text": text,
                "finish_reason": choice["finish_reason"],
                "prompt_tokens": answer["usage"]["prompt_tokens"],
                "completion_tokens": answer["usage"]["completion_tokens"],
                "clear": margin > CLEAR_MARGIN,
                "llama_cpp": {"text": peer.detokenize(peer_ids).decode(errors="replace"),
                              "smallest_margin": round(margin, 4),
                              "tokens_in_common": common_length(ids, peer_ids)},
            })
    GOLDEN.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"max_tokens": MAX_TOKENS, "answers": answers}, indent=1)
    (GOLDEN / "greedy_chat.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
