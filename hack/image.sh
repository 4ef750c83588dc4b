#!/bin/sh
# Builds the container image: gathers programs, Node and native parts for one machine type, then `docker build`.
#   IMAGE=bulkhead:0.1.0   name of the result          BASE_IMAGE=debian:bookworm-slim   what it is built on
#   ARCH=amd64             or arm64: the parts come from npm, the base must be of the same type
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
hack/setup.sh
PATH="$root/node_modules/.bin:$PATH"
version=$(node -p 'require("./package.json").version')
IMAGE=${IMAGE:-bulkhead:$version}
case $(uname -m) in aarch64 | arm64) host=arm64 ;; *) host=amd64 ;; esac
ARCH=${ARCH:-$host}
command -v docker >/dev/null || { echo "docker is needed to build the image" >&2; exit 1; }

node hack/image.ts --arch "$ARCH" --host "$host"
if docker buildx version >/dev/null 2>&1; then
  set -- buildx build --load --platform "linux/$ARCH"
else # the classic builder; it knows no platforms, so the type is told as an argument
  set -- build --build-arg "TARGETARCH=$ARCH"
  export DOCKER_BUILDKIT=0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! docker "$@" -t "$IMAGE" ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --build-arg "VERSION=$version" -f Dockerfile dist/image >"$log" 2>&1; then
  cat "$log" >&2
  echo "the image could not be built; BASE_IMAGE must be reachable (docker pull ${BASE_IMAGE:-debian:bookworm-slim})" >&2
  exit 1
fi
echo "$IMAGE"
