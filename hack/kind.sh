#!/bin/bash
# A kind cluster with Bulkhead and the two-shops example in it, and who reaches whom there. Every step does only what is missing.
#   hack/kind.sh [up|down|uninstall]      settings: hack/kind/settings.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
hack/setup.sh
. hack/kind/settings.sh
case ${1:-up} in
  up)
    hack/kind/create.sh
    hack/kind/install.sh
    hack/kind/stand-ins.sh examples/shops
    say "applying examples/shops"
    kubectl apply -f examples/shops >/dev/null
    for namespace in shop-a shop-b shop-flat; do
      kubectl -n "$namespace" wait --for=condition=Ready pod --all --timeout=180s >/dev/null
    done
    ./bulkhead reach
    printf '\nThe cluster stays up. Next:  export KUBECONFIG=%s   kubectl get vn -A   ./bulkhead trace shop-a/web shop-b/web   make kind-uninstall   make kind-down\n' "$KUBECONFIG"
    ;;
  uninstall) hack/kind/uninstall.sh ;;
  down) kind delete cluster --name "$KIND_CLUSTER" --kubeconfig "$KUBECONFIG" ;;
  *) echo "hack/kind.sh: up, down or uninstall" >&2; exit 2 ;;
esac
