#!/usr/bin/env bash
# Hearth beside llama.cpp on this machine: the same model files, all cores, both programs by turns.
#
#   compare.sh [--quick] [--only GROUP[,...]] [--rounds N] [--threads N] [--output FILE]
#
# Builds both programs and writes the models at the first call (some 20 minutes and 9 GB below
# build/peers). Prints one line per row, name, ours, theirs, ratio, floor, ok or short, writes all
# figures to bench/results/, and succeeds only when every floor holds. Rows and floors: compare.py.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peers=$PWD/build/peers
build=$peers/llama.cpp
tools=(llama-server llama-bench llama-batched-bench llama-quantize)

say() {
  echo "compare: $*" >&2
}

# A stamp is a copy of the list that was installed.
make_environment() {
  local list=bench/peers/requirements.txt stamp=$peers/venv/requirements.stamp
  cmp -s "$list" "$stamp" && return
  python3 -m venv "$peers/venv"
  "$peers/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
  cp "$list" "$stamp"
}

# Release, for this CPU, with the compiler that Hearth is built with.
build_llama_cpp() {
  local list=bench/peers/llama_cpp.txt stamp=$build/llama_cpp.stamp source
  cmp -s "$list" "$stamp" && return
  say 'fetching and building llama.cpp'
  rm -rf "$peers/source" "$build"
  mkdir -p "$peers/source"
  "$peers/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --require-hashes --requirement "$list" --dest "$peers/source"
  tar -x -C "$peers/source" -f "$peers"/source/*.tar.gz
  source=$(echo "$peers"/source/*/vendor/llama.cpp)
  cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19 -DGGML_NATIVE=ON \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF > "$peers/cmake.log"
  cmake --build "$build" --target "${tools[@]}" > "$peers/build.log"
  cp "$list" "$stamp"
}

tools/setup.sh build
python3 -c 'import ensurepip' 2> /dev/null || tools/setup.sh sdk
make_environment
build_llama_cpp
tools/build.sh release hearth >&2
vocabulary=$(python3 tools/fetch_model.py)
exec "$peers/venv/bin/python" -B bench/peers/compare.py --hearth build/release/hearth \
  --llama-cpp "$build/bin" --vocabulary "$vocabulary" --models "$peers/models" "$@"
