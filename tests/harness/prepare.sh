#!/usr/bin/env bash
# Builds what the harness needs before it can run: the workspace, and the named tools of tests/tools/build.sh, side by
# side because both take minutes on a fresh machine. Says every half minute that it is still at it.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in cargo cc; do
  command -v "$program" >/dev/null || { echo "$program is missing: install Rust (https://rustup.rs) and a C compiler" >&2; exit 1; }
done

started=$SECONDS
parts=()
end() { [ ${#parts[@]} -eq 0 ] || kill "${parts[@]}" 2>/dev/null || true; }
trap end EXIT
# A part that is ended in the middle must not leave its compilers behind.
trap 'exit 130' INT TERM

cargo build --workspace --locked & cargo=$!
parts=("$cargo")
if [ $# -gt 0 ]; then
  tests/tools/build.sh "$@" >/dev/null & tools=$!
  parts+=("$tools")
fi
( # The sleep is ended too: it would hold our output open to whoever reads it.
  trap 'kill "$!" 2>/dev/null; exit' TERM
  while :; do
    sleep 30 & wait "$!"
    echo "$(date +%H:%M:%S) still building, $((SECONDS - started)) s so far ..." >&2
  done
) &
parts+=("$!")

wait "$cargo" || { echo "the workspace does not build: see above" >&2; exit 1; }
[ -z "${tools:-}" ] || wait "$tools" || { echo "the tools do not build: see above" >&2; exit 1; }
