#!/usr/bin/env bash
# Builds the control plane and its clients from their Go modules: `tests/tools/build.sh NAME...` or `all`.
# The last line of the output is the folder with the binaries. A binary is rebuilt only if its go.sum, this script or the
# Go version changes. TOOLS_DIR sets another folder; KUBEBUILDER_ASSETS names a folder with binaries to use instead.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/imm-operator/tools}
mkdir -p "$cache"

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
command -v go >/dev/null || { say "go is missing: install Go 1.26 or newer (https://go.dev/dl)"; exit 1; }

kubernetes=1.36.3
kube_flags="-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1
  -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/client-go/pkg/version.gitVersion=v$kubernetes"
# Helm 3 assumes Kubernetes 1.20 unless the version is set at link time.
helm3_flags="-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36
  -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36
  -X helm.sh/helm/v3/internal/version.version=v3.21.4"

# Debian's package has promtool; building it from its Go module takes minutes. Without apt-get, the one on the PATH is used.
promtool() {
  [ -x "$cache/promtool" ] && return
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

# NAME -> module folder, package, linker flags
build() {
  local name=$1 module package flags="-s -w"
  if [ "$name" = promtool ]; then promtool; return; fi
  case $name in
    kube-*|kubectl) module=kubernetes package=k8s.io/kubernetes/cmd/$name flags=$kube_flags ;;
    etcd)  module=etcd  package=go.etcd.io/etcd/server/v3 ;;
    helm4) module=helm4 package=helm.sh/helm/v4/cmd/helm ;;
    helm3) module=helm3 package=helm.sh/helm/v3/cmd/helm flags=$helm3_flags ;;
    kwok)  module=kwok  package=sigs.k8s.io/kwok/cmd/kwok ;;
    *) say "unknown tool $name"; exit 2 ;;
  esac
  local key
  key=$( (cat "$here/$module/go.sum" "$here/build.sh"; go env GOARCH GOVERSION) | sha256sum | cut -c1-16)
  [ "$(cat "$cache/.$name.key" 2>/dev/null)" = "$key" ] && [ -x "$cache/$name" ] && return
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$name" ]; then
    ln -sf "$KUBEBUILDER_ASSETS/$name" "$cache/$name"; return
  fi
  local started=$SECONDS
  say "building $name (without cache: kube-apiserver takes about 4 minutes on two cores, the others about 1) ..."
  # -pgo=off: a profile in a main package would compile every dependency a second time.
  (cd "$here/$module" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS= \
    go build -mod=readonly -trimpath -buildvcs=false -pgo=off -ldflags "$flags" -o "$cache/$name" "$package") \
    2> >(grep -v '^go: downloading' >&2)
  if [ "$name" = kwok ]; then
    # kwok exits with "no stages found" without stages; its module contains the two usual sets.
    local stages; stages=$(cd "$here/kwok" && go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
    for stage in "$stages"/node/fast/node-*.yaml "$stages"/pod/fast/pod-*.yaml; do
      cat "$stage"; printf '\n---\n'
    done > "$cache/kwok-stages.yaml"
  fi
  printf '%s' "$key" > "$cache/.$name.key"
  say "built $name in $((SECONDS - started)) s"
}

names=("$@")
[ "${names[*]}" = all ] && names=(kube-apiserver kube-controller-manager kube-scheduler kubectl etcd helm4 helm3 kwok promtool)
for name in "${names[@]}"; do build "$name"; done
printf '%s\n' "$cache"
