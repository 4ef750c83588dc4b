#!/bin/bash
# Builds stand-in images for the images that manifests name, and loads them into the cluster's nodes: each answers on the ports
# that the manifests declare for it. So examples run unedited, without a registry.
#   hack/kind/stand-ins.sh FILE-OR-FOLDER...
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
need docker kind
names=()
while read -r image ports; do
  if ! docker build -q -t "$image" --build-arg "IMAGE=$IMAGE" --build-arg "PORTS=$ports" -f "$root/hack/kind/stand-in.Dockerfile" "$root/dist/stand-in" >/dev/null 2>"$root/dist/kind/stand-in.log"; then
    cat "$root/dist/kind/stand-in.log" >&2
    exit 1
  fi
  names+=("$image")
done < <("$root/node_modules/.bin/node" "$root/hack/kind/images.ts" "$@")
say "loading ${#names[@]} stand-in images"
"$root/hack/kind/load.sh" "${names[@]}"
