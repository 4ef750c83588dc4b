#!/bin/bash
# Loads images into all nodes of the cluster at once. As `kind load`, which goes from node to node and takes minutes for images
# that share most of what they hold.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
docker save -o "$archive" "$@"
jobs=()
for node in $(kind get nodes --name "$KIND_CLUSTER" 2>/dev/null); do
  docker exec -i "$node" ctr --namespace=k8s.io images import --all-platforms --digests - <"$archive" >/dev/null 2>&1 &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || { echo "an image could not be loaded: docker exec NODE ctr -n k8s.io images import" >&2; exit 1; }; done
