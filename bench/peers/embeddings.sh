#!/usr/bin/env bash
# Hearth's encoders beside ONNX Runtime and sentence-transformers on this machine; see embeddings.py,
# which takes the options. Installs the peers at the first call (some GB below build/peers).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
list=bench/peers/embeddings_requirements.txt
environment=$PWD/build/peers/embeddings_venv

python3 -c 'import ensurepip' 2> /dev/null || tools/setup.sh sdk
if ! cmp -s "$list" "$environment/requirements.stamp"; then
  echo 'embeddings: installing the peers' >&2
  mkdir -p build/peers
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
  cp "$list" "$environment/requirements.stamp"
fi
tools/build.sh release hearth >&2
exec "$environment/bin/python" -B bench/peers/embeddings.py "$@"
