#!/bin/bash
# Kubernetes' own e2e.test, unmodified, on the cluster of `make kind`: all specs of [sig-network] … [Conformance]. e2e.test and ginkgo
# must be on the PATH (they come with a Kubernetes release's test archive), or are built by KUBE_LAB_DIR/build.sh e2e.
#   FOCUS='HostPort' hack/kind/conformance.sh      only some
#   ISOLATED=1 hack/kind/conformance.sh            with every new namespace isolated: two specs must fail, as docs/conformance says
#   ISOLATED=1 hack/kind/conformance.sh short      a few that need the API server, or a node port of their own: what `make kind-test` runs
# Ends with "conformance: N passed, N failed"; a spec that must fail and does counts as passed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
if ! command -v e2e.test >/dev/null || ! command -v ginkgo >/dev/null; then
  [ -n "$offline" ] || { echo "e2e.test and ginkgo are needed on the PATH" >&2; exit 1; }
  "$KUBE_LAB_DIR/build.sh" e2e
fi
reports=$root/dist/kind/conformance
rm -rf "$reports"
mkdir -p "$reports"
focus=${FOCUS:-\[sig-network\].*\[Conformance\]}
[ "${1:-}" = short ] && focus='Proxy version v1 should proxy through a service and a pod|AdmissionWebhook.*should mutate pod and apply defaults|CustomResourceConversionWebhook.*should be able to convert from CR v1 to CR v2|create a functioning NodePort service'
closed=''
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
  # From a node's own processes to a pod of another node.
  closed='Granular Checks: Pods \[It\] should function for node-pod communication: (http|udp)'
fi
ginkgo --procs="${PROCS:-3}" --no-color --focus="$focus" --skip='\[Serial\]|\[Disruptive\]' --timeout=40m \
  "$(command -v e2e.test)" -- --kubeconfig "$KUBECONFIG" --provider=skeleton --report-dir="$reports" --disable-log-dump >"$reports/log" 2>&1 || true
grep -E '^Ran |Passed \|' "$reports/log" | sort -u
number() { sed -nE "s/.* ([0-9]+) $1 .*/\1/p" "$reports/log" | tail -1; }
passed=$(number Passed)
failed=$(number Failed)
if [ -n "$closed" ]; then
  closed_failed=$(grep -E '^ +\[FAIL\]' "$reports/log" | sort -u | grep -cE "$closed" || true)
  closed_ran=$([ "${1:-}" = short ] || [ -n "${FOCUS:-}" ] && echo "$closed_failed" || echo 2)
  echo "closed by design, as they must be: $closed_failed of $closed_ran"
  # One that passed although it must not is a failure.
  failed=$((failed - closed_failed + closed_ran - closed_failed))
  passed=$((passed + closed_failed - closed_ran + closed_failed))
fi
grep -E '^ +\[FAIL\]' "$reports/log" | sort -u | { [ -n "$closed" ] && grep -vE "$closed" || cat; } || true
echo "conformance: ${passed:-0} passed, ${failed:-1} failed"
[ "${failed:-1}" -eq 0 ] && [ "${passed:-0}" -gt 0 ]
