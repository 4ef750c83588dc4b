#!/bin/sh
# What must be true of the tree itself. Goes through all checks and fails at the end when one failed.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1
hack/setup.sh || exit 1
PATH="$root/node_modules/.bin:$PATH"
failed=''
check() {
  name=$1
  shift
  if "$@"; then printf '%-12s ok\n' "$name"; else
    printf '%-12s FAILED\n' "$name"
    failed="$failed $name"
  fi
}
check types tsc -p tsconfig.json
check lint oxlint --type-aware --deny-warnings --silent
check format biome format --log-level=error .
check generated node hack/generate.ts --check
check imports node node_modules/vitest/vitest.mjs run --project unit test/imports.test.ts --reporter=dot
if [ -n "$failed" ]; then
  echo "verify failed:$failed" >&2
  exit 1
fi
