#!/bin/sh
# What the tests need beside the product: programs that look at networks from outside, kubectl, Go for the reference cnitool and
# for helm, and mmdebstrap and skopeo for the image of a release.
set -eu
missing=''
for pair in dig:dnsutils ping:iputils-ping curl:curl python3:python3 mmdebstrap:mmdebstrap skopeo:skopeo; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
command -v kubectl >/dev/null 2>&1 || missing="$missing kubernetes-client"
command -v cnitool >/dev/null 2>&1 || [ -x .cache/go/bin/cnitool ] || command -v go >/dev/null 2>&1 || [ -x /usr/local/go/bin/go ] || missing="$missing golang-go"
[ -z "$missing" ] && exit 0
echo "setting up: installing test tools:$missing" >&2
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  # shellcheck disable=SC2086 # a list of packages
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing) >&2 && exit 0
fi
echo "install these and run again:$missing" >&2
exit 1
