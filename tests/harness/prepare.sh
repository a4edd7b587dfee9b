#!/usr/bin/env bash
# Builds the prerequisites of the harness: the workspace and the named tools of tests/tools/build.sh, in parallel because
# both take minutes on a new machine. Prints a progress line every 30 s.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in cargo cc; do
  command -v "$program" >/dev/null || { echo "$program is missing: install Rust (https://rustup.rs) and a C compiler" >&2; exit 1; }
done

started=$SECONDS
parts=()
end() { [ ${#parts[@]} -eq 0 ] || kill "${parts[@]}" 2>/dev/null || true; }
trap end EXIT
# An interrupted build must not leave compilers running.
trap 'exit 130' INT TERM

cargo build --workspace --locked & cargo=$!
parts=("$cargo")
if [ $# -gt 0 ]; then
  tests/tools/build.sh "$@" >/dev/null & tools=$!
  parts+=("$tools")
fi
( # The sleep is killed too: otherwise it keeps this script's output open and blocks its reader.
  trap 'kill "$!" 2>/dev/null; exit' TERM
  while :; do
    sleep 30 & wait "$!"
    echo "$(date +%H:%M:%S) still building after $((SECONDS - started)) s ..." >&2
  done
) &
parts+=("$!")

wait "$cargo" || { echo "failed to build the workspace: see above" >&2; exit 1; }
[ -z "${tools:-}" ] || wait "$tools" || { echo "failed to build the tools: see above" >&2; exit 1; }
