#!/bin/sh
# Sets this checkout beside another version of the repository, in one run. Needs root.
#   REF=v0.1.0 hack/bench/beside.sh [--quick]
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
[ -n "${REF:-}" ] || { echo "say with which version to compare: make bench-beside REF=<commit or tag>" >&2; exit 2; }
commit=$(git rev-parse --verify --quiet "$REF^{commit}") || { echo "there is no commit $REF" >&2; exit 2; }
hack/setup.sh
other=$(mktemp -d)
cleanup() { git worktree remove --force "$other/tree" >/dev/null 2>&1 || true; rm -rf "$other"; }
trap cleanup EXIT
trap 'exit 130' INT TERM
git worktree add --quiet --detach "$other/tree" "$commit"
"$other/tree/hack/setup.sh"
node_modules/.bin/node hack/bench/beside.ts "$other/tree" "$(git rev-parse --short "$commit")" "$@"
