"""`hearth serve` with tiny encoders, whose golden outputs are transformers'."""

import base64
import concurrent.futures
import json
import math
import pathlib
import shutil
import struct
import tempfile
import unittest

from hearth_e2e import ENCODERS, EXIT_OK, HearthTest, Server, poll

TOLERANCE = 5e-3  # Keys and values are float16.


def golden(name):
    return json.loads((ENCODERS / name / "golden.json").read_text())["sequences"]


def pairs_and_singles(name):
    sequences = [sequence for sequence in golden(name) if "texts" in sequence]
    return ([s for s in sequences if len(s["texts"]) == 2],
            [s for s in sequences if len(s["texts"]) == 1])


def floats(text):
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def cosine(left, right):
    return (sum(a * b for a, b in zip(left, right)) /
            math.sqrt(sum(a * a for a in left) * sum(b * b for b in right)))


def make_reranker(folder):
    """The classifier of three labels, cut to its first one."""
    source = ENCODERS / "bert-classifier"
    shutil.copy(source / "tokenizer.json", folder)
    config = json.loads((source / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    content = (source / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:start]), b""
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        if name.startswith("classifier."):
            end = begin + (end - begin) // tensor["shape"][0]
            tensor["shape"][0] = 1
        tensor["data_offsets"] = [len(data), len(data) + end - begin]
        data += content[start + begin:start + end]
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


class Encoders(HearthTest):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "reranker"
        folder.mkdir()
        cls.server = cls.enterClassContext(Server(models=(
            ENCODERS / "bert-mean", ENCODERS / "bert-classifier", make_reranker(folder))))

    @classmethod
    def enterClassContext(cls, context):
        entered = context.__enter__()
        cls.addClassCleanup(context.__exit__, None, None, None)
        return entered

    def post(self, path, **body):
        status, text, _ = self.server.request("POST", path, body)
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def error(self, path, **body):
        status, text, _ = self.server.request("POST", path, body)
        error = json.loads(text)["error"]
        return status, error["code"], error["param"]

    def assert_close(self, left, right):
        self.assertEqual(len(left), len(right))
        for a, b in zip(left, right):
            self.assertAlmostEqual(a, b, delta=TOLERANCE)

    def test_the_startup_block_says_what_each_is_for(self):
        self.assertIn("bert-mean", self.server.startup_text)
        models = json.loads(self.server.request("GET", "/v1/models")[1])["data"]
        self.assertEqual({model["id"]: model["capabilities"] for model in models},
                         {"bert-mean": ["embeddings"], "bert-classifier": ["classify"],
                          "reranker": ["rerank", "classify"]})

    def test_vectors_are_the_golden_ones(self):
        sequences = pairs_and_singles("bert-mean")[1]
        texts = [sequence["texts"][0] for sequence in sequences]
        answer = self.post("/v1/embeddings", model="bert-mean", input=texts, prompt_name="")
        for item, sequence in zip(answer["data"], sequences, strict=True):
            self.assertGreater(cosine(item["embedding"], sequence["outputs"]), 0.9999)
        self.assertEqual(answer["usage"]["prompt_tokens"], sum(len(s["ids"]) for s in sequences))
        ids = self.post("/v1/embeddings", model="bert-mean",
                        input=[sequence["ids"] for sequence in sequences],
                        encoding_format="base64")
        self.assertEqual([[struct.unpack("<f", struct.pack("<f", x))[0] for x in item["embedding"]]
                          for item in answer["data"]],
                         [floats(item["embedding"]) for item in ids["data"]])

    def test_the_default_prompt_goes_in_front(self):
        plain = self.post("/v1/embeddings", model="bert-mean", input="what is it", prompt_name="")
        for body in ({"input": "it"}, {"input": "it", "prompt_name": "query"}):
            answer = self.post("/v1/embeddings", model="bert-mean", **body)
            self.assertEqual(answer["data"], plain["data"])

    def test_labels_are_the_golden_ones(self):
        pairs, singles = pairs_and_singles("bert-classifier")
        answer = self.post("/v1/classify", model="bert-classifier",
                           input=[s["texts"][0] for s in singles], use_activation=False)
        for item, sequence in zip(answer["data"], singles, strict=True):
            self.assert_close(item["probs"], sequence["outputs"])
        scores = self.post("/predict", model="bert-classifier", raw_scores=True,
                           inputs=[s["texts"] for s in pairs])
        for item, sequence in zip(scores, pairs, strict=True):
            self.assert_close([score["score"] for score in item],
                              sorted(sequence["outputs"], reverse=True))

    def test_documents_are_sorted_by_their_golden_scores(self):
        for sequence in pairs_and_singles("bert-classifier")[0]:
            query, document = sequence["texts"]
            raw = sequence["outputs"][0]
            answer = self.post("/v1/rerank", model="reranker", query=query,
                               documents=[document, query])
            scores = {item["index"]: item["relevance_score"] for item in answer["results"]}
            self.assertAlmostEqual(scores[0], 1 / (1 + math.exp(-raw)), delta=TOLERANCE)
            ordered = [item["relevance_score"] for item in answer["results"]]
            self.assertEqual(ordered, sorted(ordered, reverse=True))
            texts = self.post("/rerank", model="reranker", query=query, texts=[document],
                              raw_scores=True)
            self.assertAlmostEqual(texts[0]["score"], raw, delta=TOLERANCE)

    def test_what_a_model_is_not_for_is_refused(self):
        chat = {"messages": [{"role": "user", "content": "it"}]}
        unsupported = (400, "unsupported_model", "model")
        self.assertEqual(self.error("/v1/chat/completions", model="bert-mean", **chat), unsupported)
        self.assertEqual(self.error("/v1/embeddings", model="reranker", input="it"), unsupported)
        self.assertEqual(self.error("/v1/rerank", model="bert-classifier", query="it",
                                    documents=["it"]), unsupported)

    def test_long_texts_are_refused_or_cut_and_said_to_be(self):
        text = "the " * 60
        self.assertEqual(self.error("/v1/embeddings", model="bert-mean", input=["it", text]),
                         (400, "context_length_exceeded", "input[1]"))
        status, body, headers = self.server.request(
            "POST", "/v1/embeddings",
            {"model": "bert-mean", "input": ["it", text], "truncate_prompt_tokens": -1})
        self.assertEqual((status, headers["x-truncated-texts"]), (200, "1"))
        self.assertEqual([item.get("truncated", False) for item in json.loads(body)["data"]],
                         [False, True])

    def test_answers_do_not_depend_on_company(self):
        words = ("the words said to use, each by one?").split()
        texts = [" ".join(words[:1 + i % len(words)] * (1 + i % 3)) for i in range(40)]
        alone = [self.post("/v1/embeddings", model="bert-mean", input=text)["data"][0]["embedding"]
                 for text in texts]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            lists = list(pool.map(lambda _: self.post("/v1/embeddings", model="bert-mean",
                                                      input=texts)["data"], range(8)))
        for data in lists:
            self.assertEqual([item["embedding"] for item in data], alone)


class Ending(HearthTest):
    def test_a_server_of_an_encoder_drains(self):
        with Server(models=(ENCODERS / "bert-mean",)) as server:
            self.assertEqual(server.request("GET", "/healthz")[0], 200)
            server.request("POST", "/v1/embeddings", {"input": "it"})
            poll(lambda: server.metric("hearth_embedding_requests_total") == 2)
            self.assertEqual(server.stop()[0], EXIT_OK)


if __name__ == "__main__":
    unittest.main(verbosity=2)
