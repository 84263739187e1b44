#!/usr/bin/env bash
# fuzz.sh SECONDS [PARSER...]: runs the parsers' fuzz targets (default: all) that long each, from their
# seeds. What they find stays in build/fuzz/corpus.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=$1
shift
parsers=("$@")
if [ ${#parsers[@]} -eq 0 ]; then
  for source in fuzz/*_fuzz.cc; do
    parsers+=("$(basename "$source" _fuzz.cc)")
  done
fi
for parser in "${parsers[@]}"; do
  if [ ! -f "fuzz/${parser}_fuzz.cc" ]; then
    echo "fuzz: there is no fuzz/${parser}_fuzz.cc" >&2
    exit 2
  fi
done

tools/build.sh fuzz "${parsers[@]/%/_fuzz}"
for parser in "${parsers[@]}"; do
  found="build/fuzz/corpus/$parser"
  mkdir -p "$found"
  printf '\n==> %s for %s s\n' "$parser" "$seconds"
  "build/fuzz/fuzz/${parser}_fuzz" -max_total_time="$seconds" -timeout=20 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="$found/" "$found" "fuzz/corpus/$parser"
done
