#!/usr/bin/env bash
# Builds the control plane and its clients from their Go modules: `tests/tools/build.sh NAME...` or `all`, in this order.
# The last line of the output is the folder with the binaries. A binary is rebuilt only if its go.sum, the way it is built or
# the Go version changes. TOOLS_DIR sets another folder; KUBEBUILDER_ASSETS names a folder with binaries to copy instead, if
# they have the right version. Go is needed only if something must be built. --list prints the names of what must be built.
# --demo also takes binaries from the PATH. Its folder is another one, because the tests must not depend on them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/progress.sh"
cache=${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/tools}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
. "$here/compile.sh"

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

# Prometheus and promtool come from Debian's package: building them from their Go module takes minutes. Without apt-get, those
# on the PATH are used.
download() {
  if command -v apt-get >/dev/null; then
    local folder=$work/prometheus; mkdir -p "$folder"
    say "downloading $1 (Debian's package prometheus) ..."
    # A fresh machine has no package lists yet.
    if (cd "$folder" && { apt-get download prometheus || { apt-get update -qq && apt-get download prometheus; }; } >&2 &&
        dpkg-deb --extract prometheus_*.deb .); then
      install -m 755 -t "$cache" "$folder/usr/bin/prometheus" "$folder/usr/bin/promtool"
    fi
    rm -rf "$folder"
    [ -x "$cache/$1" ] && return
  fi
  local found; found=$(type -P "$1") || { say "$1 is missing: run apt-get update, or put $1 on the PATH"; exit 1; }
  ln -sf "$found" "$cache/$1"
}

is_downloaded() { case $1 in prometheus|promtool) ;; *) return 1 ;; esac; }

# Sets module folder, package, linker flags and the key of a tool, and `no_go` to what is wrong with Go. The key ends with the
# version of Go, unless that cannot build the tool.
describe() {
  flags="-s -w" no_go=''
  case $1 in
    kube-*|kubectl) module=kubernetes package=k8s.io/kubernetes/cmd/$1 flags=$kube_flags ;;
    etcd)  module=etcd  package=go.etcd.io/etcd/server/v3 ;;
    helm4) module=helm4 package=helm.sh/helm/v4/cmd/helm ;;
    helm3) module=helm3 package=helm.sh/helm/v3/cmd/helm flags=$helm3_flags ;;
    kwok)  module=kwok  package=sigs.k8s.io/kwok/cmd/kwok ;;
    *) say "unknown tool $1"; exit 2 ;;
  esac
  key=$( (cat "$here/$module/go.sum"; echo "$package" "$flags"; declare -f compile
    [ "$1" != kwok ] || declare -f write_stages) | sha256sum | cut -c1-16)
  local needed version=${go#*go}
  needed=$(sed -n 's/^go //p' "$here/$module/go.mod")
  if [ -z "$go" ]; then
    no_go="go is missing"
  elif [ "$(printf '%s\n' "$needed" "${version%-}" | sort -V | head -n 1)" != "$needed" ]; then
    # GOTOOLCHAIN=local: no other Go is downloaded.
    no_go="go ${version%-} is older than the $needed that $1 needs"
  else
    key="$key $go"
  fi
}
go=$(command -v go >/dev/null && GOTOOLCHAIN=local go env GOARCH GOVERSION | tr '\n' - || true)

# Whether the cache has the tool as it would be built now. Without a usable Go, its version does not matter.
is_built() {
  [ -x "$cache/$1" ] || return 1
  ! is_downloaded "$1" || return 0
  local stored; stored=$(cat "$cache/.$1.key" 2>/dev/null) || return 1
  [ -z "$no_go" ] || stored=${stored%% *}
  [ "$stored" = "$key" ]
}

# Prints the version of a program, with the name of a pre-release; nothing if it does not say one.
version() {
  case $1 in
    kubectl) "$2" version --client ;;
    helm*) "$2" version --short ;;
    *) "$2" --version ;;
  esac 2>/dev/null </dev/null | sed -nE 's/^[^0-9]*([0-9]+\.[0-9]+(\.[0-9]+)?(-(alpha|beta|rc)[-.0-9A-Za-z]*)?).*/\1/p' | head -n 1 || true
}

# Whether a version of a tool may be used. The tests need the minor version that would be built, and no pre-release. In the
# demo, kubectl may be one minor version away from the API server, as Kubernetes supports it; Helm 3.18 is the first for the
# oldest Kubernetes that the chart accepts.
is_right() {
  local minor; minor=$(printf '%s' "$2" | cut -d. -f1,2)
  case $2 in *-*) return 1 ;; esac
  case $1 in
    kube-*) [ "$minor" = "${kubernetes%.*}" ] ;;
    kubectl) [ "$minor" = "${kubernetes%.*}" ] || case $demo$minor in 11.35|11.37) ;; *) return 1 ;; esac ;;
    etcd) [ "$minor" = 3.6 ] ;;
    helm4) [ "$minor" = 4.2 ] || case $demo$minor in 14.*|13.1[89]|13.[2-9][0-9]) ;; *) return 1 ;; esac ;;
    helm3) [ "$minor" = 3.21 ] ;;
  esac
}

# Whether a program is the work of this script: a file in the cache, or a script of `lend`, here or in another cache. Lent
# again, it would start itself.
is_own() {
  case $1 in "$(cd "$cache" && pwd -P)"/*) return 0 ;; esac
  head -c 200 "$1" | grep -qF "$lent_script"
}
lent_script='# Written by tests/tools/build.sh: starts a program of another folder.'

# Prints the absolute path of a binary to use instead of a built one. Fails if there is none of the right version.
lent() {
  local path target seen tried='|' candidates=()
  # The build of kwok also writes its stages.
  if [ "$1" = kwok ] || is_downloaded "$1"; then return 1; fi
  if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    candidates+=("$KUBEBUILDER_ASSETS/$1")
    case $1 in helm*) candidates+=("$KUBEBUILDER_ASSETS/helm") ;; esac
  fi
  if [ -n "$demo" ]; then
    while IFS= read -r path; do candidates+=("$path"); done < <(type -aP "$1"; [ "$1" != helm4 ] || type -aP helm)
  fi
  for path in ${candidates[@]+"${candidates[@]}"}; do
    [ -f "$path" ] && [ -x "$path" ] || continue
    # Its name stays, even if that is a link: a program can look at it.
    path=$(cd "$(dirname "$path")" && pwd)/$(basename "$path")
    target=$(readlink -f "$path") || continue
    case $tried in *"|$target|"*) continue ;; esac
    tried="$tried$target|"
    ! is_own "$target" || continue
    seen=$(version "$1" "$path")
    if is_right "$1" "$seen"; then printf '%s\n' "$path"; return; fi
    # prepare.sh asks for the list first.
    [ -z "$list" ] && [ -n "${BUILD_PROGRESS:-}" ] || say "not used: $path has version ${seen:-unknown}, which does not fit $1"
  done
  return 1
}

# kwok exits with "no stages found" without stages; its module contains the two usual sets.
write_stages() {
  local stage stages; stages=$(cd "$here/kwok" && go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for stage in "$stages"/node/fast/node-*.yaml "$stages"/pod/fast/pod-*.yaml; do
    cat "$stage"; printf '\n---\n'
  done
}

build() {
  local name=$1 started=$SECONDS
  begin "$name"
  in_group compile "$module" "$package" "$flags" "$name"
  if [ "$name" = kwok ]; then
    write_stages > "$work/stages"
    mv -f "$work/stages" "$cache/kwok-stages.yaml"
  fi
  store "$name"
  printf '%s' "$key" > "$cache/.$name.key"
  end "$name" $((SECONDS - started))
}

# Moves a finished program to its place, which may have a link to a program of somebody else.
store() {
  rm -f "$cache/.$1.key"
  mv -f "$work/$1" "$cache/$1"
}

# copy NAME PATH: the tests get a copy. They look at no version, and the original can be replaced by another one.
copy() {
  [ -L "$cache/$1" ] || ! cmp -s "$2" "$cache/$1" || return 0
  mkdir -p "$work"
  cp "$2" "$work/$1"
  chmod 755 "$work/$1"
  is_right "$1" "$(version "$1" "$work/$1")" ||
    { say "$2 does not run as a copy, which the tests need: set KUBEBUILDER_ASSETS to a folder with the program itself"; exit 1; }
  store "$1"
}

# lend NAME PATH: the demo gets a script, because its programs may need their folder.
lend() {
  local quoted place=$cache/demo/$1
  [ -L "$place" ] || [ ! "$2" -ef "$place" ] || { say "$place cannot start itself"; exit 1; }
  quoted=$(printf '%s' "$2" | sed "s/'/'\\\\''/g")
  mkdir -p "$work"
  printf "#!/bin/sh\n%s\nexec '%s' \"\$@\"\n" "$lent_script" "$quoted" > "$work/$1"
  chmod 755 "$work/$1"
  mv -f "$work/$1" "$place"
}

[ -n "$list" ] || sweep
names=("$@")
[ "${names[*]}" = all ] && names=(kube-apiserver kube-controller-manager kube-scheduler kubectl etcd helm4 helm3 kwok prometheus promtool)
folder=$cache
[ -z "$demo" ] || folder=$cache/demo
mkdir -p "$folder"
for name in "${names[@]}"; do
  is_downloaded "$name" || describe "$name"
  path=''
  if ! is_built "$name"; then
    if path=$(lent "$name"); then :
    elif ! is_downloaded "$name" && [ -n "$no_go" ]; then
      other=", or set KUBEBUILDER_ASSETS to a folder with a $name that fits"
      [ "$name" != kwok ] || other=''
      say "$no_go, and $name must be built: install Go 1.26 or newer (https://go.dev/dl)$other"
      exit 1
    elif [ -n "$list" ]; then printf '%s\n' "$name"
    elif is_downloaded "$name"; then download "$name"
    else build "$name"
    fi
  fi
  [ -z "$list" ] || continue
  if [ -n "$path" ]; then
    say "using $path as $name"
    if [ -n "$demo" ]; then lend "$name" "$path"; else copy "$name" "$path"; fi
  elif [ -n "$demo" ]; then
    ln -sfn "../$name" "$folder/$name"
  fi
done
[ -n "$list" ] || printf '%s\n' "$folder"
