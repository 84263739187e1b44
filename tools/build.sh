#!/usr/bin/env bash
# build.sh PRESET [TARGET...]: configures the preset of CMakePresets.json and builds the targets, or
# everything.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=$1
shift
cmake --preset "$preset" > /dev/null
if [ $# -gt 0 ]; then
  cmake --build "build/$preset" --target "$@"
else
  cmake --build "build/$preset"
fi
