#!/usr/bin/env bash
# Builds what is measured and what measures, installs the Python peers once outside the checkout, and runs the benchmarks.
# Arguments go to imm-bench. The operator is built by itself and static, as its image has it: a build of the whole workspace
# would give its dependencies features that only tests need, and another C library takes twice the memory.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in cargo rustup cc musl-gcc python3 gzip sha256sum flock; do
  command -v "$program" >/dev/null || { echo "$program is missing, and the benchmarks need it" >&2; exit 1; }
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
  echo "installing the Python peers (once for these pins)" >&2
  rm -rf "$cache/venv"
  python3 -m venv --without-pip "$cache/venv"
  python3 -m pip --python "$cache/venv/bin/python" install --quiet --no-input --no-compile \
    --requirement tests/sdk/requirements.txt --requirement tests/bench/requirements.txt >&2
  touch "$cache/complete"
fi
flock -u 9

exec "${CARGO_TARGET_DIR:-target}/release/imm-bench" --python "$cache/venv/bin/python" "$@"
