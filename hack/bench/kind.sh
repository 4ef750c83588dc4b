#!/bin/bash
# Pods started and stopped on a real kubelet, beside the reference plugin ptp on the same node, in turns; memory and CPU of the
# agent at 100 pods. Needs the cluster of `make kind`. Prints a table for docs/benchmarks.md.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
rounds=${ROUNDS:-5}
image=${BENCH_IMAGE:-nginx:1}
node=$(kubectl get nodes -o name | sed 's#node/##' | grep worker | sort | sed -n 1p)
ptp=/etc/cni/net.d/00-bench-ptp.conflist
cleanup() {
  docker exec "$node" rm -f "$ptp"
  kubectl delete namespace bench-kind --ignore-not-found --wait=false >/dev/null 2>&1 || true
}
trap cleanup EXIT
kubectl create namespace bench-kind --dry-run=client -o yaml | kubectl apply -f - >/dev/null
now() { date +%s%N; }
pods() { # pods PREFIX COUNT [NODE]: manifests of pods that do nothing
  for i in $(seq "$2"); do
    printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: %s-%s, namespace: bench-kind, labels: {set: %s}}\nspec:\n  terminationGracePeriodSeconds: 0\n  automountServiceAccountToken: false\n' "$1" "$i" "$1"
    [ -z "${3:-}" ] || printf '  nodeName: %s\n' "$3"
    printf '  containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, command: [sleep, infinity]}]\n---\n' "$image"
  done
}
use() { # which plugin the runtime takes for the next pods
  if [ "$1" = ptp ]; then
    docker exec -i "$node" sh -c "cat >$ptp" <<<'{"cniVersion":"0.4.0","name":"bench","plugins":[{"type":"ptp","ipam":{"type":"host-local","subnet":"10.99.0.0/24"}}]}'
  else docker exec "$node" rm -f "$ptp"; fi
  sleep 2 # containerd reads the folder when it changes
}
measure() { # measure PLUGIN COUNT: "start stop" in ms
  local set t0 t1 t2
  set=$1-$2-$RANDOM
  t0=$(now)
  pods "$set" "$2" "$node" | kubectl apply -f - >/dev/null
  kubectl -n bench-kind wait --for=condition=Ready pod -l "set=$set" --timeout=120s >/dev/null
  t1=$(now)
  kubectl -n bench-kind delete pod -l "set=$set" --wait=true >/dev/null
  t2=$(now)
  echo "$(((t1 - t0) / 1000000)) $(((t2 - t1) / 1000000))"
}
median() { sort -n | awk '{a[NR]=$1} END {print (NR % 2) ? a[(NR+1)/2] : int((a[NR/2] + a[NR/2+1]) / 2)}'; }
declare -A start stop
for count in 1 30; do
  for _ in $(seq "$rounds"); do
    for plugin in bulkhead ptp; do
      use "$plugin"
      read -r a b < <(measure "$plugin" "$count")
      start[$plugin$count]+="$a"$'\n'
      stop[$plugin$count]+="$b"$'\n'
    done
  done
done
use bulkhead
pids() { docker exec "$node" sh -c 'for p in /proc/[0-9]*; do grep -qa "^/opt/bulkhead/bin/node.*bulkhead-agent.mjs" $p/cmdline 2>/dev/null && basename $p; done; true' | sed -n 1p; }
pods many 100 | kubectl apply -f - >/dev/null
kubectl -n bench-kind wait --for=condition=Ready pod -l set=many --timeout=300s >/dev/null
sleep 5
pid=$(pids)
ticks() { docker exec "$node" awk '{print $14 + $15}' "/proc/$pid/stat"; }
before=$(ticks); sleep 30; after=$(ticks)
rss=$(docker exec "$node" awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status")
cpu=$(awk -v t=$((after - before)) 'BEGIN {printf "%.1f", t / 30}')
printf '| pods on one node, kubectl apply to all Ready, and delete to all gone, ms | bulkhead | ptp | ratio |\n|---|---|---|---|\n'
for count in 1 30; do
  for what in start stop; do
    declare -n values=$what
    mine=$(printf '%s' "${values[bulkhead$count]}" | median)
    theirs=$(printf '%s' "${values[ptp$count]}" | median)
    printf '| %s %s | %s | %s | %s |\n' "$what" "$count" "$mine" "$theirs" "$(awk -v a="$mine" -v b="$theirs" 'BEGIN {printf "%.2f", a / b}')"
  done
done
printf '\nMedians of %s rounds in turns. Agent with 100 pods in the cluster (half of them on its node): %s MB resident, %s %% of one core at rest.\n' "$rounds" "$rss" "$cpu"
