"""`hearth serve` with several models: which one answers, loading and unloading, one memory budget, and
files that are lost under a running server."""

import concurrent.futures
import json
import os
import random
import shutil

from hearth_e2e import (EXIT_FAILURE, EXIT_OK, EXIT_USAGE, GOLDEN, HearthTest, MODEL, Server, poll)

GREEDY = json.loads((GOLDEN / "greedy_chat.json").read_text())["answers"][0]
TOKEN = "e2e-token"
SMALL = ["--kv-cache-bytes=64MiB", "--max-model-len=256", "--max-num-seqs=4"]
TOKENS = len(GREEDY["text"].split()) // 2  # A prefix of the golden answer is enough here.


class Models(Server):
    """A server of several models with an admin token."""

    def __init__(self, *models, options=()):
        super().__init__(*SMALL, *options, models=models, HEARTH_ADMIN_TOKEN=TOKEN)

    def answer(self, name):
        """(status, text or error message) of the golden prompt."""
        body = {"model": name, "messages": [{"role": "user", "content": GREEDY["prompt"]}],
                "temperature": 0, "max_tokens": TOKENS}
        status, text, headers = self.request("POST", "/v1/chat/completions", body)
        answer = json.loads(text)
        if status == 200:
            return status, answer["choices"][0]["message"]["content"]
        if status == 503:
            assert "retry-after" in headers, text
        return status, answer["error"]["message"]

    def admin(self, action, name, **fields):
        return self.request("POST", f"/admin/models/{action}", {"model": name} | fields, TOKEN)

    def status_of(self, name):
        return json.loads(self.request("GET", f"/v1/models/{name}")[1])["status"]

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["RssAnon"].split()[0]) * 1024


class SeveralModels(HearthTest):
    def check_golden(self, answer):
        status, text = answer
        self.assertEqual(status, 200, text)
        self.assertTrue(text and GREEDY["text"].startswith(text), text)

    def copy(self, name):
        return shutil.copy(MODEL, self.folder / name)

    def test_models_answer_side_by_side_come_and_go(self):
        with Models(f"first,alias={MODEL}", f"second={MODEL}") as server:
            with concurrent.futures.ThreadPoolExecutor(6) as clients:
                for answer in clients.map(server.answer, ["first", "alias", "second"] * 2):
                    self.check_golden(answer)
            self.assertEqual(server.answer("third")[0], 404)
            before = server.resident_bytes()
            self.assertEqual(server.admin("unload", "second")[0], 200)
            # The weights' copies, the activations and the touched part of the cache.
            self.assertLess(server.resident_bytes(), before - (16 << 20))
            self.assertEqual(server.answer("second")[0], 503)
            self.check_golden(server.answer("first"))
            self.assertEqual(server.admin("load", "second")[0], 200)
            self.check_golden(server.answer("second"))
            self.assertEqual(server.request("GET", "/healthz")[0], 200)
            metrics = server.request("GET", "/metrics")[1]
            self.assertRegex(metrics, r'(?m)^hearth_generation_tokens_total\{model="second"\} [1-9]')
            self.assertEqual(server.stop()[0], EXIT_OK)

    def test_one_budget_holds_one_model_at_a_time(self):
        options = ["--memory-budget=200MiB", "--load-on-demand"]
        with Models(f"first={MODEL}", f"second={MODEL}", options=options) as server:
            self.assertEqual(server.status_of("first"), "unloaded")
            for name in ["first", "second", "first"]:
                self.check_golden(server.answer(name))
            self.assertEqual(server.status_of("second"), "unloaded")
            self.assertGreaterEqual(server.metric("hearth_model_unloads_total"), 2)
            self.assertEqual(server.stop()[0], EXIT_OK)

    def test_a_storm_of_loads_unloads_and_answers(self):
        def client(seed):
            choose = random.Random(seed)
            answers = []
            for _ in range(8):
                name = choose.choice(["first", "second"])
                action = choose.choice(["answer", "answer", "load", "unload"])
                if action == "answer":
                    answers.append(server.answer(name))
                else:
                    fields = {} if action == "load" else {"patience_seconds": choose.choice([0, 60])}
                    self.assertIn(server.admin(action, name, **fields)[0], [200, 409])
            return answers

        with Models(f"first={MODEL}", f"second={MODEL}", options=["--load-on-demand"]) as server:
            with concurrent.futures.ThreadPoolExecutor(4) as clients:
                for answers in clients.map(client, range(4)):
                    for answer in answers:
                        if answer[0] != 503:  # Cut by an unload without patience.
                            self.check_golden(answer)
            self.check_golden(server.answer("first"))
            self.assertEqual(server.stop()[0], EXIT_OK)

    def test_a_file_cut_short_fails_its_model_alone(self):
        lost = self.copy("lost.gguf")
        with Models(f"good={MODEL}", f"bad={lost}") as server:
            self.check_golden(server.answer("bad"))
            os.truncate(lost, os.path.getsize(lost) // 3)
            status, message = server.answer("bad")
            self.assertEqual(status, 503)
            self.assertIn("lost.gguf", message)
            poll(lambda: server.status_of("bad") == "failed")
            self.assertIn("lost.gguf", server.answer("bad")[1])
            self.check_golden(server.answer("good"))
            self.assertEqual(server.request("GET", "/readyz")[0], 200)
            self.assertEqual(server.admin("load", "bad")[0], 422)
            shutil.copy(MODEL, lost)
            self.assertEqual(server.admin("load", "bad")[0], 200)
            self.check_golden(server.answer("bad"))
            self.assertEqual(server.stop()[0], EXIT_OK)

    def test_a_model_that_cannot_be_loaded_is_named(self):
        broken = self.write("broken.gguf", b"GGUF")
        self.assertIn("'bad'", self.refused(EXIT_FAILURE, "serve", f"good={MODEL}", f"bad={broken}",
                                            "--port=0", "--log-level=off", *SMALL))
        self.assertIn("'same'", self.refused(EXIT_FAILURE, "serve", f"same={MODEL}", f"same={MODEL}"))
        self.assertIn("=", self.refused(EXIT_USAGE, "serve", f"={MODEL}"))


if __name__ == "__main__":
    import unittest
    unittest.main()
