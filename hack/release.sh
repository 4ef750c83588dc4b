#!/bin/sh
# Builds what a user takes home into dist/release: images, install.yaml, the Helm chart, the kubectl plugin, checksums, an SBOM.
#   ARCHES="amd64 arm64"   machine types of the images; empty: no image
#   REPOSITORY=bulkhead    where the manifests say that the image is      RELEASE_URL   where the files will be published
#   ALLOW_DIRTY=1          also from files that are not committed; the version then ends with ".dirty"
# A version is cut with hack/release/cut.ts first: it dates the changelog. Without a tag, the version says how far behind it is.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
if [ -z "${ALLOW_DIRTY:-}" ] && [ -n "$(git status --porcelain)" ]; then
  echo "a release is made of what is committed, and these files are not (ALLOW_DIRTY=1 for a trial):" >&2
  git status --short >&2
  exit 1
fi
hack/setup.sh
set --
for arch in ${ARCHES-amd64 arm64}; do set -- "$@" --arch "$arch"; done
[ $# -gt 0 ] || set -- --no-image
exec node_modules/.bin/node hack/release/main.ts "$@" ${REPOSITORY:+--repository "$REPOSITORY"} ${RELEASE_URL:+--url "$RELEASE_URL"}
