# Shows what is being built, and remembers outside the checkout how long each part took. Sourced by build.sh of this folder
# and by prepare.sh of the harness, which share the folder BUILD_PROGRESS: NAME.waiting, and NAME.running with the start time.
times=${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/build-times

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }

# Prints how long a part took when it was built the last time.
last_time() {
  if [ -s "$times/$1" ]; then printf 'last time %s s' "$(cat "$times/$1")"; else printf 'not built here before'; fi
}

waiting() { [ -z "${BUILD_PROGRESS:-}" ] || : > "$BUILD_PROGRESS/$1.waiting"; }

begin() {
  say "building $1 ($(last_time "$1")) ..."
  [ -z "${BUILD_PROGRESS:-}" ] || { rm -f "$BUILD_PROGRESS/$1.waiting"; date +%s > "$BUILD_PROGRESS/$1.running"; }
}

# end NAME SECONDS. A part that took less than 5 s was built before, and says nothing about the next time.
end() {
  [ -z "${BUILD_PROGRESS:-}" ] || rm -f "$BUILD_PROGRESS/$1.running"
  [ "$2" -ge 5 ] || return 0
  mkdir -p "$times" && printf '%s\n' "$2" > "$times/$1"
  say "built $1 in $2 s"
}

# Prints one line about all parts that are not finished; nothing if there is none.
progress() {
  local file part line='' now
  now=$(date +%s)
  for file in "$BUILD_PROGRESS"/*.running; do
    [ -s "$file" ] || continue
    part=$(basename "$file" .running)
    line="$line${line:+, }$part for $((now - $(cat "$file"))) s ($(last_time "$part"))"
  done
  for file in "$BUILD_PROGRESS"/*.waiting; do
    [ -e "$file" ] || continue
    part=$(basename "$file" .waiting)
    line="$line${line:+, }then $part ($(last_time "$part"))"
  done
  [ -z "$line" ] || say "building $line"
}
