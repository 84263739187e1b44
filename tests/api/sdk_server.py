"""The end-to-end tests' server, for the SDK tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from hearth_e2e import ENCODERS, Server, poll  # noqa: E402,F401  (for the tests to import from here)


def base_url(server):
    return "http://{}:{}/v1".format(*server.address)
