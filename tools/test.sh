#!/usr/bin/env bash
# Everything that must hold before a change is published: formatting, lint, and the tests in a release
# build, under AddressSanitizer + UndefinedBehaviorSanitizer with the fuzz targets, and under
# ThreadSanitizer where threads meet; beside them a g++ build, and the Arm kernels in an emulator. Ends
# at the first failure. The last step is the release build's whole test suite, whose summary is the end of
# the output.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=$(nproc)
# Sanitizer reports need symbols, and a leak must not hide behind a passing test.
export ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-19/bin/llvm-symbolizer
export TSAN_OPTIONS="external_symbolizer_path=$ASAN_SYMBOLIZER_PATH halt_on_error=1"
export UBSAN_OPTIONS=print_stacktrace=1

step() {
  printf '\n==> %s  [%d min]\n' "$1" $((SECONDS / 60))
}

run_tests() {  # PRESET [CTEST ARGUMENT...]
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel "$jobs" "$@"
}

step 'packages'
tools/setup.sh build test
step 'model'
python3 tools/fetch_model.py
step 'SDKs of the API tests'
tools/setup_sdk_tests.sh
step 'format'
tools/format.sh --check
step 'release build'
tools/build.sh release
step 'lint'
python3 tools/lint.py build/release
step 'g++ build, headers compile alone'
tools/build.sh dev
step 'AddressSanitizer and UndefinedBehaviorSanitizer, with fuzz targets'
tools/build.sh fuzz
run_tests fuzz
step 'ThreadSanitizer'
tools/build.sh tsan hearth_base_test hearth_metrics_test hearth_engine_test hearth_server_test
run_tests tsan --label-regex '^(base|metrics|engine|server)$'
step 'Arm kernels through an emulator'
tools/arm64_sysroot.sh
tools/build.sh arm64 hearth_kernels_test
run_tests arm64 --label-regex '^kernels$'
step 'release tests'
run_tests release
