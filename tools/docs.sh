#!/usr/bin/env bash
# docs.sh PROGRAM [--check]: writes the generated pages of docs/ with PROGRAM (hearth_docs), or checks
# that they are what it would write.
set -euo pipefail

program=$(realpath "$1")
mode=${2:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for page in architectures options metrics; do
  if [ "$mode" = --check ]; then
    "$program" "$page" | diff -u "docs/$page.md" - || {
      echo "docs: docs/$page.md is not what the declarations say; run: make docs" >&2
      exit 1
    }
  else
    "$program" "$page" > "docs/$page.md"
  fi
done
