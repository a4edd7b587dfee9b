#!/usr/bin/env bash
# Builds the control plane and its clients from their Go modules: `tests/tools/build.sh NAME...` or `all`, in this order.
# The last line of the output is the folder with the binaries. A binary is rebuilt only if its go.sum, its flags or the Go
# version changes. TOOLS_DIR sets another folder; KUBEBUILDER_ASSETS names a folder with binaries to use instead, if they have
# the right version. Go is needed only if something must be built. --list prints the names of what must be built.
# --demo also takes binaries from the PATH. Its folder is another one, because the tests must not depend on them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/progress.sh"
cache=${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/tools}
mkdir -p "$cache"

demo='' list=''
while :; do
  case ${1:-} in
    --demo) demo=1; shift ;;
    --list) list=1; shift ;;
    *) break ;;
  esac
done

kubernetes=1.36.3
kube_flags="-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1
  -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/client-go/pkg/version.gitVersion=v$kubernetes"
# Helm 3 assumes Kubernetes 1.20 unless the version is set at link time.
helm3_flags="-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36
  -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36
  -X helm.sh/helm/v3/internal/version.version=v3.21.4"
# -pgo=off: a profile in a main package would compile every dependency a second time. -dwarf=false: the linker's -w leaves the
# debug information out of the program, so that it need not be compiled.
go_flags=(-mod=readonly -trimpath -buildvcs=false -pgo=off -gcflags=all=-dwarf=false)

# Debian's package has promtool; building it from its Go module takes minutes. Without apt-get, the one on the PATH is used.
promtool() {
  if command -v apt-get >/dev/null; then
    local folder; folder=$(mktemp -d)
    say "downloading promtool (Debian's package prometheus) ..."
    # A fresh machine has no package lists yet.
    if (cd "$folder" && { apt-get download prometheus || { apt-get update -qq && apt-get download prometheus; }; } >&2 &&
        dpkg-deb --extract prometheus_*.deb .); then
      install -m 755 "$folder/usr/bin/promtool" "$cache/promtool"
    fi
    rm -rf "$folder"
    [ -x "$cache/promtool" ] && return
  fi
  local found; found=$(type -P promtool) || { say "promtool is missing: run apt-get update, or put promtool on the PATH"; exit 1; }
  ln -sf "$found" "$cache/promtool"
}

# Sets module folder, package, linker flags and the key of a tool. The key ends with the version of Go, if there is one.
describe() {
  flags="-s -w"
  case $1 in
    kube-*|kubectl) module=kubernetes package=k8s.io/kubernetes/cmd/$1 flags=$kube_flags ;;
    etcd)  module=etcd  package=go.etcd.io/etcd/server/v3 ;;
    helm4) module=helm4 package=helm.sh/helm/v4/cmd/helm ;;
    helm3) module=helm3 package=helm.sh/helm/v3/cmd/helm flags=$helm3_flags ;;
    kwok)  module=kwok  package=sigs.k8s.io/kwok/cmd/kwok ;;
    *) say "unknown tool $1"; exit 2 ;;
  esac
  key=$( (cat "$here/$module/go.sum"; echo "$package" "${go_flags[@]}" "$flags") | sha256sum | cut -c1-16)
  [ -z "$go" ] || key="$key $go"
}
go=$(command -v go >/dev/null && GOTOOLCHAIN=local go env GOARCH GOVERSION | tr '\n' - || true)

# Whether the cache has the tool as it would be built now. Without Go, its version cannot be another one.
is_built() {
  [ -x "$cache/$1" ] || return 1
  [ "$1" != promtool ] || return 0
  local stored; stored=$(cat "$cache/.$1.key" 2>/dev/null) || return 1
  [ -n "$go" ] || stored=${stored%% *}
  [ "$stored" = "$key" ]
}

# Prints the version of a program; nothing if it does not say one.
version() {
  case $1 in
    kubectl) "$2" version --client ;;
    helm*) "$2" version --short ;;
    *) "$2" --version ;;
  esac 2>/dev/null </dev/null | sed -nE 's/^[^0-9]*([0-9]+\.[0-9]+(\.[0-9]+)?).*/\1/p' | head -n 1 || true
}

# Whether a version of a tool may be used. The tests need the minor version that would be built. In the demo, kubectl may be
# one minor version away from the API server, as Kubernetes supports it; Helm 3.18 is the first for the oldest Kubernetes that
# the chart accepts.
is_right() {
  local minor; minor=$(printf '%s' "$2" | cut -d. -f1,2)
  case $1 in
    kube-*) [ "$minor" = "${kubernetes%.*}" ] ;;
    kubectl) [ "$minor" = "${kubernetes%.*}" ] || case $demo$minor in 11.35|11.37) ;; *) return 1 ;; esac ;;
    etcd) [ "$minor" = 3.6 ] ;;
    helm4) [ "$minor" = 4.2 ] || case $demo$minor in 14.*|13.1[89]|13.[2-9][0-9]) ;; *) return 1 ;; esac ;;
    helm3) [ "$minor" = 3.21 ] ;;
    *) return 1 ;; # The build of kwok also writes its stages.
  esac
}

# Prints the path of a binary to use instead of a built one. Fails if there is none of the right version.
lent() {
  local path seen candidates=()
  if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    candidates+=("$KUBEBUILDER_ASSETS/$1")
    case $1 in helm*) candidates+=("$KUBEBUILDER_ASSETS/helm") ;; esac
  fi
  if [ -n "$demo" ]; then
    candidates+=("$(type -P "$1" || true)")
    [ "$1" != helm4 ] || candidates+=("$(type -P helm || true)")
  fi
  for path in ${candidates[@]+"${candidates[@]}"}; do
    [ -f "$path" ] && [ -x "$path" ] || continue
    seen=$(version "$1" "$path")
    if is_right "$1" "$seen"; then printf '%s\n' "$path"; return; fi
    # prepare.sh asks for the list first.
    [ -z "$list" ] && [ -n "${BUILD_PROGRESS:-}" ] || say "not used: $path has version ${seen:-unknown}, which does not fit $1"
  done
  return 1
}

build() {
  local name=$1 started=$SECONDS
  begin "$name"
  # Built beside its place, because the place may have a link to a binary of somebody else.
  (cd "$here/$module" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS= \
    go build "${go_flags[@]}" -ldflags "$flags" -o "$cache/.$name.$$" "$package") \
    2> >(grep -v '^go: downloading' >&2)
  if [ "$name" = kwok ]; then
    # kwok exits with "no stages found" without stages; its module contains the two usual sets.
    local stages; stages=$(cd "$here/kwok" && go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
    for stage in "$stages"/node/fast/node-*.yaml "$stages"/pod/fast/pod-*.yaml; do
      cat "$stage"; printf '\n---\n'
    done > "$cache/kwok-stages.yaml"
  fi
  rm -f "$cache/.$name.key"
  mv -f "$cache/.$name.$$" "$cache/$name"
  printf '%s' "$key" > "$cache/.$name.key"
  end "$name" $((SECONDS - started))
}

# lend NAME PATH: the tool of that name becomes that program. A program can look at its own name or folder, so a script that
# starts it by its path replaces a link.
lend() {
  rm -f "$1"
  printf '#!/bin/sh\nexec %q "$@"\n' "$2" > "$1"
  chmod 755 "$1"
}

names=("$@")
[ "${names[*]}" = all ] && names=(kube-apiserver kube-controller-manager kube-scheduler kubectl etcd helm4 helm3 kwok promtool)
folder=$cache
[ -z "$demo" ] || folder=$cache/demo
mkdir -p "$folder"
for name in "${names[@]}"; do
  [ "$name" = promtool ] || describe "$name"
  path=''
  if ! is_built "$name"; then
    if path=$(lent "$name"); then :
    elif [ "$name" != promtool ] && [ -z "$go" ]; then
      say "go is missing, and $name must be built: install Go 1.26 or newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with $name"
      exit 1
    elif [ -n "$list" ]; then printf '%s\n' "$name"
    elif [ "$name" = promtool ]; then promtool
    else build "$name"
    fi
  fi
  [ -z "$list" ] || continue
  if [ -n "$path" ]; then
    say "using $path as $name"
    [ -n "$demo" ] || rm -f "$cache/.$name.key"
    lend "$folder/$name" "$path"
  elif [ -n "$demo" ]; then
    ln -sfn "../$name" "$folder/$name"
  fi
done
[ -n "$list" ] || printf '%s\n' "$folder"
