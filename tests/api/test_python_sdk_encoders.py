"""The official Python SDK against a tiny encoder."""

import json
import math
import unittest

import openai

from sdk_server import ENCODERS, Server, base_url

MODEL = "bert-mean"


class PythonSdkEncoders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(models=(ENCODERS / MODEL,)))
        cls.client = cls.enterClassContext(
            openai.OpenAI(base_url=base_url(cls.server), api_key="none", max_retries=0))

    def embed(self, texts, **fields):
        return self.client.embeddings.create(model=MODEL, input=texts, **fields)

    def test_vectors_as_the_sdk_asks_for_them_and_as_floats(self):
        texts = ["the words", "it", "a"]
        packed = self.embed(texts)  # It asks for base64 and decodes that.
        plain = self.embed(texts, encoding_format="float")
        self.assertEqual([item.index for item in packed.data], [0, 1, 2])
        for left, right in zip(packed.data, plain.data, strict=True):
            self.assertEqual(len(left.embedding), 32)
            for a, b in zip(left.embedding, right.embedding, strict=True):
                self.assertAlmostEqual(a, b, places=6)
            self.assertAlmostEqual(math.hypot(*left.embedding), 1, places=5)
        self.assertEqual(packed.usage.total_tokens, packed.usage.prompt_tokens)
        self.assertGreater(packed.usage.prompt_tokens, 6)

    def test_ids_give_the_vector_of_their_text(self):
        golden = json.loads((ENCODERS / MODEL / "golden.json").read_text())["sequences"][0]
        text = self.embed(golden["texts"][0], extra_body={"prompt_name": ""})
        self.assertEqual(self.embed(golden["ids"]).data[0].embedding, text.data[0].embedding)
        self.assertEqual(self.embed([golden["ids"]]).data[0].embedding, text.data[0].embedding)

    def test_dimensions_that_the_model_cannot_give_are_refused(self):
        self.assertEqual(len(self.embed("it", dimensions=32).data[0].embedding), 32)
        with self.assertRaises(openai.BadRequestError) as refused:
            self.embed("it", dimensions=16)
        self.assertEqual((refused.exception.code, refused.exception.param),
                         ("unsupported_parameter", "dimensions"))

    def test_errors_have_code_and_param(self):
        for texts, code, param in [("", "empty_input", "input"),
                                   (["it", "the " * 60], "context_length_exceeded", "input[1]"),
                                   ([[100000]], "token_out_of_range", "input[0]")]:
            with self.assertRaises(openai.BadRequestError) as refused:
                self.embed(texts)
            self.assertEqual((refused.exception.code, refused.exception.param), (code, param))
        with self.assertRaises(openai.BadRequestError) as wrong:
            self.client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "it"}])
        self.assertEqual(wrong.exception.code, "unsupported_model")


if __name__ == "__main__":
    unittest.main(verbosity=2)
