#!/usr/bin/env bash
# Builds a control plane of the oldest Kubernetes that the chart accepts, from its Go module. The last line of the output is a
# folder for TOOLS_DIR, in which the other tools are links to those of build.sh: TOOLS_DIR=$(tests/tools/floor.sh) cargo test ...
# A program is rebuilt only if go.sum, this script or the Go version changes. This is no part of build.sh, because a change of
# that script rebuilds every tool.
set -euo pipefail
version=1.33.13
here=$(cd "$(dirname "$0")" && pwd)
tools=$("$here/build.sh" etcd helm4 helm3 kwok promtool | tail -n 1)
minor=${version%.*}
module=$here/kubernetes-$minor
folder=$tools/kube-$minor
mkdir -p "$folder"

flags="-s -w -X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1
  -X k8s.io/component-base/version.gitMinor=${minor#1.} -X k8s.io/client-go/pkg/version.gitVersion=v$version"
key=$( (cat "$module/go.sum" "$0"; go env GOARCH GOVERSION) | sha256sum | cut -c1-16)
for name in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  [ "$(cat "$folder/.$name.key" 2>/dev/null)" = "$key" ] && [ -x "$folder/$name" ] && continue
  started=$SECONDS
  echo "$(date +%H:%M:%S) building $name $version (without cache: minutes) ..." >&2
  (cd "$module" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS= \
    go build -mod=readonly -trimpath -buildvcs=false -pgo=off -ldflags "$flags" -o "$folder/$name" "k8s.io/kubernetes/cmd/$name") \
    2> >(grep -v '^go: downloading' >&2)
  printf '%s' "$key" > "$folder/.$name.key"
  echo "$(date +%H:%M:%S) built $name $version in $((SECONDS - started)) s" >&2
done
for name in etcd helm4 helm3 kwok promtool kwok-stages.yaml; do ln -sf "../$name" "$folder/$name"; done
printf '%s\n' "$folder"
