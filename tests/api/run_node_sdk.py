"""Starts the servers and runs the Node SDK's tests against it."""

import os
import pathlib
import subprocess
import sys

from sdk_server import ENCODERS, Server, base_url

TESTS = pathlib.Path(__file__).with_name("node_sdk.test.mjs")

if __name__ == "__main__":
    with (Server("--max-model-len=512") as server,
          Server(models=(ENCODERS / "bert-mean",)) as encoder):
        done = subprocess.run(["node", "--test", "--test-reporter=spec", TESTS], check=False,
                              env=os.environ | {"OPENAI_BASE_URL": base_url(server),
                                                "ENCODER_BASE_URL": base_url(encoder)})
    sys.exit(done.returncode)
