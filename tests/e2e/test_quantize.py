"""`hearth quantize` and --quantize on the default model and on a directory."""

import json
import shutil
import signal
import subprocess
import unittest

from hearth_e2e import (BINARY, EXIT_FAILURE, EXIT_USAGE, GOLDEN, HearthTest, MODEL, ROOT,
                        clean_environment, hearth)

GREEDY = json.loads((GOLDEN / "greedy_chat.json").read_text())["answers"]


class Quantize(HearthTest):
    def quantize(self, *arguments):
        """The figures of a run that must end well; progress goes to standard error."""
        done = hearth("quantize", *arguments, "--json")
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def test_a_finer_format_predicts_what_the_source_predicts(self):
        text = self.write("text.txt", "The harbour was built of granite, and two walls keep the swell out. " * 40)
        figures = self.quantize(MODEL, "--to=q8_0", "--requantize", f"--calibration={text}",
                                f"--models-dir={self.folder / 'registry'}")
        self.assertEqual(figures["model"], "SmolLM2-135M-Instruct:Q8_0")
        self.assertLess(figures["kl_divergence"]["mean"]["value"], 0.01)
        self.assertGreater(figures["same_top_token"], 0.95)
        self.assertAlmostEqual(figures["bits_per_weight"], 8.5, delta=0.05)
        listed = self.succeed("list", f"--models-dir={self.folder / 'registry'}")
        self.assertIn("SmolLM2-135M-Instruct:Q8_0", listed)
        self.succeed("verify", f"--models-dir={self.folder / 'registry'}")

    def test_loading_gives_the_bits_of_the_file(self):
        """A float model, quantized to a file and while loading."""
        source = ROOT / "tests" / "golden" / "hf" / "qwen2"
        directory = self.folder / "qwen2"
        shutil.copytree(source, directory)
        words = {chr(97 + i): i for i in range(26)}
        (directory / "tokenizer.json").write_text(json.dumps(
            {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": words, "merges": []}}))
        text = self.write("text.txt", "thequickbrownfoxjumpsoverthelazydog" * 8)
        for recipe in ("q8_0", "q4_0", "q4_k_m", "nf4"):
            path = self.folder / f"{recipe}.gguf"
            self.quantize(directory, f"--to={recipe}", f"--output={path}", "--no-eval")
            reading = (text, "--context=32", "--chunks=4", "--json")
            from_file = self.succeed("perplexity", path, *reading)
            self.assertEqual(self.succeed("perplexity", directory, *reading, f"--quantize={recipe}"), from_file)
            self.assertNotEqual(self.succeed("perplexity", directory, *reading), from_file)

    def test_eight_bits_answer_as_the_source(self):
        """Where no two tokens are nearly as likely: elsewhere any rounding may tip the scales."""
        path = self.folder / "eight.gguf"
        self.quantize(MODEL, "--to=q8_0", "--requantize", "--no-eval", f"--output={path}")
        clear = [answer for answer in GREEDY if answer["clear"]]
        self.assertTrue(clear)
        for golden in clear:
            text = self.succeed("run", path, golden["prompt"], "--temperature=0", "--max-tokens=48")
            self.assertEqual(text, golden["text"] + "\n")

    def test_a_killed_run_leaves_nothing_of_that_name(self):
        path = self.folder / "small.gguf"
        process = subprocess.Popen([BINARY, "quantize", MODEL, "--to=q4_k_m", "--requantize", f"--output={path}"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
        self.assertIn(b"1 of 272", process.stderr.readline())  # The first tensor is written.
        process.kill()
        process.communicate()
        self.assertFalse(path.exists())

    def test_an_interrupted_run_cleans_up(self):
        path = self.folder / "small.gguf"
        process = subprocess.Popen([BINARY, "quantize", MODEL, "--to=q4_k_m", "--requantize", f"--output={path}"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, text = process.communicate()
        self.assertEqual(process.returncode, EXIT_FAILURE)
        self.assertIn(b"interrupted", text)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_directorys_file_gives_its_bits(self):
        directory = self.folder / "model"
        shutil.copytree(ROOT / "tests" / "golden" / "hf" / "llama-bf16", directory)
        words = {chr(97 + i): i for i in range(26)}
        (directory / "tokenizer.json").write_text(json.dumps(
            {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": words, "merges": []}}))
        text = self.write("text.txt", "thequickbrownfoxjumpsoverthelazydog" * 8)
        path = self.folder / "model.gguf"
        self.quantize(directory, "--to=bf16", f"--output={path}", "--no-eval")
        reading = (text, "--context=32", "--json")
        self.assertEqual(self.succeed("perplexity", path, *reading), self.succeed("perplexity", directory, *reading))

    def test_importances_of_a_text_make_a_better_model_for_it(self):
        text = self.write("text.txt", "The harbour was built of granite, and two walls keep the swell out. " * 40)
        imatrix = self.folder / "model.imatrix.gguf"
        said = self.succeed("imatrix", MODEL, text, f"--output={imatrix}", "--context=64", "--chunks=4")
        self.assertIn("211 matrices over 4 chunks of 64 tokens", said)

        def divergence(*arguments):
            figures = self.quantize(MODEL, "--to=q4_0", "--requantize", f"--calibration={text}",
                                    f"--output={self.folder / 'small.gguf'}", *arguments)
            return figures["kl_divergence"]["mean"]["value"]

        self.assertLess(divergence(f"--imatrix={imatrix}"), divergence())

    def test_refusals_name_the_reason(self):
        output = f"--output={self.folder / 'small.gguf'}"
        self.assertIn("is Q4_1 already", self.refused(EXIT_FAILURE, "quantize", MODEL, "--to=q4_0", output))
        self.assertIn("choose one of", self.refused(EXIT_USAGE, "quantize", MODEL, "--to=q9", output))
        self.assertIn("no format given", self.refused(EXIT_USAGE, "quantize", MODEL, output))
        damaged = self.write("imatrix.dat", "nonsense")
        self.assertIn("imatrix", self.refused(EXIT_FAILURE, "quantize", MODEL, "--to=q4_0", output, "--requantize",
                                              f"--imatrix={damaged}"))
        self.assertFalse((self.folder / "small.gguf").exists())

    def test_the_source_is_not_overwritten(self):
        path = self.folder / "model.gguf"
        shutil.copy(MODEL, path)
        text = self.refused(EXIT_FAILURE, "quantize", path, "--to=q8_0", "--requantize", f"--output={path}")
        self.assertIn("is the source itself", text)

    def test_only_what_was_quantized_here_is_replaced(self):
        registry = f"--models-dir={self.folder / 'registry'}"
        self.succeed("import", MODEL, "--name=tiny:Q8_0", registry)
        source = shutil.copy(MODEL, self.folder / "tiny.gguf")
        text = self.refused(EXIT_FAILURE, "quantize", source, "--to=q8_0", "--requantize", registry)
        self.assertIn("tiny:Q8_0", text)
        self.assertIn("hearth rm", text)
        self.succeed("rm", "tiny:Q8_0", registry)
        for _ in range(2):
            self.quantize(source, "--to=q8_0", "--requantize", "--no-eval", registry)

    def test_what_a_killed_quantize_left_in_the_registry_goes_with_the_next(self):
        store = self.folder / "registry"
        (store / "partial").mkdir(parents=True)
        left = store / "partial" / "quantize-0123456789abcdef.0123456789abcdef.partial"
        left.write_bytes(b"half")
        source = shutil.copy(MODEL, self.folder / "tiny.gguf")
        self.quantize(source, "--to=q8_0", "--requantize", "--no-eval", f"--models-dir={store}")
        self.assertEqual(list((store / "partial").iterdir()), [])

    def test_a_model_of_the_registry_is_not_replaced_by_its_own_copy(self):
        registry = f"--models-dir={self.folder / 'registry'}"
        self.quantize(MODEL, "--to=q4_1", "--requantize", "--no-eval", registry)
        text = self.refused(EXIT_FAILURE, "quantize", "SmolLM2-135M-Instruct", "--to=q4_1", "--requantize", registry)
        self.assertIn("is the source itself", text)

    def test_an_imatrix_that_could_not_be_written_is_refused_before_the_work(self):
        text = self.write("text.txt", "The harbour was built of granite. " * 40)
        for output, reason in ((self.folder / "none" / "x.gguf", "No such file"), (self.folder, "not a regular file")):
            said = self.refused(EXIT_FAILURE, "imatrix", MODEL, text, f"--output={output}")
            self.assertIn(reason, said)
            self.assertNotIn("chunk", said)

    def test_what_an_imatrix_is_made_from_is_not_overwritten(self):
        path = self.folder / "model.gguf"
        shutil.copy(MODEL, path)
        text = self.write("text.txt", "The harbour was built of granite. " * 40)
        for output in (path, text):
            self.assertIn("is the source itself", self.refused(EXIT_FAILURE, "imatrix", path, text, f"--output={output}"))
        self.assertEqual(path.stat().st_size, MODEL.stat().st_size)

    def test_files_of_a_directory_are_not_overwritten(self):
        directory = self.folder / "model"
        shutil.copytree(ROOT / "tests" / "golden" / "hf" / "llama-bf16", directory)
        (directory / "tokenizer.json").write_text("{}")
        for name in ("model.safetensors", "tokenizer.json"):
            output = f"--output={directory / name}"
            self.assertIn("is the source itself", self.refused(EXIT_FAILURE, "quantize", directory, "--to=q8_0", output))


if __name__ == "__main__":
    unittest.main()
