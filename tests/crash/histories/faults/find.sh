#!/usr/bin/env bash
# Puts each known fault back into a worktree of HEAD, one at a time, and demands that 20,000 random histories find it.
# Arguments: the names of the faults; all by default.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(git -C "$here" rev-parse --show-toplevel)
tree=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$tree/tree" 2>/dev/null || true; rm -rf "$tree"' EXIT
git -C "$root" worktree add --quiet --detach "$tree/tree"
cd "$tree/tree"
export CARGO_TARGET_DIR=$root/target/faults HISTORY_COUNT=20000 HISTORY_FAILURES=1
missed=()
[ $# -gt 0 ] || set -- $(cd "$here" && printf '%s\n' *.patch | sed 's/\.patch$//')
for fault in "$@"; do
  git checkout --quiet -- .
  git apply "$here/$fault.patch"
  # A fault that does not compile proves nothing.
  cargo test --quiet --locked --profile plans --test crash --no-run
  if cargo test --quiet --locked --profile plans --test crash random_histories -- --nocapture >"$tree/log" 2>&1; then
    missed+=("$fault")
  elif ! grep -m 1 '^history ' "$tree/log" | sed "s/^/$fault: found by /"; then
    tail -20 "$tree/log" >&2
    missed+=("$fault")
  fi
done
[ ${#missed[@]} -eq 0 ] || { echo "not found: ${missed[*]}" >&2; exit 1; }
