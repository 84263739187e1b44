"""The commands that only read a model file, and every way to call `hearth` wrongly."""

import json
import os
import subprocess
import unittest

from hearth_e2e import (BINARY, EXIT_FAILURE, EXIT_USAGE, MODEL, ROOT, HearthTest, clean_environment,
                        hearth)

MODELS = ROOT / "tests" / "golden" / "models"
VOCABULARY = ROOT / "tests" / "golden" / "tokenizer" / "small_bpe.gguf"
COMMANDS = ["serve", "run", "pull", "list", "show", "alias", "rm", "verify", "gc", "import", "export",
            "inspect", "tokenize", "template", "perplexity", "bench", "version"]


class Help(HearthTest):
    def test_no_arguments_help_and_the_flag_show_the_same_overview(self):
        overview = self.succeed()
        self.assertEqual(self.succeed("help"), overview)
        self.assertEqual(self.succeed("--help"), overview)
        for command in COMMANDS:
            self.assertRegex(overview, rf"(?m)^  {command} ")

    def test_every_command_explains_itself_without_doing_anything(self):
        for command in COMMANDS:
            text = self.succeed(command, "--help")
            self.assertIn(f"Usage: hearth {command}", text)
            self.assertEqual(self.succeed("help", command), text)

    def test_version_flag_prints_one_line(self):
        self.assertRegex(self.succeed("--version"), r"\Ahearth \d+\.\d+\.\d+\n\Z")


class WrongUse(HearthTest):
    def test_an_unknown_command_is_refused_with_a_suggestion(self):
        self.assertIn("did you mean serve?", self.refused(EXIT_USAGE, "srve"))

    def test_an_unknown_flag_is_refused_with_a_suggestion(self):
        text = self.refused(EXIT_USAGE, "serve", MODEL, "--prot=1")
        self.assertIn("--prot", text)
        self.assertIn("--port", text)

    def test_values_out_of_bounds_name_the_flag_and_the_bounds(self):
        text = self.refused(EXIT_USAGE, "serve", MODEL, "--port=65536")
        self.assertIn("--port", text)
        self.assertIn("65535", text)

    def test_a_missing_argument_is_named(self):
        self.assertIn("<model>", self.refused(EXIT_USAGE, "inspect"))
        self.assertIn("no model", self.refused(EXIT_USAGE, "serve"))

    def test_two_models_are_one_too_many(self):
        text = self.refused(EXIT_USAGE, "serve", "a.gguf", "--model=b.gguf")
        self.assertIn("a.gguf", text)
        self.assertIn("b.gguf", text)

    def test_unknown_variables_are_refused_with_a_suggestion(self):
        text = self.refused(EXIT_USAGE, "version", environment={"HEARTH_PROT": "1"})
        self.assertIn("HEARTH_PROT", text)
        self.assertIn("HEARTH_PORT", text)

    def test_a_bad_variable_is_named(self):
        text = self.refused(EXIT_USAGE, "serve", MODEL, environment={"HEARTH_PORT": "many"})
        self.assertIn("HEARTH_PORT", text)

    def test_a_bad_configuration_file_is_named_with_its_line(self):
        path = self.write("hearth.yaml", "port: 8080\nprot: 1\n")
        text = self.refused(EXIT_USAGE, "serve", MODEL, f"--config={path}")
        self.assertIn("line 2", text)
        broken = self.write("broken.yaml", "port: [1\n")
        self.assertIn("YAML", self.refused(EXIT_USAGE, "serve", MODEL, f"--config={broken}"))
        missing = self.folder / "missing.yaml"
        self.assertIn("missing.yaml", self.refused(EXIT_USAGE, "serve", MODEL, f"--config={missing}"))


class BadModels(HearthTest):
    COMMANDS = ["inspect", "tokenize", "run", "serve"]

    def refuse(self, model):
        texts = []
        for command in self.COMMANDS:
            extra = ["--port=0"] if command == "serve" else []
            texts.append(self.refused(EXIT_FAILURE, command, model, *extra, stdin="hello"))
        return texts

    def test_a_missing_file_is_named(self):
        for text in self.refuse(self.folder / "missing.gguf"):
            self.assertIn("missing.gguf", text)

    def test_something_else_than_a_model_is_named(self):
        for content in [b"", b"G", b"GGUF", b"not a model at all, just text\n", os.urandom(4096)]:
            for text in self.refuse(self.write("other.gguf", content)):
                self.assertIn("other.gguf", text)

    def test_a_truncated_model_is_refused_wherever_it_ends(self):
        content = MODEL.read_bytes()
        for length in [23, 24, 1000, 100_000, len(content) // 2, len(content) - 1]:
            for text in self.refuse(self.write("cut.gguf", content[:length])):
                self.assertIn("cut.gguf", text)

    def test_a_directory_stands_for_its_only_model(self):
        os.symlink(MODEL, self.folder / "only.gguf")
        self.write("README.md", "no model")
        self.assertEqual(self.succeed("tokenize", self.folder, "a b", "--json"),
                         self.succeed("tokenize", MODEL, "a b", "--json"))

    def test_a_directory_with_none_or_several_models_is_refused_with_the_candidates(self):
        for text in self.refuse(self.folder):
            self.assertIn("neither a .gguf file", text)
        os.symlink(MODEL, self.folder / "one.gguf")
        os.symlink(MODEL, self.folder / "two.gguf")
        for text in self.refuse(self.folder):
            self.assertIn("one.gguf, two.gguf", text)


class Version(HearthTest):
    def test_names_kernels_and_cpu(self):
        facts = json.loads(self.succeed("version", "--json"))
        self.assertEqual(set(facts), {"version", "compiler", "build_type", "cpu_features", "kernels"})
        chosen = [kernels["name"] for kernels in facts["kernels"] if kernels["chosen"]]
        self.assertEqual(len(chosen), 1)
        self.assertEqual(facts["kernels"][-1]["name"], "reference")
        text = self.succeed("version")
        self.assertIn(facts["version"], text)
        self.assertRegex(text, rf"(?m)^{chosen[0]} +chosen")


class Inspect(HearthTest):
    def test_json_holds_the_facts_of_the_file(self):
        facts = json.loads(self.succeed("inspect", MODEL, "--json", "--context=2048",
                                        "--concurrency=4"))
        self.assertEqual(facts["architecture"], "llama")
        self.assertEqual(facts["file_bytes"], MODEL.stat().st_size)
        self.assertEqual(facts["num_parameters"], 134_515_008)
        self.assertEqual([facts[name] for name in ["num_layers", "hidden_size", "num_heads",
                                                   "num_kv_heads", "head_dim", "vocab_size"]],
                         [30, 576, 9, 3, 64, 49152])
        self.assertEqual(sum(row["num_parameters"] for row in facts["tensor_types"]), 134_515_008)
        self.assertTrue(facts["servable"], facts["obstacles"])
        self.assertTrue(facts["chat_template_usable"])
        self.assertIn("<|im_start|>", facts["chat_template"])
        memory = facts["memory"]
        # 30 layers, keys and values, 3 heads of 64 values of 2 bytes.
        self.assertEqual(memory["kv_bytes"], 4 * 2048 * 30 * 2 * 3 * 64 * 2)
        self.assertEqual(memory["kv_cache_dtype"], "f16")
        self.assertEqual(memory["total_bytes"], memory["weight_bytes"] + memory["kv_bytes"] +
                         memory["activation_bytes"])

    def test_an_8_bit_cache_takes_a_byte_per_value_and_a_scale_per_32(self):
        facts = json.loads(self.succeed("inspect", MODEL, "--json", "--context=2048",
                                        "--concurrency=4", "--kv-cache-dtype=q8_0"))
        self.assertEqual(facts["memory"]["kv_cache_dtype"], "q8_0")
        self.assertEqual(facts["memory"]["kv_bytes"], 4 * 2048 * 30 * 2 * 3 * (64 + 2 * 2))

    def test_text_names_the_same_facts(self):
        text = self.succeed("inspect", MODEL)
        for fact in ["llama", "30 layers", "134.5 M", "Q4_1", "smollm", "8192 tokens", "available"]:
            self.assertIn(fact, text)

    def test_experts_are_counted(self):
        mixture = MODELS / "qwen2moe.gguf"
        self.assertIn("3 of 6 experts of 16 per token and a shared one of 24",
                      self.succeed("inspect", mixture))
        self.assertEqual(json.loads(self.succeed("inspect", mixture, "--json"))["num_experts"], 6)

    def test_a_vocabulary_alone_is_shown_and_named_as_such(self):
        text = self.succeed("inspect", VOCABULARY)
        self.assertRegex(text, r"not servable +.*vocabulary alone")
        self.assertIn("byte-level BPE", text)
        self.assertFalse(json.loads(self.succeed("inspect", VOCABULARY, "--json"))["servable"])


class Tokenize(HearthTest):
    IDS = [19556, 28, 905, 17]  # "Hello, world!" by the reference implementation.

    def test_json_lists_the_ids(self):
        self.assertEqual(json.loads(self.succeed("tokenize", MODEL, "Hello, world!", "--json")), self.IDS)

    def test_the_table_shows_ids_and_pieces(self):
        text = self.succeed("tokenize", MODEL, "Hello, world!")
        for word in [*map(str, self.IDS), '"\u0120world"', "4 tokens", "smollm"]:
            self.assertIn(word, text)

    def test_standard_input_is_read_exactly(self):
        content = " two  blanks\r\n\ttab \u00e9\u4e2d\U0001f600 end\n\n"
        for arguments in [[], ["-"]]:
            ids = self.succeed("tokenize", MODEL, *arguments, "--json", stdin=content)
            back = hearth("tokenize", MODEL, "--detokenize", stdin=ids)
            self.assertEqual(back.stdout, content.encode())

    def test_detokenize_reads_every_form_of_ids(self):
        for form in ["19556 28 905 17", "19556,28,905,17", "[19556, 28,\n905, 17]"]:
            self.assertEqual(self.succeed("tokenize", MODEL, "--detokenize", form), "Hello, world!")

    def test_detokenize_refuses_what_is_not_an_id(self):
        for wrong in ["49152", "-- -1", "12x", "1.5"]:
            arguments = wrong.split()
            self.assertIn("49151", self.refused(EXIT_FAILURE, "tokenize", MODEL, "--detokenize", *arguments))

    def test_control_tokens_are_parsed_only_when_asked(self):
        parsed = json.loads(self.succeed("tokenize", MODEL, "<|im_end|>", "--json"))
        plain = json.loads(self.succeed("tokenize", MODEL, "<|im_end|>", "--json", "--no-parse-special"))
        self.assertEqual(parsed, [2])
        self.assertGreater(len(plain), 1)
        self.assertEqual(self.succeed("tokenize", MODEL, "--detokenize", "2 28"), "<|im_end|>,")
        self.assertEqual(self.succeed("tokenize", MODEL, "--detokenize", "2 28", "--no-special"), ",")

    def test_a_vocabulary_alone_is_enough(self):
        ids = self.succeed("tokenize", VOCABULARY, "Hello world", "--json")
        self.assertEqual(self.succeed("tokenize", VOCABULARY, "--detokenize", ids), "Hello world")

    def test_an_empty_text_has_no_tokens(self):
        self.assertEqual(self.succeed("tokenize", MODEL, "", "--json"), "[]\n")


class Template(HearthTest):
    CONTEXT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
               "add_generation_prompt": True}
    PROMPT = ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
              "<|im_start|>assistant\n")

    def test_prints_the_prompt_of_the_models_own_template_exactly(self):
        path = self.write("context.json", json.dumps(self.CONTEXT))
        self.assertEqual(self.succeed("template", MODEL, path), self.PROMPT)
        for arguments in [[], ["-"]]:
            text = self.succeed("template", MODEL, *arguments, stdin=json.dumps(self.CONTEXT))
            self.assertEqual(text, self.PROMPT)

    def test_special_tokens_come_from_the_model_unless_given(self):
        path = self.write("t.jinja", "[{{ bos_token }}|{{ eos_token }}]")
        self.assertEqual(self.succeed("template", path, stdin='{"bos_token": "B"}'), "[B|]")

    def test_errors_name_their_source(self):
        bad = self.write("bad.jinja", "line\n{% if %}")
        self.assertIn("2", self.refused(EXIT_FAILURE, "template", bad, stdin="{}"))
        good = self.write("good.jinja", "{{ raise_exception('roles must alternate') }}")
        self.assertIn("roles must alternate", self.refused(EXIT_FAILURE, "template", good, stdin="{}"))
        self.assertIn("standard input", self.refused(EXIT_FAILURE, "template", good, stdin="{"))
        self.assertIn("object", self.refused(EXIT_FAILURE, "template", good, stdin="[]"))
        self.assertIn("none.json", self.refused(EXIT_FAILURE, "template", good, "none.json"))


class Output(HearthTest):
    def test_a_reader_that_leaves_ends_the_command_quietly(self):
        text = "word " * 200_000
        process = subprocess.Popen([BINARY, "tokenize", MODEL], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=clean_environment())
        process.stdout.close()
        process.stdin.write(text.encode())
        process.stdin.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        process.wait()

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BINARY, "version"], stdout=full, stderr=subprocess.PIPE,
                                  env=clean_environment(), check=False)
        self.assertEqual(done.returncode, EXIT_FAILURE)
        self.assertIn(b"standard output", done.stderr)


if __name__ == "__main__":
    unittest.main()
