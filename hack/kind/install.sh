#!/bin/bash
# Builds the image, loads it into the cluster's nodes, applies install.yaml and waits until every node is Ready and DNS runs.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
need docker kind kubectl
say "building image $IMAGE"
"$root/hack/image.sh" >/dev/null
say "loading it into the nodes"
"$root/hack/kind/load.sh" "$IMAGE"
say "applying manifests/install.yaml"
sed "s#image: bulkhead:.*#image: $IMAGE#" "$root/manifests/install.yaml" | kubectl apply -f - >"$root/dist/kind/apply.log"
# An image of the same name may have new contents.
if grep -q 'daemonset.apps/bulkhead-agent \(unchanged\|configured\)' "$root/dist/kind/apply.log"; then
  kubectl -n kube-system rollout restart daemonset/bulkhead-agent deployment/bulkhead-controller >/dev/null
fi
kubectl -n kube-system rollout status deployment/bulkhead-controller --timeout=180s >/dev/null
kubectl -n kube-system rollout status daemonset/bulkhead-agent --timeout=180s >/dev/null
kubectl wait --for=condition=Ready node --all --timeout=120s >/dev/null
kubectl -n kube-system rollout status deployment/coredns --timeout=180s >/dev/null
say "every node is Ready, CoreDNS runs"
