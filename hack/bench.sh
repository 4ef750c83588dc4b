#!/bin/sh
# Benchmarks; needs root. Installs the reference plugins to compare with when the package manager has them.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
hack/setup.sh
if [ ! -x /usr/lib/cni/ptp ] && command -v apt-get >/dev/null 2>&1; then
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends containernetworking-plugins) >&2 ||
    echo "the reference plugins (containernetworking-plugins) cannot be installed: measuring without them" >&2
fi
exec node_modules/.bin/node hack/bench/main.ts "$@"
