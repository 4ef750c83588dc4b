#!/bin/bash
# The cluster suite: a kind cluster of its own, installed, tested, uninstalled, and gone again. Ends with "N passed, N failed".
#   KIND_FAMILY=dual KIND_PROXY=iptables hack/kind-test.sh        one cluster
#   hack/kind-test.sh all                                         ipv4, ipv6 and dual, with both modes of kube-proxy
#   KEEP=1                                                        leave the cluster up
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ "${1:-}" = all ]; then
  code=0
  for family in ipv4 ipv6 dual; do
    for proxy in iptables nftables; do KIND_FAMILY=$family KIND_PROXY=$proxy KIND_NAMESPACES=${KIND_NAMESPACES:-100} hack/kind-test.sh || code=1; done
  done
  exit "$code"
fi
KIND_CLUSTER=${KIND_CLUSTER:-bulkhead-test}
KIND_FAMILY=${KIND_FAMILY:-dual}
export KIND_CLUSTER KIND_FAMILY
hack/setup.sh
. hack/kind/settings.sh
out=$(mktemp -d)
cleanup() {
  rm -rf "$out"
  [ -n "${KEEP:-}" ] || kind delete cluster --name "$KIND_CLUSTER" --kubeconfig "$KUBECONFIG" >/dev/null 2>&1 || true
}
trap cleanup EXIT
hack/kind/create.sh
hack/kind/snapshot.sh >"$out/before"
hack/kind/install.sh
hack/kind/stand-ins.sh examples
code=0
node_modules/.bin/node node_modules/vitest/vitest.mjs run --config vitest.kind.config.ts --reporter=default --reporter=json --outputFile.json="$out/report.json" "$@" || code=$?

# The suites of others for policies, in short, where their programs are.
suites='0 passed, 0 failed'
if PATH=$PATH:${KUBE_LAB:-$HOME/.cache/kube-lab}/bin command -v e2e.test ginkgo npa-conformance.test >/dev/null; then
  hack/kind/policy-suites.sh short | tee "$out/suites" || code=1
  suites=$(sed -n 's/^policy suites: //p' "$out/suites")
else
  echo "policy suites: not run: e2e.test, ginkgo and npa-conformance.test are not there (KUBE_LAB_DIR/build.sh e2e makes them)"
fi

# Kubernetes' own specs with every namespace isolated, in short.
isolated='0 passed, 0 failed'
if PATH=$PATH:${KUBE_LAB:-$HOME/.cache/kube-lab}/bin command -v e2e.test ginkgo >/dev/null; then
  ISOLATED=1 hack/kind/conformance.sh short | tee "$out/isolated" || code=1
  isolated=$(sed -n 's/^conformance: //p' "$out/isolated")
fi

# Uninstall, and look at every node as before the installation.
kubectl -n kube-system scale deployment/coredns --replicas=0 >/dev/null
kubectl -n kube-system wait --for=delete pod -l k8s-app=kube-dns --timeout=60s >/dev/null
# A pod is gone from the API before its kubelet has asked the plugin to take its interface away.
for node in $(kind get nodes --name "$KIND_CLUSTER" 2>/dev/null); do
  docker exec "$node" timeout 180 sh -c 'while ls /run/netns | grep -q ^cni-; do sleep 1; done' || echo "$node still has sandboxes of pods"
done
hack/kind/uninstall.sh
hack/kind/snapshot.sh >"$out/after"
uninstalled=1
if diff "$out/before" "$out/after" >"$out/diff"; then echo "uninstall leaves nothing behind"; else
  echo "uninstall leaves these differences (< before, > after):"
  cat "$out/diff"
  uninstalled=0
  code=1
fi
node_modules/.bin/node -e '
  const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
  const broken = r.testResults.filter((f) => f.status === "failed" && f.assertionResults.every((a) => a.status !== "failed")).length;
  const ok = Number(process.argv[2]);
  const counts = process.argv.slice(3).map((text) => text.match(/\d+/g).map(Number));
  const [passed, failed] = [0, 1].map((i) => counts.reduce((sum, c) => sum + c[i], 0));
  console.log(`${r.numPassedTests + ok + passed} passed, ${r.numFailedTests + broken + 1 - ok + failed} failed`);
' "$out/report.json" "$uninstalled" "${suites:-0 passed, 1 failed}" "${isolated:-0 passed, 1 failed}"
exit "$code"
