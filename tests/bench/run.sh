#!/usr/bin/env bash
# Builds the operator and the benchmarks, installs the Python peers once outside the checkout, and runs the benchmarks.
# Arguments are passed to imm-bench. The operator is built separately and statically, as in its image: a build of the whole
# workspace would enable dependency features that only tests need, and with another C library it uses twice the memory.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in cargo rustup cc musl-gcc python3 gzip sha256sum flock; do
  command -v "$program" >/dev/null || { echo "$program is missing: install it to run the benchmarks" >&2; exit 1; }
done

static="$(uname -m)-unknown-linux-musl"
rustup target add "$static"
cargo build --release --locked --package imm-operator --target "$static"
cargo build --release --locked --package imm-bench
tests/tools/build.sh etcd kube-apiserver kubectl helm4 >/dev/null

pins=$(cat tests/bench/requirements.txt tests/sdk/requirements.txt | sha256sum | cut -c1-16)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/bench-$pins"
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$cache/complete" ]; then
  echo "installing the Python peers (once for these versions)" >&2
  rm -rf "$cache/venv"
  python3 -m venv --without-pip "$cache/venv"
  python3 -m pip --python "$cache/venv/bin/python" install --quiet --no-input --no-compile \
    --requirement tests/sdk/requirements.txt --requirement tests/bench/requirements.txt >&2
  touch "$cache/complete"
fi
flock -u 9

exec "${CARGO_TARGET_DIR:-target}/release/imm-bench" --python "$cache/venv/bin/python" "$@"
