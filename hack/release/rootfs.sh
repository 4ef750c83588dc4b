#!/bin/sh
# Writes the base of the image as a tar: Debian's packages for one machine type, unpacked and not configured, so that no program of the
# other type has to run here. Prints nothing; needs mmdebstrap and a Debian mirror.
#   hack/release/rootfs.sh amd64|arm64 OUT.tar
set -eu
arch=$1
out=$2
command -v mmdebstrap >/dev/null || { echo "install mmdebstrap (a Debian package) to build the image without docker" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The list of packages is what scanners of images read. Manuals and translations stay out; copyright files stay in.
# shellcheck disable=SC2016 # $1 is mmdebstrap's
mmdebstrap --variant=extract --architectures="$arch" \
  --include=nftables,libnftables1,conntrack,iproute2,libstdc++6,libgcc-s1,dash,coreutils,grep,sed \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --extract-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb -f "$deb" Package Version Architecture; echo "Status: install ok unpacked"; echo; done >"$1/packages"; mv "$1/packages" "$1/var/lib/dpkg/status"' \
  --extract-hook='cd "$1" && rm -rf usr/share/man usr/share/locale usr/share/info usr/share/lintian usr/share/perl5 usr/share/bash-completion' \
  --extract-hook='find "$1/usr/share/doc" -type f ! -name copyright -delete' \
  bookworm "$out" >"$log" 2>&1 || { tail -20 "$log" >&2; exit 1; }
