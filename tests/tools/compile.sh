# Compiles a tool from its Go module. Sourced by build.sh and floor.sh, which set `here`, the folder of the modules, and
# `cache`. Files that are not finished are in `work`, which is removed at the end, also of an interrupted build.
work=$cache/.building.$$
compiler=''

# compile MODULE PACKAGE FLAGS NAME: the program is then "$work/NAME". The text of this function is a part of every key, so
# that a change rebuilds every tool.
# -pgo=off: a profile in a main package would compile every dependency a second time. -dwarf=false: the linker's -w leaves the
# debug information out of the program, so that it need not be compiled.
compile() {
  cd "$here/$1"
  CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='' GOTMPDIR="$work" \
    go build -mod=readonly -trimpath -buildvcs=false -pgo=off -gcflags=all=-dwarf=false -ldflags "$3" -o "$work/$4" "$2" \
    2> >(grep --line-buffered -v '^go: downloading' >&2)
}

# Runs a command as a process group of its own: Go would leave its compilers running when it is ended.
in_group() {
  local code=0
  mkdir -p "$work"
  set -m
  "$@" < /dev/null &
  compiler=$!
  set +m
  wait "$compiler" || code=$?
  compiler=''
  return "$code"
}

# Removes what builds have left that were killed too suddenly to do it. No tool takes half a day.
sweep() { find "$cache" -maxdepth 1 -name '.*.[0-9]*' -mmin +720 -exec rm -rf {} +; }

clean() {
  if [ -n "$compiler" ]; then
    kill -- "-$compiler" 2>/dev/null || true
    wait "$compiler" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP
