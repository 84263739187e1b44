"""The model registry through the commands: import, list, serve by name, verify, remove, bundles."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import unittest

from hearth_e2e import (BINARY, DEADLINE_SECONDS, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, MODEL, ROOT,
                        HearthTest, clean_environment, hearth)

VOCABULARY = ROOT / "tests" / "golden" / "tokenizer" / "small_bpe.gguf"
SMALL_MODEL = ROOT / "tests" / "golden" / "models" / "qwen2.gguf"
HF_MODEL = ROOT / "tests" / "golden" / "hf" / "qwen2-sharded"
NAME = "org/small:F32"


class RegistryTest(HearthTest):
    def setUp(self):
        super().setUp()
        self.store = self.folder / "store"
        self.environment = {"HEARTH_MODELS_DIR": str(self.store), "HOME": str(self.folder)}

    def do(self, *arguments, **options):
        return self.succeed(*arguments, environment=self.environment, **options)

    def refuse(self, *arguments, exit_code=EXIT_FAILURE):
        return self.refused(exit_code, *arguments, environment=self.environment)

    def add(self, name=NAME, path=SMALL_MODEL):
        self.do("import", path, f"--name={name}")

    def names(self):
        return [model["name"] for model in json.loads(self.do("list", "--json"))]

    def assert_opens(self, name):
        """As SMALL_MODEL, but for the memory that is free just now."""
        facts, expected = (json.loads(self.do("inspect", model, "--json")) for model in (name, SMALL_MODEL))
        for key in ["architecture", "file_bytes", "num_parameters", "tensor_types"]:
            self.assertEqual(facts[key], expected[key])

    def blob(self):
        (path,) = (self.store / "blobs").iterdir()
        return path

    def damage(self, path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)


class Registry(RegistryTest):
    def test_it_begins_empty_and_says_how_to_fill_it(self):
        self.assertIn("hearth pull", self.do("list"))
        self.assertEqual(self.names(), [])
        self.assertFalse(self.store.exists())

    def test_what_is_imported_is_listed_shown_and_opened_by_name(self):
        self.add()
        self.assertEqual(self.names(), [NAME])
        self.assertIn(NAME, self.do("list"))
        facts = json.loads(self.do("show", "org/small:f32", "--json"))
        self.assertEqual(facts["size"], SMALL_MODEL.stat().st_size)
        self.assertEqual(pathlib.Path(facts["path"]).read_bytes(), SMALL_MODEL.read_bytes())
        self.assertIn(facts["files"][0]["sha256"], self.do("show", NAME))
        self.assert_opens("org/small")
        self.add(path=SMALL_MODEL)  # Again: nothing changes.
        self.assertEqual(self.names(), [NAME])

    def test_a_model_without_a_name_is_called_like_its_file(self):
        self.do("import", MODEL)
        self.assertEqual(self.names(), ["SmolLM2-135M-Instruct:Q4_1"])
        self.assertEqual(self.do("tokenize", "SmolLM2-135M-Instruct", "a b", "--json"),
                         self.do("tokenize", MODEL, "a b", "--json"))

    def test_a_directory_of_separate_files_and_a_split_file_are_imported_whole(self):
        model = self.folder / "some-model"
        model.mkdir()
        for name in ["config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin"]:
            (model / name).write_bytes(name.encode())
        self.do("import", model)
        facts = json.loads(self.do("show", "some-model", "--json"))
        self.assertEqual([file["path"] for file in facts["files"]],
                         ["config.json", "model.safetensors", "tokenizer.json"])
        self.assertTrue(pathlib.Path(facts["path"]).is_dir())
        for part in "12":
            self.write(f"m-Q4_0-0000{part}-of-00002.gguf", b"GGUF" + part.encode())
        self.do("import", self.folder / "m-Q4_0-00001-of-00002.gguf")
        facts = json.loads(self.do("show", "m:Q4_0", "--json"))
        self.assertEqual(len(facts["files"]), 2)
        self.assertTrue(facts["path"].endswith("m-Q4_0-00001-of-00002.gguf"))

    def test_what_is_no_model_is_not_imported(self):
        self.assertIn("missing.gguf", self.refuse("import", self.folder / "missing.gguf"))
        self.assertIn("neither", self.refuse("import", self.write("x.gguf", b"text")))
        self.assertIn("not a regular file", self.refuse("import", "/dev/null"))
        os.mkfifo(self.folder / "fifo")
        self.refuse("import", self.folder / "fifo")
        (self.folder / "empty").mkdir()
        self.assertIn("neither", self.refuse("import", self.folder / "empty"))
        self.assertEqual(self.names(), [])

    def test_an_alias_is_a_second_name(self):
        self.add()
        self.do("alias", NAME, "daily")
        self.assertEqual(sorted(self.names()), ["daily:latest", NAME])
        self.do("rm", NAME)
        self.assert_opens("daily")
        self.assertIn("not in the registry", self.refuse("alias", NAME, "x"))

    def test_rm_frees_what_nothing_needs(self):
        self.add()
        self.add("org/words", VOCABULARY)
        self.do("rm", NAME)
        self.assertEqual(self.names(), ["org/words:latest"])
        self.assertEqual(self.blob().read_bytes(), VOCABULARY.read_bytes())
        self.assertIn("not in the registry", self.refuse("rm", "org/words", NAME))
        self.assertEqual(self.names(), ["org/words:latest"])  # All or none.

    def test_gc_says_what_it_would_do_and_then_does_that(self):
        self.add()
        left = self.store / "blobs" / ("0" * 64)
        left.write_bytes(b"left")
        (self.store / "partial" / "git-x").write_bytes(b"unfinished")
        report = json.loads(self.do("gc", "--dry-run", "--json"))
        self.assertEqual([file["path"] for file in report["files"]],
                         [f"blobs/{'0' * 64}", "partial/git-x"])
        self.assertEqual((report["size"], left.exists()), (14, True))
        self.assertEqual(json.loads(self.do("gc", "--json"))["files"], report["files"])
        self.assertFalse(left.exists())
        self.assertEqual(json.loads(self.do("gc", "--json"))["files"], [])
        self.do("verify")

    def test_verify_names_the_damaged_file_and_repair_makes_room_for_a_good_one(self):
        self.add()
        self.assertIn("ok", self.do("verify", NAME))
        self.damage(self.blob())
        done = hearth("verify", environment=self.environment)
        self.assertEqual(done.returncode, EXIT_FAILURE)
        self.assertIn(b"DAMAGED  org/small:F32  qwen2.gguf", done.stdout)
        self.assertIn(b"qwen2.gguf", done.stderr)
        report = hearth("verify", "--json", "--repair", environment=self.environment)
        self.assertEqual([file["ok"] for file in json.loads(report.stdout)], [False])
        self.assertIn("qwen2.gguf", self.refuse("inspect", NAME))
        self.add()
        self.do("verify")
        self.do("inspect", NAME)

    def test_a_flipped_bit_keeps_a_model_from_being_loaded(self):
        self.add("tiny", MODEL)
        blob = self.blob()
        good = blob.read_bytes()
        blob.chmod(0o644)
        # Magic, version, vocabulary, weights, the last byte.
        for place in [0, 4, 1_000_000, 50_000_000, len(good) - 1]:
            with blob.open("r+b") as file:
                file.seek(place)
                file.write(bytes([good[place] ^ 8]))
            self.assertIn("is damaged: bytes", self.refuse("run", "tiny", "hi"))
            quantize = ["quantize", "tiny", "--to=q8_0", "--requantize"]
            done = hearth(*quantize, environment=self.environment)
            self.assertEqual(done.returncode, EXIT_FAILURE)
            self.assertIn(b"is damaged: bytes", done.stderr)
            blob.write_bytes(good)
        self.do("run", "tiny", "hi", "--max-tokens=1")

    def test_each_file_of_a_directory_is_compared_at_loading(self):
        model = self.folder / "model"
        shutil.copytree(HF_MODEL, model)
        (model / "chat_template.jinja").write_text("{{ messages[0].content }}")
        self.do("import", model, "--name=parts")
        facts = json.loads(self.do("show", "parts", "--json"))
        for file in facts["files"]:
            blob = self.store / "blobs" / file["sha256"]
            good = blob.read_bytes()
            self.damage(blob)
            done = hearth("run", "parts", "hi", environment=self.environment)
            self.assertEqual(done.returncode, EXIT_FAILURE)
            self.assertIn(b"damaged", done.stderr, file["path"])
            blob.write_bytes(good)

    def test_verify_makes_checksums_that_are_missing_or_damaged(self):
        self.add()
        (sums,) = (self.store / "sums").iterdir()
        good = sums.read_bytes()
        self.damage(sums)
        self.assertIn("hearth verify", self.refuse("inspect", NAME))
        self.assertIn("wrote the checksums", self.do("verify"))
        self.assertNotIn("wrote the checksums", self.do("verify"))
        self.assertEqual(sums.read_bytes(), good)
        sums.unlink()
        self.assert_opens(NAME)  # As stores of before had none.
        self.do("verify")
        self.assertEqual(sums.read_bytes(), good)
        self.do("rm", NAME)
        self.assertFalse(sums.exists())

    def test_an_empty_file_has_checksums_as_well(self):
        model = self.folder / "model"
        shutil.copytree(HF_MODEL, model)
        (model / "merges.txt").write_bytes(b"")
        self.do("import", model, "--name=parts")
        self.assertNotIn("wrote", self.do("verify"))

    def test_an_import_that_dies_at_any_step_lists_nothing_or_everything(self):
        points = self.refuse("import", MODEL, "--failpoint=none", exit_code=EXIT_USAGE)
        points = points.strip().rsplit(": ", 1)[1].split(", ")
        self.add()
        for point in points:
            shutil.rmtree(self.store)
            done = hearth("import", SMALL_MODEL, f"--name={NAME}", f"--failpoint={point}",
                          environment=self.environment)
            if done.returncode == EXIT_OK:
                continue  # A step of downloads alone.
            self.assertEqual(done.returncode, -signal.SIGKILL)
            self.assertEqual(self.names(), [NAME] if point == "manifest-done" else [])
            self.do("gc")
        self.add()
        self.do("verify")
        for point in points:
            shutil.rmtree(self.store)
            done = hearth("import", SMALL_MODEL, f"--name={NAME}", f"--failpoint={point}=full",
                          environment=self.environment)
            if done.returncode != EXIT_OK:
                self.assertIn(b"No space left", done.stderr)
        self.add()
        self.assertEqual(json.loads(self.do("gc", "--json"))["files"], [])


class Names(RegistryTest):
    def test_an_unknown_name_says_how_to_get_it(self):
        for command in ["serve", "run", "inspect", "tokenize"]:
            extra = [] if command in ("serve", "inspect") else ["hello"]
            self.assertIn("hearth pull nosuch/model:Q4_0",
                          self.refuse(command, "nosuch/model:Q4_0", *extra))

    def test_no_name_leads_out_of_the_registry(self):
        self.add()
        for name in ["../x", "org/../x", "...", "%2e%2e/x", "/dev/zero/x", "org/small:../../x",
                     "org/small@../x", "a" * 10_000, "org//small", "org/small/", "~/x"]:
            self.assertIn("does not exist", self.refuse("inspect", name))
            self.refuse("show", name)
            self.refuse("rm", name)
            self.refuse("alias", NAME, name)
            self.refuse("import", MODEL, f"--name={name}", exit_code=EXIT_USAGE)
        self.assertEqual(self.names(), [NAME])
        self.assertEqual(os.listdir(self.folder), ["store"])

    def test_a_file_of_that_name_comes_first(self):
        self.add("thing", VOCABULARY)
        shutil.copy(MODEL, self.folder / "thing")
        self.assertEqual(self.do("tokenize", "thing", "a b", "--json", cwd=self.folder),
                         self.do("tokenize", MODEL, "a b", "--json"))

    def test_links_that_lead_out_are_refused(self):
        self.add()
        blob = self.blob()
        outside = self.folder / "outside"
        blob.rename(outside)
        blob.symlink_to(outside)
        self.assertIn("damaged", self.refuse("inspect", NAME))
        blob.unlink()
        os.mkfifo(blob)
        self.assertIn("damaged", self.refuse("inspect", NAME))

    def test_the_registry_lies_with_the_users_data(self):
        for variables, place in [({"XDG_DATA_HOME": str(self.folder / "data")}, "data"),
                                 ({"XDG_DATA_HOME": "relative"}, ".local/share"),
                                 ({"XDG_DATA_HOME": ""}, ".local/share")]:
            self.environment = {"HOME": str(self.folder)} | variables
            self.add()
            self.assertTrue((self.folder / place / "hearth/models/blobs").is_dir())
        self.environment = {"HOME": "", "XDG_DATA_HOME": ""}
        self.assertIn("--models-dir", self.refuse("list"))


class Bundles(RegistryTest):
    def test_a_bundle_moves_a_model_to_another_machine(self):
        self.add()
        bundle = self.folder / "small.tar"
        self.do("export", NAME, bundle)
        with tarfile.open(bundle) as archive:
            head, blob = archive.getnames()
        self.assertRegex(head, r"\Ahearth-bundle-[0-9a-f]{64}\.json\Z")
        self.assertEqual(blob, f"blobs/{self.blob().name}")
        self.environment["HEARTH_MODELS_DIR"] = str(self.folder / "other")
        self.do("import", bundle)
        self.do("import", bundle, "--name=mine")
        self.assertEqual(sorted(self.names()), ["mine:F32", NAME])
        self.do("verify")
        self.do("inspect", "mine")

    def test_a_damaged_or_foreign_archive_is_refused(self):
        self.add()
        bundle = self.folder / "small.tar"
        self.do("export", NAME, bundle)
        self.environment["HEARTH_MODELS_DIR"] = str(self.folder / "other")
        self.damage(bundle)
        self.assertIn("sha256", self.refuse("import", bundle))
        with tarfile.open(bundle, "w") as archive:
            archive.add(MODEL.resolve(), "../../escape.gguf")
        self.assertIn("no bundle", self.refuse("import", bundle))
        self.assertEqual(self.names(), [])
        self.assertFalse((self.folder.parent / "escape.gguf").exists())

    def test_a_damaged_model_is_not_exported(self):
        self.add()
        self.damage(self.blob())
        self.assertIn("damaged", self.refuse("export", NAME, self.folder / "small.tar"))
        self.assertEqual(sorted(os.listdir(self.folder)), ["store"])


class ReadOnly(RegistryTest):
    """A shared volume that this process may only read."""

    def run_without_rights(self, *arguments):
        """Write permission means nothing to root, who therefore becomes somebody else."""
        options = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, check=False,
                              env=clean_environment(**self.environment), cwd=self.folder,
                              timeout=DEADLINE_SECONDS, **options)

    def setUp(self):
        super().setUp()
        self.add()
        self.binary = shutil.copy(BINARY, self.folder / "hearth")  # Where everybody may read it.
        self.folder.chmod(0o755)
        for path in [self.store, *self.store.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        self.addCleanup(self.make_writable)
        self.before = self.state()

    def make_writable(self):
        for path in [self.store, *self.store.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)

    def state(self):
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
                for path in [self.store, *self.store.rglob("*")]}

    def test_everything_that_reads_works_and_writes_nothing(self):
        for arguments in [["list"], ["show", NAME], ["verify"], ["inspect", NAME], ["gc", "--dry-run"],
                          ["list", "--json"]]:
            done = self.run_without_rights(*arguments)
            self.assertEqual((done.returncode, done.stderr), (EXIT_OK, b""), done)
        self.assertEqual(self.state(), self.before)

    def test_everything_that_writes_says_so(self):
        source = self.folder / "m.gguf"
        shutil.copyfile(VOCABULARY, source)
        source.chmod(0o644)
        for arguments in [["import", source], ["alias", NAME, "x"], ["rm", NAME], ["gc"],
                          ["pull", "org/x", "--hub=http://127.0.0.1:9"]]:
            done = self.run_without_rights(*arguments)
            self.assertEqual(done.returncode, EXIT_FAILURE, done)
            self.assertRegex(done.stderr, rb"cannot (write|remove)|registry")
        self.assertEqual(self.state(), self.before)


if __name__ == "__main__":
    unittest.main()
