#!/bin/sh
# Installs the npm packages of a checkout, Node 24 among them, when they are missing or older than the lock. Needs npm, no root.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
[ ! -x node_modules/.bin/node ] || [ ! -f node_modules/.setup ] || [ package-lock.json -nt node_modules/.setup ] || exit 0
command -v npm >/dev/null 2>&1 || {
  echo "install Node.js with npm (any version that can install packages); Node 24 itself comes from npm" >&2
  exit 1
}
echo "setting up: installing packages" >&2
# Not `npm ci`: it refuses the lock where a registry lacks builds for other platforms. --no-save leaves the lock as it is.
npm install --no-save --no-audit --no-fund --loglevel=error >&2
touch node_modules/.setup
