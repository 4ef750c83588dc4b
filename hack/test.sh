#!/bin/sh
# Runs every test: unit and property tests, then those that need root and real packets. Ends with "N passed, N failed".
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
hack/setup.sh
hack/test-tools.sh
out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
node_modules/.bin/node node_modules/vitest/vitest.mjs run --reporter=default --reporter=json --outputFile.json="$out" "$@" || code=$?
node_modules/.bin/node -e '
  const r = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
  const broken = r.testResults.filter((f) => f.status === "failed" && f.assertionResults.every((a) => a.status !== "failed")).length;
  console.log(`${r.numPassedTests} passed, ${r.numFailedTests + broken} failed${r.numPendingTests ? `, ${r.numPendingTests} skipped` : ""}`);
' "$out"
exit "$code"
