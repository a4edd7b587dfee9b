#!/usr/bin/env bash
# Builds a control plane of the oldest Kubernetes that the chart accepts, from its Go module. The last line of the output is a
# folder for TOOLS_DIR, in which the other tools are links to those of build.sh: TOOLS_DIR=$(tests/tools/floor.sh) cargo test ...
# A program is rebuilt only if its go.sum, the way it is built or the Go version changes. This is no part of build.sh, because
# a tool there has one version.
set -euo pipefail
version=1.33.13
here=$(cd "$(dirname "$0")" && pwd)
. "$here/progress.sh"
cache=$("$here/build.sh" etcd helm4 helm3 kwok prometheus promtool | tail -n 1)
. "$here/compile.sh"
minor=${version%.*}
module=kubernetes-$minor
folder=$cache/kube-$minor
mkdir -p "$folder"

flags="-s -w -X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1
  -X k8s.io/component-base/version.gitMinor=${minor#1.} -X k8s.io/client-go/pkg/version.gitVersion=v$version"
key=$( (cat "$here/$module/go.sum"; echo "$flags"; declare -f compile; GOTOOLCHAIN=local go env GOARCH GOVERSION) |
  sha256sum | cut -c1-16)
for name in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  [ "$(cat "$folder/.$name.key" 2>/dev/null)" = "$key" ] && [ -x "$folder/$name" ] && continue
  started=$SECONDS
  begin "$name-$minor"
  in_group compile "$module" "k8s.io/kubernetes/cmd/$name" "$flags" "$name"
  rm -f "$folder/.$name.key"
  mv -f "$work/$name" "$folder/$name"
  printf '%s' "$key" > "$folder/.$name.key"
  end "$name-$minor" $((SECONDS - started))
done
for name in etcd helm4 helm3 kwok prometheus promtool kwok-stages.yaml; do ln -sf "../$name" "$folder/$name"; done
printf '%s\n' "$folder"
