#!/usr/bin/env bash
# `context.sh [NAME]` refuses a context that the demo would refuse, before minutes of compiling: the current context must
# be that of a local cluster, or NAME, which the user typed out. src/current/context.rs decides again and for all cases;
# without a kubectl on the PATH nothing is refused here.
set -euo pipefail

refuse() { echo "error: the demo does not run on this cluster: $1" >&2; exit 1; }

current=$(KUBERC=off kubectl config view -o 'jsonpath={.current-context}' 2>/dev/null) || exit 0
[ -n "$current" ] || refuse "the kubeconfig has no current context: \`kubectl config use-context NAME\` sets one"
if [ $# -gt 0 ]; then
  [ "$1" = "$current" ] || refuse "CONTEXT is $1, and the current context is $current: type CONTEXT=$current, or run \
\`kubectl config use-context $1\` first"
  exit 0
fi
case $current in
  kind-?*|k3d-?*|minikube|docker-desktop) ;;
  *) refuse "the current context $current is none of kind-*, k3d-*, minikube and docker-desktop: if the demo may create \
objects there, type CONTEXT=$current" ;;
esac
