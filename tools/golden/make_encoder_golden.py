#!/usr/bin/env python3
"""Makes tests/golden/encoders: tiny random encoders as Hugging Face directories, saved by transformers.

Each holds golden.json: token ids (and types) of a few sequences, and what transformers makes of them in
float32 from the weights as they were rounded for the file: `outputs` are the pooled vectors, as the files
of sentence-transformers beside the model say, or the raw outputs of the head. Cases with a tokenizer have
texts as well, by the tokenizers library. Some also lie there as a GGUF file, in the names and with the
changes of llama.cpp's converter (convert_hf_to_gguf.py).

Made with: torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, gguf 0.19.0.

usage: make_encoder_golden.py [--only NAME] [OUTPUT_FOLDER]
"""

import argparse
import json
import pathlib
import random
import re
import shutil

import gguf
import numpy as np
import safetensors.numpy
import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors

WORDS = ("the a of to and in is it that was for on are with as his they be at one have this from or had by "
         "word but not what all were we when your can said there use an each which she do how their if").split()
PIECES = ["##s", "##ing", "##ed", "##er", "##e", "##n", ",", ".", "?"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + PIECES
SHAPE = dict(vocab_size=80, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, initializer_range=0.3, pad_token_id=0)
ROBERTA = SHAPE | dict(pad_token_id=1, max_position_embeddings=66, type_vocab_size=1)
MPNET = SHAPE | dict(pad_token_id=1, max_position_embeddings=162, layer_norm_eps=1e-5)
MODERN = SHAPE | dict(num_hidden_layers=4, local_attention=9, bos_token_id=2, eos_token_id=3, cls_token_id=2,
                      sep_token_id=3, initializer_cutoff_factor=3.0)
GEMMA = SHAPE | dict(num_hidden_layers=6, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1,
                     head_dim=16, query_pre_attn_scalar=16, sliding_window=12, use_bidirectional_attention=True)
GTE = SHAPE | dict(pad_token_id=1, type_vocab_size=1, layer_norm_eps=1e-6,
                   rope_parameters=dict(rope_type="linear", rope_theta=160000.0, factor=8.0 ** (2 / 8)))
DISTIL = dict(vocab_size=80, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=64,
              initializer_range=0.3, pad_token_id=0)
QWEN3 = SHAPE | dict(num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-6, bos_token_id=2, eos_token_id=3)
TEXTS = ["what is it", "the words said to use, each by one?", "a", "when they had walked there"]
PAIRS = [("what is it", "it is a word."), ("how do they use it?", "they said the words and had used each one")]


def labels(*names):
    return dict(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})


# Class, configuration; pooling for those without a head.
CASES = {
    "bert-mean": dict(kind="Bert", config=SHAPE, pooling="mean", normalize=True, tokenizer=True, max_tokens=48,
                      dtype=torch.float32, prompts={"query": "what is ", "document": ""}),
    "bert-cls": dict(kind="Bert", config=SHAPE, pooling="cls", normalize=True,
                     gguf=(gguf.MODEL_ARCH.BERT, gguf.PoolingType.CLS)),
    "bert-classifier": dict(kind="Bert", head=True, tokenizer=True,
                            config=SHAPE | labels("bad", "so-so", "good")),
    "bert-dense": dict(kind="Bert", config=SHAPE, pooling="cls", dense=[(16, True, "activation.Tanh")], normalize=True),
    "bert-dense-behind": dict(kind="Bert", config=SHAPE, pooling="mean", normalize="first",
                              dense=[(48, True, "activation.GELU"), (24, False, "linear.Identity")],
                              gguf=(gguf.MODEL_ARCH.BERT, gguf.PoolingType.MEAN)),
    "roberta-mean": dict(kind="Roberta", config=ROBERTA, pooling="mean"),
    "xlm-roberta-cls": dict(kind="XLMRoberta", config=ROBERTA, pooling="cls", normalize=True),
    "xlm-roberta-reranker": dict(kind="XLMRoberta", head=True, config=ROBERTA | labels("LABEL_0"),
                                 gguf=(gguf.MODEL_ARCH.BERT, gguf.PoolingType.RANK)),
    "distilbert-last": dict(kind="DistilBert", config=DISTIL, pooling="lasttoken"),
    "distilbert-labels": dict(kind="DistilBert", head=True, config=DISTIL | labels("x", "y")
                              | dict(problem_type="multi_label_classification")),
    "gemma-embedding": dict(kind="Gemma3Text", config=GEMMA, pooling="mean", normalize=True,
                            dense=[(64, False, "linear.Identity"), (32, False, "linear.Identity")],
                            gguf=(gguf.MODEL_ARCH.GEMMA_EMBEDDING, gguf.PoolingType.MEAN)),
    # The first two as the classes of their own code have it: static NTK scaling, which transformers' class has
    # as a longer base and linear scaling.
    "gte-cls": dict(kind="Gte", config=GTE, pooling="cls", normalize=True, own="New",
                    gguf=("gte", gguf.PoolingType.CLS),
                    published=dict(model_type="new", rope_theta=20000, rope_scaling=dict(type="ntk", factor=8.0))),
    "gte-reranker": dict(kind="Gte", head=True, config=GTE | labels("LABEL_0"), own="New",
                         published=dict(model_type="new", rope_theta=20000, rope_scaling=dict(type="ntk", factor=8.0))),
    "gte-untyped": dict(kind="Gte", config=GTE | dict(type_vocab_size=0, rope_parameters=None), pooling="cls",
                        normalize=True),
    "jina-mean": dict(kind="Bert", config=SHAPE, pooling="mean", normalize=True, lengths=(1, 2, 9, 17, 60), jina=True,
                      gguf=(gguf.MODEL_ARCH.JINA_BERT_V2, gguf.PoolingType.MEAN),
                      published=dict(architectures=["JinaBertForMaskedLM"], position_embedding_type="alibi",
                                     feed_forward_type="geglu")),
    "modernbert-mean": dict(kind="ModernBert", config=MODERN, pooling="mean", normalize=True,
                            gguf=(gguf.MODEL_ARCH.MODERN_BERT, gguf.PoolingType.MEAN)),
    "modernbert-classifier": dict(kind="ModernBert", head=True,
                                  config=MODERN | labels("no", "yes") | dict(classifier_pooling="mean")),
    "mpnet-mean": dict(kind="MPNet", config=MPNET, pooling="mean", normalize=True, lengths=(1, 2, 9, 17, 140),
                       gguf=("mpnet", gguf.PoolingType.MEAN)),
    "mpnet-classifier": dict(kind="MPNet", head=True, config=MPNET | labels("bad", "so-so", "good")),
    "nomic-bert-mean": dict(kind="NomicBert", config=SHAPE, pooling="mean", normalize=True,
                            gguf=(gguf.MODEL_ARCH.NOMIC_BERT, gguf.PoolingType.MEAN)),
    # As llama.cpp's converter makes it of a decoder that writes "yes" (id 7) or "no" (id 9); a GGUF file alone.
    "qwen3-yes-no": dict(kind="Qwen3", config=QWEN3 | dict(tie_word_embeddings=True), yes_no=(7, 9),
                         gguf=(gguf.MODEL_ARCH.QWEN3, gguf.PoolingType.RANK)),
    "qwen3-score": dict(kind="Qwen3", head=True, config=QWEN3 | labels("LABEL_0")),
    "qwen3-last": dict(kind="Qwen3", config=QWEN3, pooling="lasttoken", normalize=True),
}


def make_model(case):
    suffix = "ForSequenceClassification" if case.get("head") else "ForCausalLM" if "yes_no" in case else "Model"
    config = getattr(transformers, case["kind"] + "Config")(**case["config"])
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    model = getattr(transformers, case["kind"] + suffix)(config).eval()
    if case.get("jina"):
        make_jina(model)
    generator = torch.Generator().manual_seed(11)
    for parameter in model.parameters():  # Biases and gains that would show if they were left out.
        if parameter.ndim == 1:
            with torch.no_grad():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    dtype = case.get("dtype", torch.float16)
    return model.to(dtype).float(), dtype


class GatedFeedForward(torch.nn.Module):
    """As the code beside Jina's weights has it: gate above up in one matrix without biases."""

    def __init__(self, config):
        super().__init__()
        self.gated_layers = torch.nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        torch.nn.init.normal_(self.gated_layers.weight, std=config.initializer_range)

    def forward(self, hidden):
        gate, up = self.gated_layers(hidden).chunk(2, dim=-1)
        return torch.nn.functional.gelu(gate) * up


def make_jina(model):
    """BERT without positions, but with ALiBi to both sides (see run()), and gated feed-forwards."""
    model.embeddings.position_embeddings.weight.data.zero_()
    for layer in model.encoder.layer:
        layer.intermediate = GatedFeedForward(model.config)


def alibi(num_heads, length):
    slopes = torch.tensor([2.0 ** (-8 * (i + 1) / num_heads) for i in range(num_heads)])  # Of powers of two.
    place = torch.arange(length)
    return -slopes[None, :, None, None] * (place[None] - place[:, None]).abs()


# From the names of transformers' classes to those of published files.
PUBLISHED_NAMES = {
    "Gte": [("gte.", "new.")],
    "Bert": [(".intermediate.gated_layers.", ".mlp.gated_layers."), (".output.LayerNorm.", ".mlp.layernorm."),
             (".output.dense.", ".mlp.wo."), (".attention.mlp.layernorm.", ".attention.output.LayerNorm."),
             (".attention.mlp.wo.", ".attention.output.dense.")],
}


def publish(folder, case):
    """The files as they are published, where transformers' class writes others."""
    config = json.loads((folder / "config.json").read_text())
    for key in ("rope_parameters", "transformers_version"):
        config.pop(key, None)
    own = [case["own"] + name.removeprefix(case["kind"]) for name in config["architectures"]] if "own" in case else []
    config |= dict(architectures=own) | case["published"]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {}
    for name, value in safetensors.numpy.load_file(folder / "model.safetensors").items():
        for before, after in PUBLISHED_NAMES[case["kind"]]:
            name = name.replace(before, after)
        if not (case.get("jina") and "position_embeddings" in name):
            tensors[name] = value
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata=dict(format="pt"))


def make_tokenizer(folder):
    tokenizer = tokenizers.Tokenizer(models.WordPiece({t: i for i, t in enumerate(VOCAB)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(VOCAB[:5])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def save_sentence_files(folder, case):
    """In the layout of sentence-transformers before its version 5, which nearly all models have."""
    name = "sentence_transformers.models."
    modules = [dict(idx=0, name="0", path="", type=name + "Transformer"),
               dict(idx=1, name="1", path="1_Pooling", type=name + "Pooling")]
    behind = ["Dense"] * len(case.get("dense", []))
    if case.get("normalize"):
        behind.insert(0 if case["normalize"] == "first" else len(behind), "Normalize")
    for i, kind in enumerate(behind, 2):
        modules.append(dict(idx=i, name=str(i), path=f"{i}_{kind}", type=name + kind))
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    chosen = case["pooling"] if case["pooling"] == "lasttoken" else case["pooling"] + "_" + (
        "token" if case["pooling"] == "cls" else "tokens")
    pooling = dict(word_embedding_dimension=32) | {"pooling_mode_" + mode: mode == chosen for mode in modes}
    (folder / "1_Pooling").mkdir()
    files = {"modules.json": modules, "1_Pooling/config.json": pooling}
    if "max_tokens" in case:
        files["sentence_bert_config.json"] = dict(max_seq_length=case["max_tokens"], do_lower_case=False)
    if "prompts" in case:
        files["config_sentence_transformers.json"] = dict(prompts=case["prompts"], default_prompt_name="query",
                                                          similarity_fn_name="cosine")
    for path, content in files.items():
        (folder / path).write_text(json.dumps(content, indent=2) + "\n")


# Of an architecture that llama.cpp does not know, the modules that its names do not cover.
OWN_ROLES = {
    "encoder.relative_attention_bias": "attn_rel_b",
    "attention.attn.q": "attn_q",
    "attention.attn.k": "attn_k",
    "attention.attn.v": "attn_v",
    "attention.attn.o": "attn_output",
    "attention.LayerNorm": "attn_output_norm",
    "attention.qkv_proj": "attn_qkv",
    "attention.o_proj": "attn_output",
    "attn_ln": "attn_output_norm",
    "mlp.up_gate_proj": "ffn_up_gate",
    "mlp.down_proj": "ffn_down",
    "mlp_ln": "layer_output_norm",
}


def role_of(name, names):
    module, kind = name.rsplit(".", 1)
    layer = re.match(r"encoder\.layer\.(\d+)\.(.*)", module)
    if (layer.group(2) if layer else module) in OWN_ROLES:
        return (f"blk.{layer.group(1)}." + OWN_ROLES[layer.group(2)] if layer else OWN_ROLES[module]) + "." + kind
    return names.get_name(name, try_suffixes=(".weight", ".bias"))


def make_dense(case):
    generator = torch.Generator().manual_seed(13)
    layers, width = [], case["config"].get("hidden_size", 32)
    for out, bias, activation in case.get("dense", []):
        layer = torch.nn.Linear(width, out, bias=bias)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        layers.append((layer, activation))
        width = out
    return layers


def save_dense(folder, layers):
    paths = [m["path"] for m in json.loads((folder / "modules.json").read_text()) if m["path"].endswith("_Dense")]
    for path, (layer, activation) in zip(paths, layers):
        (folder / path).mkdir()
        config = dict(in_features=layer.in_features, out_features=layer.out_features, bias=layer.bias is not None,
                      activation_function="torch.nn.modules." + activation)
        (folder / path / "config.json").write_text(json.dumps(config) + "\n")
        safetensors.numpy.save_file({"linear." + name: value.detach().numpy() for name, value in
                                     layer.named_parameters()}, folder / path / "model.safetensors")


def behind_pooling(case, layers, vector):
    if case.get("normalize") == "first":
        vector = torch.nn.functional.normalize(vector, dim=0)
    for layer, activation in layers:
        vector = getattr(torch.nn, activation.split(".")[-1])()(layer(vector))
    return torch.nn.functional.normalize(vector, dim=0) if case.get("normalize") is True else vector


def write_gguf(folder, case, arch, pooling):
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(folder / "model.gguf", gguf.MODEL_ARCH_NAMES.get(arch, arch))
    offset = config["pad_token_id"] + 1 if config["model_type"] in ("roberta", "xlm-roberta", "mpnet") else 0
    writer.add_context_length(config["max_position_embeddings"] - offset)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_pooling_type(pooling)
    if arch in (gguf.MODEL_ARCH.GEMMA_EMBEDDING, gguf.MODEL_ARCH.QWEN3):
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_head_count_kv(config["num_key_value_heads"])
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch == gguf.MODEL_ARCH.QWEN3:
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
        writer.add_classifier_output_labels(["yes", "no"])
        writer.add_chat_template([dict(name="rerank", template="<q>{query}<d>{document}<a>")])
    elif arch == gguf.MODEL_ARCH.GEMMA_EMBEDDING:
        writer.add_sliding_window(config["sliding_window"])
        writer.add_rope_freq_base(config["rope_parameters"]["full_attention"]["rope_theta"])
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_eps", config.get("norm_eps")))
        writer.add_causal_attention(False)
    if arch == gguf.MODEL_ARCH.NOMIC_BERT:
        writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    if arch == gguf.MODEL_ARCH.MODERN_BERT:
        writer.add_sliding_window(config["local_attention"])
        writer.add_rope_freq_base(config["rope_parameters"]["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(config["rope_parameters"]["sliding_attention"]["rope_theta"])
        writer.add_vocab_size(config["vocab_size"])
    if arch == "gte":
        writer.add_rope_freq_base(config["rope_theta"] * config["rope_scaling"]["factor"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(case["config"]["rope_parameters"]["factor"])
    if arch == "mpnet":
        writer.add_relative_attn_buckets_count(config["relative_attention_num_buckets"])
    for i, (layer, _) in enumerate(make_dense(case), 2):
        for name, value in layer.named_parameters():
            writer.add_tensor(f"dense_{i}.{name}", value.detach().numpy())
    if case.get("normalize") == "first":  # What the converter cannot say.
        writer.add_array(f"{writer.arch}.embedding.modules", ["normalize", "dense_2", "dense_3"])
        writer.add_array(f"{writer.arch}.embedding.dense_activations", ["gelu", "none"])
    known = arch if arch in gguf.MODEL_ARCH_NAMES else gguf.MODEL_ARCH.BERT
    names = gguf.get_tensor_name_map(known, config["num_hidden_layers"])
    for name, value in safetensors.numpy.load_file(folder / "model.safetensors").items():
        inner = name.removeprefix("roberta.").removeprefix("bert.")
        if inner.startswith("pooler") and not case.get("head"):
            continue
        if "yes_no" in case and "embed_tokens" in inner:
            writer.add_tensor("cls.output.weight", value[list(case["yes_no"])])
        if arch == gguf.MODEL_ARCH.GEMMA_EMBEDDING and inner.endswith("norm.weight"):
            value = value + 1
        if "position_embeddings" in inner:
            value = value[offset:]
        if inner == "embeddings.token_type_embeddings.weight" and value.shape[0] == 1:
            value = value.reshape(1, -1)
        role = role_of(inner, names)
        writer.add_tensor(role, value if value.ndim > 1 else value.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(model, case, ids, types):
    batch = dict(input_ids=torch.tensor([ids]))
    if types:
        batch["token_type_ids"] = torch.tensor([types])
    if case.get("jina"):
        batch["attention_mask"] = alibi(model.config.num_attention_heads, len(ids))
    with torch.no_grad():
        result = model(**batch)
    if case.get("head"):
        return result.logits[0]
    if "yes_no" in case:
        yes, no = result.logits[0, -1, list(case["yes_no"])]
        return (yes - no)[None]
    hidden = result.last_hidden_state[0]
    vector = {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1]}[case["pooling"]]
    return behind_pooling(case, make_dense(case), vector)


def sequences(case, tokenizer):
    """Ids, types and texts: of texts where there is a tokenizer, and random ids."""
    rows = []
    if tokenizer:
        texts = [(text, ) for text in TEXTS] + (PAIRS if case.get("head") else [])
        for text in texts:
            encoded = tokenizer.encode(*text)
            rows.append(dict(texts=list(text), ids=encoded.ids, types=encoded.type_ids))
    rng = random.Random(3)
    for length in case.get("lengths", (1, 2, 15, 17, 33, 48)):
        ids = [2] + [rng.randrange(5, 80) for _ in range(length - 1)]
        has_types = case["kind"] in ("Bert", "NomicBert")
        rows.append(dict(ids=ids, types=[int(i > length // 2) for i in range(length)] if has_types else []))
    return rows


def make(name, case, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, dtype = make_model(case)
    tokenizer = make_tokenizer(folder) if case.get("tokenizer") else None
    golden = sequences(case, tokenizer)
    for row in golden:
        row["outputs"] = [round(x, 7) for x in run(model, case, row["ids"], row["types"]).tolist()]
    model.to(dtype).save_pretrained(folder)
    if "published" in case:
        publish(folder, case)
    if not case.get("head") and "pooling" in case:
        save_sentence_files(folder, case)
        save_dense(folder, make_dense(case))
    if "gguf" in case:
        write_gguf(folder, case, *case["gguf"])
    if "yes_no" in case:
        for unread in ("config.json", "generation_config.json", "model.safetensors"):
            (folder / unread).unlink(missing_ok=True)
    (folder / "golden.json").write_text(json.dumps(dict(sequences=golden)) + "\n")
    print(name, sum(p.numel() for p in model.parameters()), "parameters")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only")
    parser.add_argument("folder", nargs="?", default="tests/golden/encoders", type=pathlib.Path)
    args = parser.parse_args()
    for name, case in CASES.items():
        if args.only in (None, name):
            make(name, case, args.folder / name)


if __name__ == "__main__":
    main()
