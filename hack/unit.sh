#!/bin/sh
# Runs the unit and property tests. Needs npm and nothing else: no root, no network tools, no system packages.
#   hack/unit.sh core/policy     only files whose path contains the text
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
hack/packages.sh
exec node_modules/.bin/node node_modules/vitest/vitest.mjs run --project unit "$@"
