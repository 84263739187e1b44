#!/usr/bin/env bash
# Installs the official OpenAI SDKs that tests/api drives the server with: Python's into .venv, Node's
# into tests/api/node_modules, both at the pinned versions. Quick when nothing has changed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Node.js and venv may also come from elsewhere than Debian's packages.
if ! command -v npm > /dev/null || ! python3 -c 'import ensurepip' 2> /dev/null; then
  tools/setup.sh sdk
fi

# A stamp is a copy of the list that was installed.
installed() {  # LIST STAMP
  [ -f "$2" ] && cmp -s "$1" "$2"
}

if ! installed tests/api/requirements.txt .venv/requirements.stamp; then
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps \
    --requirement tests/api/requirements.txt
  cp tests/api/requirements.txt .venv/requirements.stamp
fi

if ! installed tests/api/package-lock.json tests/api/node_modules/lock.stamp; then
  npm ci --prefix tests/api --no-audit --no-fund --silent
  cp tests/api/package-lock.json tests/api/node_modules/lock.stamp
fi
