#!/bin/sh
# Installs, with apt, the programs that test/interop and test/guest check this software against.
#
#   scripts/install-peers.sh           as root: install missing packages without output; nothing if all are installed
#   scripts/install-peers.sh --check   install nothing: name missing packages, exit 1 if there are any
#
# Can be run repeatedly; asks no questions. Without root it works like --check.
set -eu

# package:a file or program of the package, which shows that it is installed
packages='
nbdkit:nbdkit
libnbd-bin:nbdinfo
python3-libnbd:/usr/lib/python3/dist-packages/nbd.py
qemu-utils:qemu-io
qemu-system-x86:qemu-system-x86_64
fio:fio
nbd-client:nbd-client
openssl:openssl
busybox-static:busybox
debootstrap:debootstrap
cpio:cpio
redis-server:redis-server
prometheus:promtool
zsh:zsh
fish:fish
groff-base:groff
man-db:man
systemd:systemd-analyze
chromium:chromium
liblz4-dev:/usr/include/lz4.h
libc6-dev:/usr/include/stdio.h
'
PATH="$PATH:/usr/sbin:/sbin"

have() {
  case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" > /dev/null 2>&1 ;;
  esac
}

missing=
for line in $packages; do
  have "${line#*:}" || missing="$missing ${line%%:*}"
done
have cc || missing="$missing gcc"

[ -n "$missing" ] || exit 0

if [ "${1:-}" = --check ] || [ "$(id -u)" != 0 ] || ! have apt-get; then
  for package in $missing; do
    echo "install-peers: $package is missing; its tests are skipped, or fail where CI=true" >&2
  done
  have apt-get && echo "install-peers: as root, run: apt-get install --no-install-recommends$missing" >&2
  exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word per package
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } > "$log" 2>&1; then
  cat "$log" >&2
  echo "install-peers: apt-get could not install:$missing" >&2
  exit 1
fi
