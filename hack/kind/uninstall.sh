#!/bin/bash
# Takes Bulkhead off a cluster, with all that it has made on the nodes. Pods that it attached lose their network: delete them,
# or install another network and restart them. Works on any cluster that KIND_KUBECONFIG leads to.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
need kubectl
say "stopping the agents"
# The webhook goes first: with no controller behind it, it would refuse the removal of what follows.
kubectl delete --ignore-not-found validatingwebhookconfiguration/bulkhead >/dev/null
kubectl -n kube-system delete --ignore-not-found daemonset/bulkhead-agent >/dev/null
kubectl -n kube-system wait --for=delete pod -l app.kubernetes.io/name=bulkhead-agent --timeout=60s >/dev/null 2>&1 || true
say "cleaning the nodes"
sed "s#image: bulkhead:.*#image: $IMAGE#" "$root/manifests/uninstall/cleanup.yaml" | kubectl apply -f - >/dev/null
kubectl -n kube-system rollout status daemonset/bulkhead-cleanup --timeout=120s >/dev/null
kubectl -n kube-system delete daemonset/bulkhead-cleanup serviceaccount/bulkhead-cleanup >/dev/null
kubectl -n kube-system wait --for=delete pod -l app.kubernetes.io/name=bulkhead-cleanup --timeout=60s >/dev/null 2>&1 || true
say "removing objects"
kubectl -n kube-system delete --ignore-not-found deployment/bulkhead-controller >/dev/null
kubectl -n kube-system wait --for=delete pod -l app.kubernetes.io/name=bulkhead-controller --timeout=60s >/dev/null 2>&1 || true
# Networks are kept by a finalizer while in use; no controller is left to take it off.
if kubectl get crd virtualnetworks.bulkhead.dev >/dev/null 2>&1; then
  kubectl get virtualnetworks -A -o jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}' |
    while read -r namespace name; do
      [ -n "$name" ] || continue
      kubectl -n "$namespace" patch virtualnetwork "$name" --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
    done
fi
kubectl delete --ignore-not-found -f "$root/manifests/install.yaml" >/dev/null
# Conditions that no controller keeps true any more.
for node in $(kubectl get nodes -o name); do
  kubectl patch "$node" --subresource=status --type=strategic -p '{"status":{"conditions":[{"type":"BulkheadReady","$patch":"delete"},{"type":"NetworkUnavailable","$patch":"delete"}]}}' >/dev/null
done
kubectl -n kube-system delete --ignore-not-found secret/bulkhead-ca configmap/bulkhead-ca lease/bulkhead-controller >/dev/null
say "Bulkhead is gone from this cluster"
