#!/bin/bash
# What an installation could leave behind on the nodes and in the API: links, addresses, routes, nft tables, namespaces, files, kinds.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$root/hack/kind/settings.sh"
for node in $(kind get nodes --name "$KIND_CLUSTER" 2>/dev/null | sort); do
  docker exec -e "NODE=$node" "$node" sh -c '
    say() { sed "s/^/$NODE $1: /"; }
    ip -o link | awk -F": " "{print \$2}" | sed "s/@.*//" | sort | say link
    ip -o addr | awk "{print \$2, \$4}" | sort | say address
    { ip -4 route show table all; ip -6 route show table all; } | grep -v "^multicast\|^broadcast" | sed "s/ expires.*//; s/ metric.*//" | sort -u | say route
    ip rule | say rule
    nft list tables | grep -v "kube\|ip nat\|ip filter\|ip mangle\|ip6 nat\|ip6 filter\|ip6 mangle" | sort | say nft
    ls /run/netns 2>/dev/null | sort | say netns
    ls -d /run/bulkhead* /var/lib/bulkhead* /etc/cni/net.d/* /opt/cni/bin/* 2>/dev/null | sort | say file'
  kubectl get node "$node" -o jsonpath='{range .status.conditions[*]}{.type}{"\n"}{end}' | sort | sed "s/^/$node condition: /"
done
kubectl get crd,clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,validatingwebhookconfiguration -o name 2>/dev/null | grep -i bulkhead | sort || true
kubectl -n kube-system get all,configmap,secret,lease,role,rolebinding,serviceaccount,poddisruptionbudget -o name 2>/dev/null | grep -i bulkhead | sort || true
