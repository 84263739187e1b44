"""What the end-to-end tests share: the real binary, the real default model, and a served process.

HEARTH_BINARY names the binary. Every process gets a clean environment and its own port; nothing waits
by sleeping: readiness is a line of output, progress is the next byte of a stream or a polled state.
"""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("HEARTH_BINARY", ROOT / "build/release/hearth"))
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
GOLDEN = ROOT / "tests" / "golden" / "e2e"
ENCODERS = ROOT / "tests" / "golden" / "encoders"
DEADLINE_SECONDS = 300  # For anything that must happen at all; never a measure of speed.

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2


def clean_environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
    return kept | variables


def hearth(*arguments, stdin=b"", environment=None, **options):
    """Runs one command to its end; output as bytes."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True,
                          env=clean_environment(**(environment or {})), timeout=DEADLINE_SECONDS,
                          check=False, **options)


class HearthTest(unittest.TestCase):
    """Checks on finished commands, and a folder for files that a test makes."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def succeed(self, *arguments, **options):
        """Standard output of a command that must end well and say nothing on standard error."""
        done = hearth(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (EXIT_OK, b""), done)
        return done.stdout.decode()

    def refused(self, exit_code, *arguments, **options):
        """The one line on standard error of a command that must end with exit_code."""
        done = hearth(*arguments, **options)
        self.assertEqual(done.returncode, exit_code, done)
        text = done.stderr.decode()
        self.assertRegex(text, r"\Ahearth: [^\n]+\n\Z")
        return text

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def poll(condition):
    """Returns the first true result of condition(), which reads a state that must come."""
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if result := condition():
            return result
        os.sched_yield()
    raise AssertionError("the awaited state did not come")


class Server:
    """A `hearth serve` process that is ready. `address` is (host, port)."""

    def __init__(self, *arguments, models=(MODEL,), **environment):
        self.process = subprocess.Popen(
            [BINARY, "serve", *models, "--port=0", *map(str, arguments)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=clean_environment(**environment), text=True)
        self.startup_text = ""
        for line in self.process.stdout:
            self.startup_text += line
            if line.startswith("  ready"):
                address = line.split()[-1].removeprefix("http://")
                host, port = address.rsplit(":", 1)
                self.address = (host, int(port))
                return
        _, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        raise AssertionError(f"serve ended with {self.process.returncode}: {errors}")

    def connect(self):
        return contextlib.closing(
            http.client.HTTPConnection(*self.address, timeout=DEADLINE_SECONDS))

    def request(self, method, path, body=None, token=None):
        """(status, body text, headers) of one request on its own connection."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        with self.connect() as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def chat(self, prompt, **fields):
        """The answer object of a greedy chat request that must succeed."""
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}],
                "temperature": 0, "max_tokens": 48} | fields
        status, text, _ = self.request("POST", "/v1/chat/completions", body)
        if status != 200:
            raise AssertionError(f"status {status}: {text}")
        return json.loads(text)

    @property
    def model(self):
        return json.loads(self.request("GET", "/v1/models")[1])["data"][0]["id"]

    def metric(self, name):
        """Sum of all series of a metric."""
        total = 0.0
        for line in self.request("GET", "/metrics")[1].splitlines():
            if line.startswith((name + " ", name + "{")):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def stop(self):
        """Ends the process as a supervisor does; its exit code and the rest of standard error."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        _, errors = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=DEADLINE_SECONDS)
