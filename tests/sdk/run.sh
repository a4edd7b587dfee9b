#!/usr/bin/env bash
# Runs the official clients, unmodified and at pinned versions, against the emulator.
#
#   run.sh path/to/imm-emulator
#
# Prints one line per check, "ok NAME" or "FAIL NAME reason", then "N passed, N failed". Exit code 1 if a check failed.
# The packages are installed once, outside the checkout, in a folder named after the pinned versions.
set -euo pipefail

binary=$(realpath "${1:?give the path to the imm-emulator binary}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pins=$(cat "$here/requirements.txt" "$here/package-lock.json" "$here/go/go.sum" "$here/go/main.go" | sha256sum | cut -c1-16)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/sdk-$pins"

for tool in python3 node npm go sha256sum flock timeout; do
  command -v "$tool" >/dev/null || { echo "FAIL tools $tool is missing"; echo "0 passed, 1 failed"; exit 1; }
done

# Concurrent runs must not install into the same folder; an incomplete installation is deleted.
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$cache/complete" ]; then
  echo "installing the official clients (once for these versions)" >&2
  rm -rf "$cache/venv" "$cache/node"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/python" -m pip install --quiet --no-input --requirement "$here/requirements.txt" >&2
  mkdir -p "$cache/node"
  cp "$here/package.json" "$here/package-lock.json" "$cache/node/"
  npm ci --prefix "$cache/node" --no-audit --no-fund --ignore-scripts --silent >&2
  (cd "$here/go" && go build -o "$cache/go-checks" .) >&2
  touch "$cache/complete"
fi
flock -u 9
python="$cache/venv/bin/python"

work=$(mktemp -d)
emulator_pid=
finish() {
  if [ -n "$emulator_pid" ]; then
    kill "$emulator_pid" 2>/dev/null || true
    wait "$emulator_pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT

"$python" "$here/keys.py" "$work"
cp "$here/seed.yaml" "$work/"
mkfifo "$work/stdout"
"$binary" --seed "$work/seed.yaml" --tls-certificate "$work/tls.pem" --tls-key "$work/tls.key" \
  >"$work/stdout" 2>"$work/emulator.log" &
emulator_pid=$!
exec 8<"$work/stdout"
read -r -u 8 first || { cat "$work/emulator.log"; echo "FAIL emulator did not start"; echo "0 passed, 1 failed"; exit 1; }
export EMULATOR_URL="${first#listening on }"
export OIDC_TOKEN_FILE="$work/token" OIDC_STRANGER_FILE="$work/stranger"
export SSL_CERT_FILE="$work/tls.pem" NODE_EXTRA_CA_CERTS="$work/tls.pem" PYTHONDONTWRITEBYTECODE=1 SDK_NODE_MODULES="$cache/node/node_modules"
# The clients must connect only to the emulator, not to a proxy.
unset HTTP_PROXY HTTPS_PROXY http_proxy https_proxy ALL_PROXY all_proxy

script() {
  local name=$1 status=0
  shift
  timeout 120 "$@" >"$work/lines" 2>"$work/errors" || status=$?
  tee -a "$work/all" <"$work/lines"
  # A script that exits early has not run all checks, even if its output shows only passed ones.
  if [ "$status" -ne 0 ]; then
    echo "FAIL $name ended with status $status: $(tail -n 1 "$work/errors")" | tee -a "$work/all"
  fi
  cat "$work/errors" >>"$work/said"
}

script "python oss v4" "$python" "$here/oss_python.py" v4
script "python oss v1" "$python" "$here/oss_python.py" v1
script "python imm" "$python" "$here/imm_python.py"
script "python sts" "$python" "$here/sts_python.py"
script "node ali-oss v1" node "$here/oss_node.js" v1
script "node ali-oss v4" node "$here/oss_node.js" v4
script "node credentials" node "$here/credentials_node.js"
script "go" "$cache/go-checks"

"$python" -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())' \
  "$EMULATOR_URL/-/ledger" >"$work/ledger"
if grep -q DetectImageScore "$work/ledger" && ! grep -q canary "$work/ledger" "$work/emulator.log" "$work/all" "$work/said"; then
  echo "ok no secret in any output" | tee -a "$work/all"
else
  echo "FAIL no secret in any output: found a secret, or the ledger has no calls" | tee -a "$work/all"
fi

passed=$(grep -c '^ok ' "$work/all" || true)
failed=$(grep -c '^FAIL ' "$work/all" || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
