#!/bin/bash
# Kubernetes' own e2e.test, unmodified, on the cluster of `make kind`: all specs of [sig-network] … [Conformance]. e2e.test and ginkgo
# must be on the PATH (they come with a Kubernetes release's test archive), or are built by KUBE_LAB_DIR/build.sh e2e.
#   FOCUS='HostPort' hack/kind/conformance.sh      only some
#   ISOLATED=1 hack/kind/conformance.sh            with every new namespace isolated by default
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
if ! command -v e2e.test >/dev/null || ! command -v ginkgo >/dev/null; then
  [ -n "$offline" ] || { echo "e2e.test and ginkgo are needed on the PATH" >&2; exit 1; }
  "$KUBE_LAB_DIR/build.sh" e2e
fi
reports=$root/dist/kind/conformance
mkdir -p "$reports"
code=0
if [ -n "${ISOLATED:-}" ]; then
  reset() { kubectl delete bulkheadconfig default --ignore-not-found >/dev/null; }
  trap reset EXIT
  kubectl apply -f - >/dev/null <<YAML
apiVersion: bulkhead.dev/v1alpha1
kind: BulkheadConfig
metadata: {name: default}
spec: {isolation: {newNamespaces: Isolated}}
YAML
  kubectl wait --for=jsonpath='{.status.isolatingSince}' bulkheadconfig/default --timeout=30s >/dev/null
fi
ginkgo --procs="${PROCS:-3}" --no-color --focus="${FOCUS:-\[sig-network\].*\[Conformance\]}" --skip='\[Serial\]|\[Disruptive\]' --timeout=40m \
  "$(command -v e2e.test)" -- --kubeconfig "$KUBECONFIG" --provider=skeleton --report-dir="$reports" --disable-log-dump >"$reports/log" 2>&1 || code=$?
grep -E '^Ran |\[FAIL\]|Passed \|' "$reports/log" | sort -u
exit "$code"
