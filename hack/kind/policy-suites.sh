#!/bin/bash
# The suites of others for policies, unmodified, on the cluster that KUBECONFIG leads to: Kubernetes' e2e.test (Netpol, NetworkPolicy)
# and the conformance tests of network-policy-api 0.2.0. Their programs (e2e.test, ginkgo, npa-conformance.test) must be on the PATH,
# or are looked for where KUBE_LAB_DIR/build.sh e2e puts them.
#   hack/kind/policy-suites.sh short      a few of each: what `make kind-test` runs
#   hack/kind/policy-suites.sh            all
#   hack/kind/policy-suites.sh report     the conformance report of network-policy-api, with every test, also those that ask for SCTP
# Specs for SCTP need a kernel with SCTP sockets: SCTP=1 adds them. Ends with "policy suites: N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
PATH=$PATH:${KUBE_LAB:-$HOME/.cache/kube-lab}/bin
reports=$root/dist/kind/policy-suites
mkdir -p "$reports"
passed=0
failed=0
count() { # FILE PATTERN
  grep -cE "$2" "$1" || true
}

if [ "${1:-}" = report ]; then
  report=$reports/network-policy-api-report.yaml
  cd "$root"
  KUBECONFIG=$KUBECONFIG npa-conformance.test -test.v -test.timeout 90m -test.run '^TestConformanceProfiles$' -all-features \
    -conformance-profiles=ClusterNetworkPolicy -organization=bulkhead -project=bulkhead -version="$(node_modules/.bin/node -p 'require("./package.json").version')" \
    -url=https://bulkhead.dev -contact=none -additional-info=none -report-output="$report" >"$reports/npa-report.log" 2>&1 || true
  grep -cE '^ +--- (PASS|FAIL)' "$reports/npa-report.log" || true
  echo "report: $report"
  exit 0
fi

focus='Netpol|NetworkPolicy'
[ "${1:-}" = short ] && focus="Netpol NetworkPolicy between server and client should (enforce policy based on Multiple PodSelectors and NamespaceSelectors|support a 'default-deny-ingress' policy|enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector)"
skip='SCTPConnectivity'
[ -n "${SCTP:-}" ] && skip='NothingIsSkipped'
ginkgo --procs="${PROCS:-3}" --no-color --focus="$focus" --skip="$skip" --timeout=50m "$(command -v e2e.test)" -- \
  --kubeconfig "$KUBECONFIG" --provider=skeleton --report-dir="$reports" --disable-log-dump >"$reports/e2e.log" 2>&1 || true
grep -E '^Ran |\[FAIL\]|Passed \|' "$reports/e2e.log" | sort -u
passed=$((passed + $(sed -nE 's/.*-- ([0-9]+) Passed.*/\1/p' "$reports/e2e.log" | tail -1)))
failed=$((failed + $(sed -nE 's/.* ([0-9]+) Failed.*/\1/p' "$reports/e2e.log" | tail -1)))

# 14 of the 24 tests are free of SCTP.
tests='CNP(Admin|Baseline)Tier((Egress|Ingress)(TCP|UDP|NamedPort)|PriorityField|Integration)'
[ "${1:-}" = short ] && tests='CNP(AdminTierIngressTCP|BaselineTierEgressNamedPort|AdminTierPriorityField)'
[ -n "${SCTP:-}" ] && tests='.*'
KUBECONFIG=$KUBECONFIG npa-conformance.test -test.v -test.timeout 50m -test.run "^TestConformance\$/^${tests}\$" -all-features >"$reports/npa.log" 2>&1 || true
grep -E '^    --- (PASS|FAIL)' "$reports/npa.log" || tail -5 "$reports/npa.log"
passed=$((passed + $(count "$reports/npa.log" '^    --- PASS')))
failed=$((failed + $(count "$reports/npa.log" '^    --- FAIL')))
# The suites do not wait for their namespaces to go.
for _ in $(seq 1 60); do
  kubectl get namespaces -o name | grep -qE '/(netpol-|network-policy-conformance-)' || break
  sleep 3
done
echo "policy suites: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
