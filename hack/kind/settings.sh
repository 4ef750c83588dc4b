# Settings of the kind scripts; sourced. Every one may be set from outside.
#   KIND_CLUSTER  name of the cluster           KIND_FAMILY   ipv4, ipv6 or dual
#   KIND_WORKERS  nodes beside the first        KIND_PROXY    mode of kube-proxy: iptables or nftables
#   KIND_IMAGE    node image; empty: kind's own BASE_IMAGE    what our image is built on; empty: Debian
#   IMAGE         name of our image             KUBE_LAB_DIR  a folder with build.sh and docker.sh that make node images from source
# Where such a folder lies beside the checkout (shared/kube-lab) and no KIND_IMAGE is given, the cluster is made without any
# container registry: the folder's scripts start a Docker engine when none answers and build the images that are missing.
KIND_CLUSTER=${KIND_CLUSTER:-bulkhead}
KIND_WORKERS=${KIND_WORKERS:-2}
KIND_FAMILY=${KIND_FAMILY:-ipv4}
KIND_PROXY=${KIND_PROXY:-iptables}
KIND_IMAGE=${KIND_IMAGE:-}
KUBE_LAB_DIR=${KUBE_LAB_DIR:-$root/../shared/kube-lab}
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$root/package.json")
IMAGE=${IMAGE:-bulkhead:$version}
export IMAGE
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
need() {
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed; install it and run again (docs/how-to/install.md)" >&2; exit 1; }
  done
}

offline=''
if [ -z "$KIND_IMAGE" ] && [ -x "$KUBE_LAB_DIR/build.sh" ]; then
  offline=1
  export KUBE_LAB="${KUBE_LAB:-$HOME/.cache/kube-lab}"
  export PATH="$KUBE_LAB/bin:$PATH"
  KIND_IMAGE=kube-lab/node:latest
  BASE_IMAGE=${BASE_IMAGE:-bulkhead-base:offline}
  export BASE_IMAGE
fi
mkdir -p "$root/dist/kind"
KUBECONFIG=${KIND_KUBECONFIG:-$root/dist/kind/$KIND_CLUSTER.kubeconfig}
export KUBECONFIG
