#!/bin/sh
# Sets up a checkout: packages by npm (Node 24 among them), system tools by the package manager, programs by hack/build.ts.
# Does only what is missing or older than its sources. Says nothing when there is nothing to do.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

missing=''
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }
for tool in nft ip conntrack nsenter unshare mount; do have "$tool" || missing="$missing $tool"; done
if [ -z "$missing" ] && ! ldconfig -p 2>/dev/null | grep -q 'libnftables\.so\.1'; then missing=' libnftables'; fi
if [ -n "$missing" ]; then
  say "setting up: installing system tools for$missing"
  if [ "$(id -u)" = 0 ] && have apt-get; then
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nftables libnftables1 iproute2 conntrack util-linux mount) >&2 ||
      { say "install by hand: nftables (with libnftables 1), iproute2, conntrack, util-linux"; exit 1; }
  elif [ "$(id -u)" = 0 ] && have dnf; then
    dnf install -y -q nftables iproute conntrack-tools util-linux >&2 || { say "install by hand: nftables, iproute, conntrack-tools, util-linux"; exit 1; }
  elif [ "$(id -u)" = 0 ] && have apk; then
    apk add -q nftables iproute2 conntrack-tools util-linux >&2 || { say "install by hand: nftables, iproute2, conntrack-tools, util-linux"; exit 1; }
  else
    say "install these and run again (as root): nftables with libnftables 1, iproute2, conntrack, util-linux (missing:$missing)"
    exit 1
  fi
fi

hack/packages.sh

if [ ! -f dist/.built ] || [ -n "$(find api lib core controller dataplane cni-plugin lab cli hack/build.ts package-lock.json -newer dist/.built -type f -not -name '*.md' -not -name '*.test.ts' -print -quit)" ]; then
  say "setting up: building"
  node_modules/.bin/node hack/build.ts
  touch dist/.built
fi
