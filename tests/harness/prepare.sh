#!/usr/bin/env bash
# Builds the prerequisites of the harness: the workspace and the named tools of tests/tools/build.sh, in parallel because
# both take minutes on a new machine. With --demo first, only the operator and the harness are built, tools of the right
# version come from the PATH, and the last line of the output is the folder with the tools. Every 30 s, one line shows what
# is being built and how long it took the last time.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/tools/progress.sh

parts=(--workspace) rust=workspace mode=()
if [ "${1:-}" = --demo ]; then
  shift
  mode=(--demo) rust=imm-operator+imm-harness
  parts=(--package imm-operator --bin imm-operator --package imm-harness --bin imm-harness)
fi

for program in cargo cc; do
  command -v "$program" >/dev/null || { echo "$program is missing: install Rust (https://rustup.rs) and a C compiler" >&2; exit 1; }
done

BUILD_PROGRESS=$(mktemp -d)
export BUILD_PROGRESS
running=()
stop() {
  if [ ${#running[@]} -gt 0 ]; then
    kill -- "${running[@]}" 2>/dev/null || true
    wait "${running[@]#-}" 2>/dev/null || true
  fi
  rm -rf "$BUILD_PROGRESS"
}
trap stop EXIT
# An interrupted build must not leave compilers running.
trap 'exit 130' INT TERM HUP

# Before anything is compiled: what must be built, and whether Go is there if it is needed.
if [ $# -gt 0 ]; then
  # Assigned first, because a failure inside a loop's list would be ignored.
  missing=$(tests/tools/build.sh ${mode[@]+"${mode[@]}"} --list "$@")
  for name in $missing; do waiting "$name"; done
fi

started=$SECONDS
begin "$rust"
# A process group of its own: cargo would leave its compilers running when it is ended.
set -m
cargo build "${parts[@]}" --locked < /dev/null >&2 & cargo=$!
set +m
running=("-$cargo")
if [ $# -gt 0 ]; then
  # Rust goes first where both want a processor: its crates wait for each other, so that its last minute uses one
  # processor, while Go's packages fill whatever is free until the end.
  nice -n 10 tests/tools/build.sh ${mode[@]+"${mode[@]}"} "$@" > "$BUILD_PROGRESS/folder" & tools=$!
  running+=("$tools")
fi
( # The sleep is killed too: otherwise it keeps this script's output open and blocks its reader.
  trap 'kill "$!" 2>/dev/null; exit' TERM
  while :; do
    sleep "30" & wait "$!"
    progress
  done
) &
running+=("$!")

wait "$cargo" || { echo "failed to build $rust: see above" >&2; exit 1; }
end "$rust" $((SECONDS - started))
[ -z "${tools:-}" ] || wait "$tools" || { echo "failed to build the tools: see above" >&2; exit 1; }
[ ${#mode[@]} -eq 0 ] || tail -n 1 "$BUILD_PROGRESS/folder"
