#!/usr/bin/env python3
"""Makes tests/golden/hf: tiny random models as Hugging Face directories, saved by transformers.

Cases named like one of tests/golden/models hold the same weights, so the logits there are theirs; those
that this script does not make were saved by make_family_golden.py --hf. The others bring their own golden.json: logits and greedy text by transformers in float32, from the weights
as they were rounded for the file.

Made with: torch 2.15.0, transformers 5.23.0 (any recent version gives the same values within the tests'
error budget).

usage: make_hf_golden.py [OUTPUT_FOLDER]
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers

import make_model_golden as base

# Of these the weights equal those of llama-tied, and only config.json is kept.
ROPE_CASES = ["llama-rope-linear", "llama-rope-llama3", "llama-rope-yarn"]

OWN_CASES = {
    "llama-bf16": dict(case=dict(tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
                       dtype=torch.bfloat16),
    "mistral-f16": dict(case=dict(family="mistral", sliding_window=16), dtype=torch.float16),
}


def save(model, folder, **options):
    shutil.rmtree(folder, ignore_errors=True)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[2, 5], bos_token_id=1, do_sample=True, temperature=0.6, top_p=0.9, top_k=20)
    model.save_pretrained(folder, **options)


def check_rope_case(name, model, reference):
    for (key, value), (_, other) in zip(model.state_dict().items(), reference.items()):
        if not torch.equal(value, other):
            raise SystemExit(f"{name}: {key} differs from that of llama-tied")


def make_own(name, spec, out):
    _, model = base.make_model(spec["case"])
    model = model.to(spec["dtype"])
    save(model, out / name)
    # Read again, because the conversion above also rounds the rotation frequencies.
    model = transformers.AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float32)
    golden = base.golden_of(model.eval())
    (out / name / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(name, "greedy", golden["greedy"])


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/hf")
    _, tied = base.make_model(base.CASES["llama-tied"])
    weights = {key: value.clone() for key, value in tied.state_dict().items()}
    save(tied, out / "llama-tied")
    for name in ROPE_CASES:
        _, model = base.make_model(base.CASES[name])
        check_rope_case(name, model, weights)
        save(model, out / name)
        (out / name / "model.safetensors").unlink()
        (out / name / "generation_config.json").unlink()
    _, qwen2 = base.make_model(base.CASES["qwen2"])
    save(qwen2, out / "qwen2")
    save(qwen2, out / "qwen2-sharded", max_shard_size="30KB")
    for name, spec in OWN_CASES.items():
        make_own(name, spec, out)


if __name__ == "__main__":
    main()
