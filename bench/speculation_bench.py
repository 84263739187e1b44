#!/usr/bin/env python3
"""What speculation gains or costs: decode speed of `hearth serve` with and without, by turns.

    tools/build.sh release hearth && python3 bench/speculation_bench.py

Two servers run, one with --speculation off; every round asks both the same at temperature 0 or with
the same seed, one after the other, and compares the texts, which must be equal. Printed is per task
the median over the rounds of tokens per second after the first token and of the ratio with /
without in the same round, and the ratio of the processor time that the servers took, which other
programs disturb less; only ratios mean anything on a shared machine. With --streams the same prompt
is asked that many times at once, each time with a number in front.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]

ARTICLE = (
    "The harbour of Kelm was built in 1874 by the engineer Ida Vossberg, who had studied tides in "
    "Bremen and Leith. Its two granite breakwaters are 412 and 388 metres long and meet at an angle "
    "of 71 degrees, which keeps the northern swell out of the basin. Until 1931 the harbour served "
    "the herring fleet, at its height 164 boats; after the fishery failed, the town leased the quays "
    "to a company that shipped china clay to Rotterdam. The clay trade ended in 1988. Since 2003 the "
    "basin has been a marina with 240 berths, and the former customs house holds a museum of the "
    "herring fishery, which counts about 19,000 visitors a year. In 2016 the southern breakwater was "
    "repaired after a storm had moved eleven of its blocks.")
CODE = '''def read_table(path, separator=","):
    rows = []
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\\n").split(separator)
        for number, line in enumerate(file, start=2):
            values = line.rstrip("\\n").split(separator)
            if len(values) != len(header):
                raise ValueError(f"{path}:{number}: {len(values)} values, expected {len(header)}")
            rows.append(dict(zip(header, values)))
    return rows
'''
TASKS = {
    "copy": (f"Repeat this text word for word:\n\n{ARTICLE}", 220, 0.0),
    "summarise": (f"Summarise this text in a few sentences, in its own words:\n\n{ARTICLE}", 160, 0.0),
    "edit code": (f"Rename the function to load_table and print the whole code again:\n\n{CODE}", 160, 0.0),
    "free text": ("Write a story about a lighthouse keeper who finds a letter.", 256, 0.0),
    "free text, sampled": ("Write a story about a lighthouse keeper who finds a letter.", 256, 1.0),
    "question, sampled": ("What are the differences between coffee and tea?", 256, 0.7),
}


class Server:
    def __init__(self, args, speculation):
        self.process = subprocess.Popen(
            [args.hearth, "serve", args.model, "--served-model-name", "model", "--port", "0", "--threads", str(args.threads),
             "--speculation", speculation, *args.serve], stdout=subprocess.PIPE, text=True)
        ready = next((line for line in self.process.stdout if line.startswith("  ready")), None)
        if ready is None:
            raise RuntimeError(f"the server ended with {self.process.wait()}")
        self.address = re.search(r"http://(\S+)", ready)[1]

    def get(self, path):
        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def draft_counters(self):
        text = self.get("/metrics")
        return [float(re.search(rf"^hearth_spec_decode_{what}_tokens_total\S* (\S+)", text, re.MULTILINE)[1])
                for what in ("draft", "accepted")]

    def answer(self, prompt, max_tokens, temperature):
        """Text, tokens after the first one, and the seconds they took."""
        body = dict(model="model", messages=[dict(role="user", content=prompt)], max_tokens=max_tokens,
                    temperature=temperature, seed=1, stream=True, stream_options=dict(include_usage=True))
        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read().decode())
        text, first, last, tokens = "", None, None, 0
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            tokens = chunk["usage"]["completion_tokens"] if chunk.get("usage") else tokens
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                text += chunk["choices"][0]["delta"]["content"]
                last = time.perf_counter()
                first = first or last
        connection.close()
        return text, tokens - 1, last - first

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(server, task, streams):
    prompt, max_tokens, temperature = task
    prompts = [prompt if streams == 1 else f"({idx}) {prompt}" for idx in range(streams)]
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        cpu_seconds = server.cpu_seconds()
        answers = list(pool.map(lambda text: server.answer(text, max_tokens, temperature), prompts))
        cpu_seconds = server.cpu_seconds() - cpu_seconds
    speed = sum(tokens / seconds for _, tokens, seconds in answers)
    return [text for text, _, _ in answers], speed, cpu_seconds


def compare(servers, name, args):
    speeds = {which: [] for which in servers}
    cpu_seconds = {which: 0.0 for which in servers}
    before = servers["ngram"].draft_counters()
    for turn in range(args.rounds + 1):  # The first one fills the prefix caches.
        texts = {}
        for which in sorted(servers, reverse=turn % 2 == 0):
            texts[which], speed, cpu = measure(servers[which], TASKS[name], args.streams)
            if turn > 0:
                speeds[which].append(speed)
                cpu_seconds[which] += cpu
        if texts["off"] != texts["ngram"]:
            raise RuntimeError(f"{name}: the answers differ")
    drafted, accepted = (
        int(after - was) // (args.rounds + 1)
        for after, was in zip(servers["ngram"].draft_counters(), before))
    return dict(
        task=name, streams=args.streams,
        off_tokens_per_s=round(statistics.median(speeds["off"]), 1),
        ngram_tokens_per_s=round(statistics.median(speeds["ngram"]), 1),
        ratio=round(statistics.median(a / b for a, b in zip(speeds["ngram"], speeds["off"])), 3),
        cpu_ratio=round(cpu_seconds["off"] / cpu_seconds["ngram"], 3),
        drafted=drafted, accepted=accepted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hearth", default=ROOT / "build/release/hearth")
    parser.add_argument("--model", default=ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("serve", nargs="*", help="more options of hearth serve, after --")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        servers = {name: Server(args, name) for name in ("off", "ngram")}
        for server in servers.values():
            stack.callback(server.stop)
        for name in args.tasks:
            print(json.dumps(compare(servers, name, args)), flush=True)


if __name__ == "__main__":
    main()
