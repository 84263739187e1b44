#!/usr/bin/env bash
# format.sh: formats all C++ files in place. format.sh --check: fails when one would change.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find src tests fuzz bench -name '*.cc' -o -name '*.h' | grep -vE '_(tables|data)\.(cc|h)$' | sort)
if [ "${1:-}" = --check ]; then
  clang-format-19 --dry-run --Werror "${files[@]}"
else
  clang-format-19 -i "${files[@]}"
fi
