#!/usr/bin/env python3
"""Shows what an OpenAI-compatible server answers on standard input as plain text.

    sse_text.py stream   prints the text of a streamed chat answer as it arrives
    sse_text.py model    prints the id of the first model of GET /v1/models
"""

import json
import sys


def print_stream(lines):
    """Returns 0 when the stream held text and ended properly."""
    complete = False
    for line in lines:
        line = line.strip()
        if not line.startswith("data:"):
            if line.startswith("{"):  # An error instead of a stream.
                print(line, file=sys.stderr)
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            complete = True
            break
        event = json.loads(data)
        if "error" in event:
            print(event["error"].get("message", event), file=sys.stderr)
            return 1
        for choice in event.get("choices", []):
            print(choice.get("delta", {}).get("content") or "", end="", flush=True)
    print()
    if not complete:
        print("the answer ended early", file=sys.stderr)
    return 0 if complete else 1


def main(arguments):
    if arguments == ["stream"]:
        return print_stream(sys.stdin)
    if arguments == ["model"]:
        print(json.load(sys.stdin)["data"][0]["id"])
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
