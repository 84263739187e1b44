#!/usr/bin/env python3
"""Runs clang-tidy on the project's sources that changed since they last passed.

    lint.py BUILD_DIRECTORY

A file's stamp covers the file, every project header it includes (directly or not), its compile
command and the checks of .clang-tidy, so an unchanged tree takes no time.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
CLANG_TIDY = "clang-tidy-19"
INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def project_includes(path):
    """The project headers that `path` includes itself."""
    for name in INCLUDE.findall(path.read_bytes()):
        for base in (SOURCE, ROOT, path.parent):
            header = base / name.decode()
            if header.is_file():
                yield header
                break


def closure(path):
    """`path` and all project headers below it, sorted."""
    found = {path}
    pending = [path]
    while pending:
        for header in project_includes(pending.pop()):
            if header not in found:
                found.add(header)
                pending.append(header)
    return sorted(found)


def stamp_of(entry):
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    digest.update(entry["command"].encode())
    for path in closure(pathlib.Path(entry["file"])):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def check(entry, build):
    """Output of clang-tidy, empty when the file is clean."""
    result = subprocess.run(
        [CLANG_TIDY, "--quiet", "-p", str(build), entry["file"]],
        capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stdout or result.stderr


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    build = pathlib.Path(arguments[0]).resolve()
    stamps = build / "lint"
    stamps.mkdir(exist_ok=True)
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if SOURCE in path.parents and not path.name.endswith("_test.cc"):
            entries[entry["file"]] = entry
    pending = {name: stamp_of(entry) for name, entry in sorted(entries.items())}
    pending = {name: stamp for name, stamp in pending.items() if not (stamps / stamp).exists()}
    print(f"lint: {len(pending)} of {len(entries)} files to check", flush=True)

    failed = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {pool.submit(check, entries[name], build): name for name in pending}
        for run in concurrent.futures.as_completed(runs):
            name = runs[run]
            if run.result():
                failed.append(name)
                print(run.result(), flush=True)
            else:
                (stamps / pending[name]).touch()
    if failed:
        print(f"lint: {len(failed)} files have findings", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
