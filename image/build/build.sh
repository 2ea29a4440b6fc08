#!/bin/sh
# Makes the appliance's image of a static binary: build.sh [--netmap-ko FILE] BINARY DIRECTORY
#
# In DIRECTORY there are then weir.img (for a disk or stick, BIOS and UEFI), weir.img.xz,
# weir-VERSION.upgrade (a slot, signed), weir.spdx.json (what is in it) and weir-slot.squashfs. Needs no
# privileges and no loop devices. The same sources, binary, key and tools make the same files, byte for
# byte: every time is that of the last commit, or what SOURCE_DATE_EPOCH says.
#
# WEIR_SIGNING_KEY names minisign's secret key for upgrades; without it one for tries is made in
# DIRECTORY/keys. --netmap-ko puts in a netmap.ko that was built for this kernel, and every other .ko
# that lies beside it (patched drivers, which go before the kernel's own).
set -eu

netmap=""
if [ "${1:-}" = --netmap-ko ]; then
    netmap=$(realpath "$2")
    shift 2
fi
[ $# -eq 2 ] || { echo "usage: build.sh [--netmap-ko FILE] BINARY DIRECTORY" >&2; exit 2; }
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
sources=$(realpath "$here/../..")
PATH=$PATH:/usr/sbin:/sbin

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$sources/Cargo.toml")
[ -n "$version" ] || { echo "Cargo.toml tells no version" >&2; exit 1; }
# Others write releases and disks of this layout: image/README.md.
layout=1
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$sources" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

"$here/fetch.sh" "$out/cache"
packages=$out/cache/unpacked
kernel=$(sed -n 's/^\(linux-image-[^ ]*\) .*/\1/p' "$here/packages")
release=${kernel#linux-image-}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# The key first: it may ask for its password.
key=${WEIR_SIGNING_KEY:-$out/keys/development.key}
if [ -z "${WEIR_SIGNING_KEY:-}" ]; then
    if [ ! -e "$key" ]; then
        mkdir -p "$out/keys"
        minisign -G -W -p "$out/keys/development.pub" -s "$key" > /dev/null
    fi
    echo "*** WEIR_SIGNING_KEY is not set: upgrades are signed with a key for tries, $key." >&2
    echo "*** Boxes of this image take upgrades from whoever has that file." >&2
fi
minisign -R -s "$key" -p "$work/upgrade.pub" > /dev/null

"$here/modules-of.sh" "$packages/$kernel" "$release" "$netmap" "$work/modules"
"$here/slot.sh" "$work" "$binary" "$packages" "$release" "$version" "$layout" "$netmap" \
    "$out/weir-slot.squashfs"
size=$(stat -c %s "$out/weir-slot.squashfs")
# 64 MiB, of which init keeps the last two.
[ "$size" -le $((62 << 20)) ] || { echo "a slot of $size bytes is too large" >&2; exit 1; }

minisign -S -s "$key" -m "$out/weir-slot.squashfs" -x "$work/signature" \
    -c "weir $version" -t "weir $version layout $layout size $size" > /dev/null
cat "$work/signature" "$out/weir-slot.squashfs" > "$out/weir-$version.upgrade"

"$here/disk.sh" "$work" "$packages" "$out/weir-slot.squashfs" "$netmap" "$out/weir.img"
xz -6 -T1 --check=crc32 -c "$out/weir.img" > "$out/weir.img.xz"
"$here/sbom.sh" "$sources" "$binary" "$version" "$out" "$netmap" > "$work/spdx"
mv "$work/spdx" "$out/weir.spdx.json"
ls -l "$out/weir.img" "$out/weir.img.xz" "$out/weir-$version.upgrade" "$out/weir.spdx.json"
