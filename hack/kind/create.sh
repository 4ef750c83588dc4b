#!/bin/bash
# Creates a kind cluster without a network in it. Does nothing when it is there.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
if [ -n "$offline" ]; then
  [ -s "$KUBE_LAB/node.tar" ] || { say "building node images from source (once, about 15 minutes)"; "$KUBE_LAB_DIR/build.sh"; }
  "$KUBE_LAB_DIR/docker.sh"
  docker image inspect kube-lab/node:latest kube-lab/base:latest >/dev/null 2>&1 || docker load -q -i "$KUBE_LAB/node.tar" >/dev/null
  if ! docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; then
    # That base has nft, ip and conntrack, but not what Node links: taken from this machine, which is a Debian of the same release.
    context=$(mktemp -d)
    for lib in libstdc++.so.6 libgcc_s.so.1 libatomic.so.1; do
      path=$(ldconfig -p | awk -v lib="$lib" '$1 == lib {print $NF; exit}')
      [ -z "$path" ] || cp -L "$path" "$context/$lib"
    done
    printf 'FROM kube-lab/base:latest\nCOPY lib* /usr/lib/\nRUN ldconfig\n' >"$context/Dockerfile"
    DOCKER_BUILDKIT=0 docker build -q -t "$BASE_IMAGE" "$context" >/dev/null 2>&1
    rm -rf "$context"
  fi
fi
need docker kind kubectl
docker info >/dev/null 2>&1 || { echo "the Docker engine does not answer; start it and run again" >&2; exit 1; }
if kind get clusters 2>/dev/null | grep -qx "$KIND_CLUSTER"; then
  say "kind cluster $KIND_CLUSTER is there"
  kind export kubeconfig --name "$KIND_CLUSTER" --kubeconfig "$KUBECONFIG" >/dev/null 2>&1
  exit 0
fi
config=$root/dist/kind/$KIND_CLUSTER.yaml
{
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  disableDefaultCNI: true\n  ipFamily: %s\n  kubeProxyMode: %s\nnodes:\n- role: control-plane\n' "$KIND_FAMILY" "$KIND_PROXY"
  for _ in $(seq "$KIND_WORKERS"); do printf -- '- role: worker\n'; done
} >"$config"
say "creating kind cluster $KIND_CLUSTER: $((KIND_WORKERS + 1)) nodes, $KIND_FAMILY, kube-proxy $KIND_PROXY, no network yet"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
kind create cluster --name "$KIND_CLUSTER" ${KIND_IMAGE:+--image "$KIND_IMAGE"} --config "$config" --kubeconfig "$KUBECONFIG" >"$log" 2>&1 ||
  { cat "$log" >&2; exit 1; }
if [ -n "$offline" ]; then
  # Such machines may answer every TCP connection to any address: nothing leaves the cluster, refused at once.
  bridge=br-$(docker network inspect -f '{{slice .Id 0 12}}' kind)
  for t in iptables ip6tables; do
    $t -C DOCKER-USER -i "$bridge" ! -o "$bridge" -j REJECT 2>/dev/null || $t -I DOCKER-USER -i "$bridge" ! -o "$bridge" -j REJECT 2>/dev/null || true
  done
fi
