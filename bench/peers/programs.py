"""The two programs under comparison: their benchmarks, and their servers."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

DEADLINE_SECONDS = 1800  # For anything that must end at all.
POLL_SECONDS = 0.002


class Failure(Exception):
    """Carries a message for the user."""


def run(command, succeeded=lambda done: done.returncode == 0):
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=DEADLINE_SECONDS, check=False)
    if not succeeded(done):
        raise Failure(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def joined(numbers):
    return ",".join(map(str, numbers))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; leaving the context stops it."""

    def __init__(self, command, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.started = time.perf_counter()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL,
                                        stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def request(self, path, body=None):
        """(status, text) of one request."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)) as connection:
            text = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, text,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def first_token_seconds(self):
        """From the start of the process until it has answered with one token."""
        body = {"model": "any", "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        while time.perf_counter() - self.started < DEADLINE_SECONDS:
            if self.process.poll() is not None:
                self.log.seek(0)
                raise Failure(f"{self.process.args[0]} ended: {self.log.read()[-2000:].decode(errors='replace')}")
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                model = self.request("/v1/models")
                if model[0] == 200:
                    body["model"] = json.loads(model[1])["data"][0]["id"]
                    if self.request("/v1/completions", body)[0] == 200:
                        return time.perf_counter() - self.started
            time.sleep(POLL_SECONDS)
        raise Failure(f"{self.process.args[0]} did not become ready")

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Failure("no VmRSS in /proc")

    def metric(self, name, **labels):
        """Sum of a metric's series with these labels."""
        total = 0.0
        for line in self.request("/metrics")[1].splitlines():
            wanted = all(f'{key}="{value}"' in line for key, value in labels.items())
            if line.startswith((name + " ", name + "{")) and wanted:
                total += float(line.rsplit(" ", 1)[1])
        return total


class Hearth:
    name = "hearth"

    def __init__(self, binary, threads):
        self.binary = pathlib.Path(binary)
        self.threads = threads

    def bench_model(self, model, prompts=(0,), contexts=(0,), batches=(0,), decode=0):
        """The report of `hearth bench model`, one repetition."""
        return json.loads(run([self.binary, "bench", "model", model, "--json=-", "--repeat=1",
                               f"--threads={self.threads}", f"--prompt={joined(prompts)}",
                               f"--context={joined(contexts)}", f"--batch={joined(batches)}",
                               f"--decode={decode}"]))

    def serve(self, model, extra=()):
        port = free_port()
        return Server([self.binary, "serve", model, f"--port={port}", f"--threads={self.threads}",
                       "--log-level=warning", *extra], port)

    def load(self, server, concurrency, requests, prompt=128, output=64, shared=0):
        """One level of `hearth bench serve`, as its summary; requests may have failed."""
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder) / "run"
            result = target / "run.json"
            run([self.binary, "bench", "serve", f"--target={server.url}", f"--concurrency={concurrency}",
                 f"--requests={requests}", "--warmup-requests=2", f"--prompt-tokens={prompt}",
                 f"--output-tokens={output}", f"--shared-prefix-tokens={shared}", f"--output={target}"],
                succeeded=lambda _: result.is_file())
            return json.loads(result.read_text())["levels"][0]


class LlamaCpp:
    """With flash attention on or off: whichever is better counts."""

    SETTINGS = {"fa off": ("0", "off"), "fa on": ("1", "on")}

    def __init__(self, folder, threads):
        self.folder = pathlib.Path(folder)
        self.threads = threads

    def bench(self, model, setting, prompt=0, decode=0, context=0):
        """Tokens per second of llama-bench, one repetition after its warm-up."""
        rows = json.loads(run([self.folder / "llama-bench", "-m", model, "-p", prompt, "-n", decode, "-d", context,
                               "-r", 1, "-t", self.threads, "-fa", self.SETTINGS[setting][0], "-o", "json"]))
        return rows[0]["avg_ts"]

    def bench_batches(self, model, setting, context, batches, decode):
        """Decoded tokens per second by number of sequences."""
        text = run([self.folder / "llama-batched-bench", "-m", model, "-c", max(batches) * (context + decode + 16),
                    "-b", 2048, "-ub", 512, "-npp", context, "-ntg", decode, "-npl", joined(batches),
                    "-t", self.threads, "-tb", self.threads, "-fa", self.SETTINGS[setting][1],
                    "--output-format", "jsonl"])
        rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return {row["pl"]: row["speed_tg"] for row in rows}

    def serve(self, model, setting, slots, slot_tokens, extra=()):
        """Continuous batching is its default."""
        port = free_port()
        return Server([self.folder / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", port,
                       "-np", slots, "-c", slots * slot_tokens, "-t", self.threads, "-tb", self.threads,
                       "-b", 2048, "-ub", 512, "-fa", self.SETTINGS[setting][1], *extra], port)


def wait_for_file(folder, pattern):
    started = time.perf_counter()
    while not any(folder.glob(pattern)):
        if time.perf_counter() - started > DEADLINE_SECONDS:
            raise Failure(f"no {pattern} appeared in {folder}")
        time.sleep(POLL_SECONDS)


def usable_cpus():
    return len(os.sched_getaffinity(0))


def note(text):
    print(f"compare: {text}", file=sys.stderr, flush=True)
