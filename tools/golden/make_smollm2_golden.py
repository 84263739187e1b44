#!/usr/bin/env python3
"""Makes tests/golden/smollm2/reference.json: what transformers and llama.cpp compute for the default model.

transformers loads the same GGUF file, dequantized to float32, and is the truth; llama.cpp rounds
activations to 8 bits as Hearth does and shows what error is usual. Per prompt: the ids (by llama.cpp's
tokenizer), the greedy continuation by both, and for the last prompt position and each greedy step by
transformers the 32 largest logits with their ids and the log of the sum of all exponentials. `peer_kl`
is llama.cpp's mean KL divergence from transformers over those steps and those 32 tokens.

Made with: torch 2.15.0, transformers 5.23.0, llama-cpp-python 0.3.36, gguf 0.19.0.

usage: make_smollm2_golden.py MODEL.gguf [OUTPUT.json]
"""

import json
import pathlib
import sys

import llama_cpp
import numpy as np
import torch
import transformers

GREEDY_LEN = 48
TOP = 32

PROMPTS = {
    "story": "Once upon a time, in a village by the sea,",
    "chat": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "code": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "long": "The history of the lighthouse is long. " * 30 + "In the end, the keeper",
}


def transformers_side(model, ids):
    steps, tokens = [], list(ids)
    with torch.no_grad():
        for _ in range(GREEDY_LEN):
            logits = model(torch.tensor([tokens])).logits[0, -1].double()
            top = torch.topk(logits, TOP)
            steps.append(dict(ids=top.indices.tolist(), logits=[round(x, 4) for x in top.values.tolist()],
                              log_sum_exp=round(float(torch.logsumexp(logits, 0)), 4)))
            tokens.append(int(top.indices[0]))
    return tokens[len(ids):], steps


def log_probabilities(logits):
    logits = logits.astype(np.float64)
    return logits - (logits.max() + np.log(np.exp(logits - logits.max()).sum()))


def llama_cpp_side(model, ids, steps, truth):
    """Its own greedy continuation, and its divergence along the one of transformers."""
    vocab = model.n_vocab()

    def evaluate(tokens):
        model.eval(tokens)
        return np.ctypeslib.as_array(model._ctx.get_logits(), shape=(vocab,)).copy()

    model.reset()
    logits, greedy = evaluate(ids), []
    for _ in range(GREEDY_LEN):
        greedy.append(int(logits.argmax()))
        logits = evaluate([greedy[-1]])

    model.reset()
    logits, divergence = evaluate(ids), []
    for step, token in zip(steps, truth):
        expected = np.array(step["logits"]) - step["log_sum_exp"]
        divergence.append(float((np.exp(expected) * (expected - log_probabilities(logits)[step["ids"]])).sum()))
        logits = evaluate([token])
    return greedy, float(np.mean(divergence))


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "tests/golden/smollm2/reference.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    peer = llama_cpp.Llama(model_path=str(path), n_ctx=1024, n_batch=512, verbose=False)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()
    golden = {}
    for name, text in PROMPTS.items():
        ids = peer.tokenize(text.encode(), add_bos=False, special=True)
        greedy, steps = transformers_side(model, ids)
        peer_greedy, peer_kl = llama_cpp_side(peer, ids, steps, greedy)
        golden[name] = dict(prompt=text, ids=ids, transformers_greedy=greedy, llama_cpp_greedy=peer_greedy,
                            peer_kl=round(peer_kl, 5), steps=steps)
        same = next((i for i, (a, b) in enumerate(zip(greedy, peer_greedy)) if a != b), GREEDY_LEN)
        print(f"{name}: {len(ids)} prompt tokens; transformers and llama.cpp agree for {same} of {GREEDY_LEN} tokens; "
              f"peer KL {peer_kl:.5f}")
    out.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
