"""`hearth bench serve` and `bench report` against a real server."""

import csv
import json
import signal
import subprocess
import unittest
import xml.etree.ElementTree

from hearth_e2e import (BINARY, DEADLINE_SECONDS, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, HearthTest,
                        Server, clean_environment, hearth)

PLOTS = ["throughput", "ttft", "itl", "e2e"]


class BenchServe(HearthTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.__exit__)
        cls.target = "http://{}:{}".format(*cls.server.address)

    def bench(self, name, *arguments, **options):
        """Runs a small benchmark into the folder `name`; (finished process, folder)."""
        folder = self.folder / name
        done = hearth("bench", "serve", "--target", self.target, "--output", folder, "--requests=4",
                      "--warmup-requests=1", "--output-tokens=8", "--prompt-tokens=48", *arguments,
                      **options)
        return done, folder

    def rows(self, folder):
        with (folder / "summary.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def check_plots(self, folder, kind):
        for name in PLOTS:
            picture = folder / f"{name}-{kind}.svg"
            self.assertTrue(xml.etree.ElementTree.parse(picture).getroot().tag.endswith("svg"))
            self.assertEqual(picture.with_suffix(".png").read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_a_sweep_counts_exactly_and_writes_every_file(self):
        done, folder = self.bench("sweep", "--concurrency=1,2")
        self.assertEqual(done.returncode, EXIT_OK, done)
        self.assertEqual(len(done.stderr.decode().splitlines()), 2, done.stderr)
        rows = self.rows(folder)
        self.assertEqual([row["load"] for row in rows], ["1", "2"])
        for row in rows:
            self.assertEqual((row["successful"], row["errored"], row["incomplete"]), ("4", "0", "0"))
            self.assertEqual(float(row["mean_prompt_tokens"]), 48)
            self.assertEqual(float(row["mean_cached_tokens"]), 0)
            self.assertEqual(float(row["mean_output_tokens"]), 8)
            self.assertGreater(float(row["ttft_ms_p50"]), 0)
            self.assertGreaterEqual(float(row["ttft_ms_p99"]), float(row["ttft_ms_p50"]))
            self.assertGreater(float(row["e2e_ms_min"]), float(row["ttft_ms_min"]))
            self.assertGreater(float(row["output_tokens_per_s"]), 0)
        for load in [1, 2]:
            level = json.loads((folder / f"level-concurrency-{load}.json").read_text())
            self.assertEqual(len(level["requests"]), 4)
            self.assertEqual({request["outcome"] for request in level["requests"]}, {"successful"})
        self.check_plots(folder, "concurrency")
        page = (folder / "report.html").read_text()
        self.assertEqual(page.count("data:image/svg+xml,"), 4)
        self.assertIn(self.server.model, page)
        run = json.loads((folder / "run.json").read_text())
        self.assertEqual(run["settings"]["prompts"], "random token ids from 1000 to 29999")
        self.assertEqual(run["server"]["models"]["data"][0]["id"], self.server.model)

    def test_an_open_loop_over_chat_and_a_report_of_two_runs(self):
        done, chat = self.bench("chat", "--rates=50", "--endpoint=chat", "--label=first")
        self.assertEqual(done.returncode, EXIT_OK, done)
        self.assertEqual(float(self.rows(chat)[0]["mean_prompt_tokens"]), 48)
        prompts = self.write("prompts.jsonl", '{"prompt": "One."}\n{"prompt": "Two, three."}\n')
        done, texts = self.bench("texts", "--rates=50", "--dataset", prompts, "--label=second")
        self.assertEqual(done.returncode, EXIT_OK, done)
        both = self.folder / "both"
        self.succeed("bench", "report", chat, texts, "--output", both)
        self.assertEqual([row["run"] for row in self.rows(both)], ["first", "second"])
        self.check_plots(both, "rate")

    def test_a_shared_prefix_comes_from_the_cache(self):
        done, folder = self.bench("shared", "--concurrency=1", "--shared-prefix-tokens=32")
        self.assertEqual(done.returncode, EXIT_OK, done)
        self.assertEqual(float(self.rows(folder)[0]["mean_cached_tokens"]), 32)

    def test_requests_that_fail_are_counted_and_decide_the_exit_code(self):
        done, folder = self.bench("late", "--concurrency=1", "--request-timeout=1ms",
                                  "--dataset", self.write("p.jsonl", '{"prompt": "a"}'))
        self.assertEqual(done.returncode, EXIT_FAILURE, done)
        self.assertIn("4 requests errored and 0 stayed incomplete", done.stderr.decode())
        self.assertIn("no complete answer within 0.001 s", done.stderr.decode())
        self.assertEqual(self.rows(folder)[0]["errored"], "4")

    def test_ctrl_c_keeps_what_was_measured(self):
        folder = self.folder / "stopped"
        process = subprocess.Popen(
            [BINARY, "bench", "serve", "--target", self.target, "--output", folder,
             "--concurrency=1,2", "--requests=3", "--output-tokens=300", "--prompt-tokens=8"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(), text=True)
        self.assertIn("concurrency 1: 3 successful", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, EXIT_FAILURE, errors)
        self.assertIn("hearth: interrupted", errors)
        run = json.loads((folder / "run.json").read_text())
        self.assertTrue(run["interrupted"])
        self.assertEqual(run["levels"][0]["successful"], 3)
        self.assertTrue((folder / "report.html").exists())

    def test_mistakes_are_one_clear_line(self):
        def refused(exit_code, *arguments):
            return self.refused(exit_code, "bench", "serve", *arguments)

        self.assertIn("--target", refused(EXIT_USAGE))
        self.assertIn("TLS", refused(EXIT_USAGE, "--target=https://localhost"))
        text = refused(EXIT_USAGE, "--target", self.target, "--api-key=a\nSesame: b")
        self.assertIn("--api-key", text)
        self.assertNotIn("Sesame", text)
        self.assertIn("given twice", refused(EXIT_USAGE, "--target", self.target,
                                             "--concurrency=1,1"))
        self.assertIn("--concurrency 8", refused(EXIT_USAGE, "--target", self.target,
                                                 "--concurrency=8", "--requests=7"))
        self.assertIn("Connection refused", refused(EXIT_FAILURE, "--target=http://127.0.0.1:1"))
        self.assertIn("status 404", refused(EXIT_FAILURE, "--target", self.target + "/wrong"))
        text = refused(EXIT_FAILURE, "--target", self.target, "--model=other")
        self.assertIn("'other'", text)
        self.assertIn(self.server.model, text)
        self.assertIn("run.json", self.refused(EXIT_FAILURE, "bench", "report", self.folder))

    def test_the_key_is_never_shown(self):
        done, folder = self.bench("key", "--concurrency=1",
                                  environment={"HEARTH_API_KEY": "open-sesame"})
        self.assertEqual(done.returncode, EXIT_OK, done)
        for path in folder.iterdir():
            self.assertNotIn(b"open-sesame", path.read_bytes(), path)
        self.assertNotIn(b"open-sesame", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
