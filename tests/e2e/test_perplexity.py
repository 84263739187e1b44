"""`hearth perplexity` on the default model."""

import json
import pathlib
import shutil
import unittest

from hearth_e2e import EXIT_FAILURE, MODEL, ROOT, HearthTest


class Perplexity(HearthTest):
    TEXT = "The harbour was built of granite, and two walls keep the northern swell out of it. " * 12

    def test_a_model_is_measured_and_compared_with_itself(self):
        path = self.write("text.txt", self.TEXT)
        figures = json.loads(self.succeed("perplexity", MODEL, path, "--context=64", "--chunks=2",
                                          f"--reference={MODEL}", "--json"))
        self.assertEqual((figures["chunks"], figures["predictions"]), (2, 2 * 31))
        self.assertGreater(figures["perplexity"]["value"], 1.0)
        self.assertLess(figures["perplexity"]["value"], 100.0)
        self.assertEqual(figures["reference_perplexity"], figures["perplexity"])
        self.assertEqual(figures["kl_divergence"]["maximum"], 0.0)
        self.assertEqual(figures["same_top_token"]["value"], 1.0)

    def test_too_short_a_text_is_refused_with_both_lengths(self):
        path = self.write("text.txt", "Too short.")
        text = self.refused(EXIT_FAILURE, "perplexity", MODEL, path)
        self.assertRegex(text, r"the text has \d+ tokens, but at least 1024 are needed")

    def test_a_text_that_is_not_utf8_is_refused_with_the_place(self):
        path = pathlib.Path(self.write("text.txt", ""))
        path.write_bytes(b"abc\xff" + b"x" * 10000)
        text = self.refused(EXIT_FAILURE, "perplexity", MODEL, path)
        self.assertIn("is not UTF-8 from byte 3 on", text)

    def test_tokens_beyond_the_models_vocabulary_are_refused(self):
        big = {"id": 2000000, "content": "<big>", "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": False}
        tokenizer = {"version": "1.0", "added_tokens": [big],
                     "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}
        path = self.write("tokenizer.json", json.dumps(tokenizer))
        for name in ("config.json", "model.safetensors"):
            shutil.copy(ROOT / "tests" / "golden" / "hf" / "llama-bf16" / name, pathlib.Path(path).parent)
        text = self.write("text.txt", "ab<big>" * 100)
        problem = self.refused(EXIT_FAILURE, "perplexity", pathlib.Path(path).parent, text, "--context=64")
        self.assertIn("the tokenizer has 2000001 tokens, but the model's vocabulary only 64", problem)


if __name__ == "__main__":
    unittest.main()
