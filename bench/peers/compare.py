#!/usr/bin/env python3
"""Rows and floors of the comparison with llama.cpp; compare.sh starts it with both programs built.

Every figure is the median over rounds in which the programs take turns. llama.cpp is measured with
flash attention on and off, and its better one counts. Only ratios mean anything on a shared machine.
"""

import argparse
import collections
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import sys
import tempfile
import types

import make_models
from programs import Failure, Hearth, LlamaCpp, note, run, usable_cpus, wait_for_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
GROUPS = ("prefill", "decode", "batch", "context", "start", "serving", "prefix")
RAW_GROUPS = GROUPS[:4]

PREFILL_TOKENS = 512
DECODE_TOKENS = 64
SHORT_CONTEXT = 128
LONG_CONTEXT = 8000  # Of the 8192 that the smaller model has.
BATCHES = (8, 32)

PREFILL_FLOORS = {"Q4_0": 1.4, "Q4_K_M": 1.5, "Q4_1": 2.5, "Q8_0": 1.5, "F16": 1.0}
DECODE_FLOOR = 1.2
BATCH_FLOOR = 1.7
LONG_CONTEXT_FLOOR = 0.6
SERVING_FLOOR = 1.8
SATURATION_FLOOR = 0.95
TTFT_CEILING = 0.5
PREFIX_CEILING = 0.25
START_CEILING = 0.5
MEMORY_OVERHEAD = 200 << 20

SERVED = ("135m", "Q4_0")
KV_CACHE_BYTES = 512 << 20  # More than 100 users of 192 tokens take; the prefix cache fills it.
USERS = {10: 30, 25: 50, 50: 100, 100: 200}  # Requests by concurrency; the full run takes twice as many.


@dataclasses.dataclass
class Row:
    name: str
    ours: float
    theirs: float
    bound: float
    unit: str
    at_most: bool = False  # The ratio must not be above the bound, instead of below.
    detail: str = ""
    samples: dict = dataclasses.field(default_factory=dict)
    failed: int = 0  # Of our requests: none may.

    @property
    def ratio(self):
        return self.ours / self.theirs

    @property
    def holds(self):
        if self.failed > 0:
            return False
        return self.ratio <= self.bound if self.at_most else self.ratio >= self.bound

    def line(self):
        sign = "<=" if self.at_most else ">="
        return (f"{self.name:<38} {self.ours:>10.1f} {self.theirs:>10.1f} {self.ratio:>6.2f} {sign}{self.bound:<5.2f}"
                f" {'ok' if self.holds else 'short':<5}  {self.unit}{', ' if self.detail else ''}{self.detail}")

    def figures(self):
        return vars(self) | {"ratio": self.ratio, "holds": self.holds}


class Samples:
    """Measured values by figure and by program or setting."""

    def __init__(self):
        self.values = collections.defaultdict(lambda: collections.defaultdict(list))

    def add(self, figure, program, value):
        self.values[figure][program].append(value)

    def row(self, figure, bound, unit, at_most=False):
        """Ours against the better of theirs, by medians."""
        medians = {name: statistics.median(values) for name, values in self.values[figure].items()}
        ours = medians.pop(Hearth.name)
        theirs = (min if at_most else max)(medians, key=medians.get)
        return Row(figure, ours, medians[theirs], bound, unit, at_most, theirs, self.values[figure])


def failures(levels):
    return sum(level["errored"] + level["incomplete"] for level in levels)


class Comparison:
    def __init__(self, args):
        self.args = args
        self.hearth = Hearth(args.hearth, args.threads)
        self.peer = LlamaCpp(args.llama_cpp, args.threads)
        self.rounds = args.rounds or (3 if args.quick else 5)
        self.serving_rounds = args.rounds or (1 if args.quick else 3)
        self.rows = []
        self.peaks = None
        self.server_setting = None

    def wants(self, group):
        return not self.args.only or group in self.args.only

    def model(self, shape, kind):
        tools = types.SimpleNamespace(quantize=pathlib.Path(self.args.llama_cpp) / "llama-quantize",
                                      vocabulary=self.args.vocabulary)
        return make_models.make(self.args.models, shape, kind, tools)

    def report(self, row):
        self.rows.append(row)
        print(row.line(), flush=True)

    def run(self):
        print(f"{'row':<38} {'ours':>10} {'theirs':>10} {'ratio':>6} floor")
        if any(self.wants(group) for group in RAW_GROUPS):
            self.raw_rows()
        for group, measure in (("start", self.start_rows), ("serving", self.serving_rows),
                               ("prefix", self.prefix_rows)):
            if self.wants(group):
                measure()

    # Raw speed -------------------------------------------------------------------------------------

    def raw_rows(self):
        for shape in make_models.SHAPES:
            for kind in PREFILL_FLOORS:
                groups = self.raw_groups(shape, kind)
                if groups:
                    self.raw_model(shape, kind, groups)

    def raw_groups(self, shape, kind):
        small, four_bit = shape == "135m", kind in ("Q4_0", "Q4_K_M")
        brief = self.args.quick and not small
        groups = set()
        if not brief:
            groups.add("prefill")
        if four_bit and (kind == "Q4_0" or not brief):
            groups.add("decode")
        if four_bit and not brief and (kind == "Q4_0" or not self.args.quick):
            groups.add("batch")
        if small and kind == "Q4_0":
            groups.add("context")
        return {group for group in groups if self.wants(group)}

    def raw_model(self, shape, kind, groups):
        model = self.model(shape, kind)
        title = f"{make_models.SHAPES[shape].name.rsplit('-', 1)[1]} {kind}"
        samples = Samples()
        for _ in range(self.rounds):
            self.raw_ours(model, title, groups, samples)
            for setting in LlamaCpp.SETTINGS:
                self.raw_theirs(model, title, groups, setting, samples)
        if "prefill" in groups:
            self.report(samples.row(f"prefill {PREFILL_TOKENS}, {title}", PREFILL_FLOORS[kind], "tokens/s"))
        if "decode" in groups:
            self.report(samples.row(f"decode, 1 stream, {title}", DECODE_FLOOR, "tokens/s"))
        if "batch" in groups:
            for batch in BATCHES:
                self.report(samples.row(f"decode, {batch} streams, {title}", BATCH_FLOOR, "tokens/s"))
        if "context" in groups:
            values = samples.values["context"]
            long, short = statistics.median(values["long"]), statistics.median(values["short"])
            self.report(Row(f"decode at {LONG_CONTEXT} vs {SHORT_CONTEXT}, {title}", long, short, LONG_CONTEXT_FLOOR,
                            "tokens/s", detail="both ours", samples=values))
            if not self.args.quick:  # The peer reads the whole context for every sample.
                self.report(samples.row(f"decode at {LONG_CONTEXT}, {title}", DECODE_FLOOR, "tokens/s"))

    def raw_ours(self, model, title, groups, samples):
        decodes = groups & {"decode", "batch", "context"}
        report = self.hearth.bench_model(
            model,
            prompts=[PREFILL_TOKENS if "prefill" in groups else 0],
            contexts=[SHORT_CONTEXT] + ([LONG_CONTEXT] if "context" in groups else []),
            batches=BATCHES if "batch" in groups else [0],
            decode=DECODE_TOKENS if decodes else 0)
        self.peaks = report["peaks"]
        for result in report["results"]:
            speed = result["tokens_per_s"]
            if result["test"] == "prefill":
                samples.add(f"prefill {PREFILL_TOKENS}, {title}", Hearth.name, speed)
            elif result["sequences"] > 1:
                samples.add(f"decode, {result['sequences']} streams, {title}", Hearth.name, speed)
            else:
                short = result["context"] == SHORT_CONTEXT
                samples.add("context", "short" if short else "long", speed)
                if not short:
                    samples.add(f"decode at {LONG_CONTEXT}, {title}", Hearth.name, speed)
                if short:
                    samples.add(f"decode, 1 stream, {title}", Hearth.name, speed)

    def raw_theirs(self, model, title, groups, setting, samples):
        if "prefill" in groups:
            samples.add(f"prefill {PREFILL_TOKENS}, {title}", setting,
                        self.peer.bench(model, setting, prompt=PREFILL_TOKENS))
        if "decode" in groups:
            samples.add(f"decode, 1 stream, {title}", setting,
                        self.peer.bench(model, setting, decode=DECODE_TOKENS, context=SHORT_CONTEXT))
        if "context" in groups and not self.args.quick:
            samples.add(f"decode at {LONG_CONTEXT}, {title}", setting,
                        self.peer.bench(model, setting, decode=DECODE_TOKENS, context=LONG_CONTEXT))
        if "batch" in groups:
            speeds = self.peer.bench_batches(model, setting, SHORT_CONTEXT, BATCHES, DECODE_TOKENS)
            for batch, speed in speeds.items():
                samples.add(f"decode, {batch} streams, {title}", setting, speed)

    # Servers ---------------------------------------------------------------------------------------

    def serve_ours(self, model):
        return self.hearth.serve(model, [f"--kv-cache-bytes={KV_CACHE_BYTES}"])

    def best_server_setting(self, model):
        """Of flash attention: the better one for many sequences."""
        if self.server_setting is None:
            speeds = {setting: self.peer.bench_batches(model, setting, SHORT_CONTEXT, [32], DECODE_TOKENS)[32]
                      for setting in LlamaCpp.SETTINGS}
            self.server_setting = max(speeds, key=speeds.get)
        return self.server_setting

    def start_rows(self):
        for shape in make_models.SHAPES:
            model = self.model(shape, "Q4_0")
            samples = Samples()
            title = f"start to first token, {make_models.SHAPES[shape].name.rsplit('-', 1)[1]} Q4_0"
            packed = tempfile.TemporaryDirectory(dir=self.args.models)
            for turn in range(self.rounds + 1):
                programs = {Hearth.name: lambda: self.hearth.serve(model, (f"--packed-weights-dir={packed.name}",))}
                for setting in LlamaCpp.SETTINGS:
                    programs[setting] = lambda setting=setting: self.peer.serve(model, setting, 1, 2048,
                                                                                       ("--no-warmup",))
                for name, start in programs.items():
                    with start() as server:
                        milliseconds = server.first_token_seconds() * 1000
                        if turn == 0 and name == Hearth.name:
                            wait_for_file(pathlib.Path(packed.name), "*.panels")
                    if turn > 0:  # The first start reads the file from the disk, and packs.
                        samples.add(title, name, milliseconds)
            packed.cleanup()
            self.report(samples.row(title, START_CEILING, "ms", at_most=True))

    def serving_rows(self):
        model = self.model(*SERVED)
        setting = self.best_server_setting(model)
        ours, theirs = collections.defaultdict(list), collections.defaultdict(list)
        with self.serve_ours(model) as server:
            server.first_token_seconds()
            for _ in range(self.serving_rounds):
                for users, requests in USERS.items():
                    requests *= 1 if self.args.quick else 2
                    ours[users].append(self.hearth.load(server, users, requests))
                    with self.peer.serve(model, setting, users, 256) as peer:
                        peer.first_token_seconds()
                        theirs[users].append(self.hearth.load(peer, users, requests))
            memory = self.memory_row(server, model)
        self.report_serving(ours, theirs, setting)
        self.report(memory)

    def report_serving(self, ours, theirs, setting):
        def throughput(levels):
            return statistics.median(level["output_tokens_per_s"] for level in levels)

        def ttft(levels):
            return statistics.median(level["ttft_ms"]["p95"] for level in levels)

        for users in USERS:
            detail = f"{setting}, {users} slots"
            our_failures, their_failures = failures(ours[users]), failures(theirs[users])
            if our_failures + their_failures > 0:
                detail += f"; requests failed: {our_failures} ours, {their_failures} theirs"
            self.report(Row(f"serving 128/64, {users} users", throughput(ours[users]), throughput(theirs[users]),
                            SERVING_FLOOR, "output tokens/s", detail=detail, failed=our_failures,
                            samples={"hearth": ours[users], "llama.cpp": theirs[users]}))
        best = max(USERS, key=lambda users: throughput(ours[users]))
        most = max(USERS)
        self.report(Row(f"serving, {most} users vs best ({best})", throughput(ours[most]), throughput(ours[best]),
                        SATURATION_FLOOR, "output tokens/s", detail="both ours"))
        self.report(Row("TTFT p95, 25 users", ttft(ours[25]), ttft(theirs[25]), TTFT_CEILING, "ms", at_most=True,
                        detail=f"{setting}, 25 slots"))

    def memory_row(self, server, model):
        weights = server.metric("hearth_memory_bytes", kind="weights")
        cache = server.metric("hearth_memory_bytes", kind="kv_cache")
        limit = weights + cache + MEMORY_OVERHEAD
        file_bytes = model.stat().st_size
        return Row("resident memory after the sweep", server.resident_bytes() / 1e6, limit / 1e6, 1.0, "MB",
                   at_most=True,
                   detail=f"against weights {weights / 1e6:.0f} (file {file_bytes / 1e6:.0f})"
                          f" + KV {cache / 1e6:.0f} + {MEMORY_OVERHEAD / 1e6:.0f}")

    def prefix_rows(self):
        model = self.model(*SERVED)
        setting = self.best_server_setting(model)
        name, users = "TTFT mean, shared 512, 10 users", 10
        samples = Samples()
        variants = {f"{setting}, own KV per slot": (), f"{setting}, unified KV": ("-kvu",)}
        for _ in range(self.serving_rounds):
            with self.serve_ours(model) as server:
                server.first_token_seconds()
                samples.add(name, Hearth.name, self.prefix_ttft(server, users))
            for variant, flags in variants.items():
                with self.peer.serve(model, setting, users, 1024, flags) as server:
                    server.first_token_seconds()
                    samples.add(name, variant, self.prefix_ttft(server, users))
        self.report(samples.row(name, PREFIX_CEILING, "ms", at_most=True))

    def prefix_ttft(self, server, users):
        level = self.hearth.load(server, users, users * (2 if self.args.quick else 4), prompt=640, output=16,
                                 shared=512)
        return level["ttft_ms"]["mean"]

    # Results ---------------------------------------------------------------------------------------

    def write_json(self, started):
        version = json.loads(run([self.args.hearth, "version", "--json"]))
        output = pathlib.Path(self.args.output or ROOT / "bench" / "results" / f"compare-{started:%Y%m%d-%H%M%S}.json")
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({
            "started": started.isoformat(timespec="seconds"),
            "seconds": (datetime.datetime.now(datetime.UTC) - started).total_seconds(),
            "quick": self.args.quick, "threads": self.args.threads, "load_average": os.getloadavg(), "hearth": version,
            "peaks": self.peaks, "rows": [row.figures() for row in self.rows]}, indent=1) + "\n")
        return output


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows: less than ten minutes")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="GROUP[,...]",
                        help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, help="of every measurement")
    parser.add_argument("--threads", type=int, default=usable_cpus(),
                        help="of both programs; fewer than all cores where others disturb: a parallel loop waits for"
                        " its slowest thread")
    parser.add_argument("--output", help="JSON file with all figures; default: in bench/results")
    for name in ("hearth", "llama-cpp", "vocabulary", "models"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = set(args.only or ()) - set(GROUPS)
    if unknown:
        parser.error(f"--only: unknown group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return args


def main():
    args = parse_arguments()
    started = datetime.datetime.now(datetime.UTC)
    if os.getloadavg()[0] > 0.5:
        note(f"load average {os.getloadavg()[0]:.1f}: other programs run here, figures are disturbed")
    comparison = Comparison(args)
    comparison.run()
    print(f"all figures: {comparison.write_json(started)}", file=sys.stderr)
    return 0 if all(row.holds for row in comparison.rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"compare: {failure}")
