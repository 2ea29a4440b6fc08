#!/bin/sh
# Makes a tar file of a clean, minimal Debian 12 root: make-root.sh FILE. Needs root and debootstrap.
set -eu

[ $# -eq 1 ] || { echo "usage: make-root.sh FILE" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
debootstrap --variant=minbase bookworm "$work/root"
rm -f "$work"/root/var/cache/apt/archives/*.deb
tar -C "$work/root" -cf "$1.new" .
mv "$1.new" "$1"
