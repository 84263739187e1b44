"""`hearth serve` with the default model, from the first line of output to the exit code."""

import concurrent.futures
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import unittest

from hearth_e2e import (BINARY, EXIT_FAILURE, EXIT_OK, GOLDEN, HearthTest, MODEL, Server,
                        clean_environment, poll)

GREEDY = json.loads((GOLDEN / "greedy_chat.json").read_text())["answers"]
LONG = {"messages": [{"role": "user", "content": "Tell a long story."}], "temperature": 0,
        "stream": True, "ignore_eos": True}


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


class Stream:
    """A streaming chat request that stays open; events are read one by one."""

    def __init__(self, server, body):
        self.socket = socket.create_connection(server.address)
        content = json.dumps(body | {"model": server.model}).encode()
        self.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                            b"Content-Type: application/json\r\nConnection: close\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self.file = self.socket.makefile("rb")

    def next_event(self):
        """Data of the next event; None when the connection has ended."""
        for line in self.file:
            if line.startswith(b"data: "):
                return line[6:].strip().decode()
        return None

    def events(self):
        return list(iter(self.next_event, None))

    def close(self):
        self.file.close()
        self.socket.close()


class WhileServing(HearthTest):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--max-num-seqs=8"))

    @classmethod
    def enterClassContext(cls, context):
        cls.addClassCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def test_the_startup_block_names_model_memory_and_address(self):
        for fact in ["SmolLM2-135M-Instruct.Q4_1", "llama", "134.5 M", "Q4_1", "cpu (", "8192",
                     "weights", "keys and values", "activations", f":{self.server.address[1]}"]:
            self.assertIn(fact, self.server.startup_text)
        self.assertNotIn(" 0 bytes", self.server.startup_text)

    def test_health_readiness_and_metrics_answer(self):
        for path in ["/readyz", "/healthz", "/metrics"]:
            self.assertEqual(self.server.request("GET", path)[0], 200, path)
        metrics = self.server.request("GET", "/metrics")[1]
        self.assertRegex(metrics, r'(?m)^hearth_model_info\{.*Q4_1')
        self.assertRegex(metrics, r'(?m)^hearth_build_info\{')

    def test_greedy_answers_are_the_golden_ones(self):
        for golden in GREEDY:
            answer = self.server.chat(golden["prompt"])
            self.assertEqual(text_of(answer), golden["text"])
            self.assertEqual(answer["usage"]["completion_tokens"], golden["completion_tokens"])
            self.assertEqual(answer["usage"]["prompt_tokens"], golden["prompt_tokens"])
            self.assertEqual(answer["choices"][0]["finish_reason"], golden["finish_reason"])

    def test_a_stream_adds_up_to_the_same_text(self):
        golden = GREEDY[0]
        stream = Stream(self.server, {"messages": [{"role": "user", "content": golden["prompt"]}],
                                      "temperature": 0, "max_tokens": 48, "stream": True})
        with contextlib.closing(stream):
            events = stream.events()
        self.assertEqual(events.pop(), "[DONE]")
        chunks = [json.loads(event) for event in events]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        self.assertEqual(text, golden["text"])
        self.assertGreater(len(chunks), 5)

    def test_parallel_answers_are_the_same_bits_as_alone(self):
        def sampled(golden):
            return self.server.chat(golden["prompt"], temperature=0.8, seed=7, max_tokens=24,
                                    logprobs=True, top_logprobs=3)["choices"][0]

        alone = [sampled(golden) for golden in GREEDY]
        with concurrent.futures.ThreadPoolExecutor(2 * len(GREEDY)) as clients:
            sampled_together = clients.map(sampled, GREEDY)
            greedy_together = clients.map(lambda golden: self.server.chat(golden["prompt"]), GREEDY)
            for alone_choice, choice in zip(alone, sampled_together):
                self.assertEqual(choice, alone_choice)
            for golden, answer in zip(GREEDY, greedy_together):
                self.assertEqual(text_of(answer), golden["text"])

    def test_a_killed_client_frees_its_place(self):
        body = json.dumps(LONG | {"model": self.server.model, "max_tokens": 8000})
        script = ("import http.client, sys\n"
                  "c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]))\n"
                  "c.request('POST', '/v1/chat/completions', sys.argv[3],"
                  " {'Content-Type': 'application/json'})\n"
                  "r = c.getresponse()\n"
                  "while r.readline(): print('line', flush=True)\n")
        before = self.server.metric("hearth_http_client_disconnects_total")
        client = subprocess.Popen([sys.executable, "-c", script, self.server.address[0],
                                   str(self.server.address[1]), body], stdout=subprocess.PIPE)
        client.stdout.readline()
        self.assertEqual(self.server.metric("hearth_num_requests_running"), 1)
        client.kill()
        client.communicate()
        poll(lambda: self.server.metric("hearth_num_requests_running") == 0)
        poll(lambda: self.server.metric("hearth_http_client_disconnects_total") == before + 1)
        self.assertEqual(text_of(self.server.chat(GREEDY[0]["prompt"])), GREEDY[0]["text"])

    def test_a_port_in_use_is_refused_with_its_number(self):
        port = self.server.address[1]
        self.assertIn(str(port), self.refused(EXIT_FAILURE, "serve", MODEL, f"--port={port}"))

    def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(self):
        body = {"model": self.server.model, "messages": [{"role": "user", "content": "word " * 9000}]}
        status, text, _ = self.server.request("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 400)
        self.assertEqual(json.loads(text)["error"]["code"], "context_length_exceeded")
        self.assertIn("8192", text)


class Options(HearthTest):
    def test_the_way_kserve_calls_it(self):
        (self.folder / "model.gguf").symlink_to(MODEL)
        process = subprocess.Popen(
            [BINARY, "serve", "--port=0", "--served-model-name=x", f"--model={self.folder}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(), text=True)
        with process:
            ready = next(line for line in process.stdout if line.startswith("  ready"))
            host, port = re.search(r"http://(.+):(\d+)", ready).groups()
            client = Server.__new__(Server)
            client.address = (host, int(port))
            self.assertEqual(client.model, "x")
            process.send_signal(signal.SIGTERM)
            process.communicate()
        self.assertEqual(process.returncode, EXIT_OK)

    def test_flag_wins_over_variable_and_variable_over_file(self):
        config = self.write("hearth.yaml", "served-model-name: file\nmax-model-len: 64\n"
                                           "max-num-seqs: 3\n")
        with Server("--served-model-name=flag", f"--config={config}",
                    HEARTH_SERVED_MODEL_NAME="variable", HEARTH_MAX_NUM_SEQS="2") as server:
            self.assertEqual(server.model, "flag")
            self.assertIn("64 tokens per sequence, 2 sequences", server.startup_text)
            self.assertEqual(server.stop()[0], EXIT_OK)

    def test_every_kernel_set_gives_the_same_answer(self):
        kernels = json.loads(self.succeed("version", "--json"))["kernels"]
        golden = GREEDY[0]
        for row in kernels:
            arguments = ["run", MODEL, golden["prompt"], "--temperature=0", "--max-tokens=12",
                         f"--kernels={row['name']}"]
            if row["supported"]:
                answer = self.succeed(*arguments).rstrip("\n")
                self.assertTrue(golden["text"].startswith(answer), (row["name"], answer))
            else:
                self.assertIn(row["name"], self.refused(EXIT_FAILURE, *arguments))


class Golden(unittest.TestCase):
    def test_llama_cpp_agrees_wherever_its_choice_was_clear(self):
        self.assertTrue(any(golden["clear"] for golden in GREEDY))
        for golden in GREEDY:
            if golden["clear"]:
                self.assertEqual(golden["text"], golden["llama_cpp"]["text"])


class Shutdown(HearthTest):
    def test_sigterm_lets_answers_end_and_exits_with_success(self):
        with Server() as server, contextlib.closing(
                Stream(server, LONG | {"max_tokens": 64})) as stream:
            stream.next_event()
            server.process.send_signal(signal.SIGTERM)
            events = stream.events()
            self.assertEqual(events[-1], "[DONE]")
            self.assertEqual(json.loads(events[-2])["choices"][0]["finish_reason"], "length")
            self.assertEqual(server.wait()[0], EXIT_OK)

    def test_answers_that_take_too_long_end_with_an_error(self):
        with Server("--shutdown-timeout=1ms") as server, contextlib.closing(
                Stream(server, LONG | {"max_tokens": 8000})) as stream:
            stream.next_event()
            self.assertEqual(server.stop()[0], EXIT_OK)
            events = stream.events()
            self.assertEqual(events[-1], "[DONE]")
            self.assertIn("shutting down", json.loads(events[-2])["error"]["message"])

    def test_a_second_signal_cuts_the_drain_short(self):
        with Server("--shutdown-timeout=1h") as server, contextlib.closing(
                Stream(server, LONG | {"max_tokens": 8000})) as stream:
            stream.next_event()
            server.process.send_signal(signal.SIGTERM)
            # The listener is closed once the first signal has been seen.
            poll(lambda: self.refuses_connections(server))
            self.assertEqual(server.stop()[0], EXIT_OK)

    @staticmethod
    def refuses_connections(server):
        try:
            socket.create_connection(server.address).close()
            return False
        except ConnectionRefusedError:
            return True


if __name__ == "__main__":
    unittest.main()
