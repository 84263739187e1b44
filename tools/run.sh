#!/usr/bin/env bash
# Builds and starts the server with the default model, sends it a first chat request and keeps
# serving until Ctrl-C. PORT, HOST and MODEL choose where and what.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
host=${HOST:-127.0.0.1}
port=${PORT:-8080}
ready_timeout_seconds=120

"$root/tools/setup.sh" build
"$root/tools/build.sh" release hearth
model=${MODEL:-}
if [ -z "$model" ]; then
  model=$(python3 "$root/tools/fetch_model.py" | tail -n 1)
  # Also in the user's registry, for `hearth list` and `hearth run`; serving does not depend on it.
  if ! build/release/hearth show SmolLM2-135M-Instruct:Q4_1 > /dev/null 2>&1; then
    build/release/hearth import "$model" || true
  fi
fi

# An address to connect to, where the one to listen on means "all".
case $host in
  0.0.0.0) reach=127.0.0.1 ;;
  ::) reach='[::1]' ;;
  *:*) reach="[$host]" ;;
  *) reach=$host ;;
esac
base="http://$reach:$port"

# Someone else's server must not be taken for ours.
if curl --silent --output /dev/null --max-time 2 "$base/" 2> /dev/null; then
  echo "run: something already answers on $base; choose another port: make run PORT=8081" >&2
  exit 1
fi

# In a process group of its own, so that Ctrl-C reaches the server once, through the trap: a second
# signal would cut its answers short.
set -m
build/release/hearth serve "$model" --host "$host" --port "$port" &
server=$!
set +m
interrupted=0
trap 'interrupted=1; kill -TERM "$server" 2> /dev/null || true' INT TERM

# Waits for the server to end and passes its exit status on.
finish() {
  local status=0
  wait "$server" || status=$?
  while [ "$interrupted" -eq 1 ]; do  # The signal ended `wait`, perhaps before the server did.
    interrupted=0
    status=0
    wait "$server" || status=$?
  done
  exit "$status"
}

waited_since=$SECONDS
until curl --silent --fail --output /dev/null --max-time 2 "$base/readyz"; do
  if ! kill -0 "$server" 2> /dev/null; then
    echo "run: the server ended before it was ready; its message is above" >&2
    finish
  fi
  if [ $((SECONDS - waited_since)) -ge "$ready_timeout_seconds" ]; then
    echo "run: the server was not ready after $ready_timeout_seconds seconds" >&2
    kill -TERM "$server"
    wait "$server" || true
    exit 1
  fi
  sleep 0.1
done

name=$(curl --silent --fail --max-time 10 "$base/v1/models" | tools/sse_text.py model)
body='{"model": "'"$name"'", "stream": true, "max_tokens": 64, "temperature": 0,
       "messages": [{"role": "user", "content": "What is a hearth? Answer in one sentence."}]}'
cat << TEXT

A first request, as any OpenAI client would send it:

  curl -N $base/v1/chat/completions -H 'Content-Type: application/json' -d '$body'

TEXT
if ! curl --silent --show-error --fail-with-body --no-buffer --max-time 300 \
  "$base/v1/chat/completions" -H 'Content-Type: application/json' -d "$body" \
  | tools/sse_text.py stream; then
  echo "run: the first request failed" >&2
  kill -TERM "$server" 2> /dev/null || true
  wait "$server" || true
  exit 1
fi

cat << TEXT

Serving $name until Ctrl-C.
  API      $base/v1
  metrics  $base/metrics
  docs     $base/docs, docs/options.md, docs/metrics.md
TEXT
finish
