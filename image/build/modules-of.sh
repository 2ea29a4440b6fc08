#!/bin/sh
# Lays a kernel package's modules, and those of --netmap-ko, into a root, and says what needs what:
# modules-of.sh PACKAGE RELEASE NETMAP ROOT, where PACKAGE is the unpacked package, NETMAP may be empty.
set -eu

package=$1 release=$2 netmap=$3 root=$4
mkdir -p "$root/lib/modules"
cp -r "$package/lib/modules/$release" "$root/lib/modules/$release"
if [ -n "$netmap" ]; then
    # depmod prefers what is in this folder to the kernel's own of the same name.
    mkdir "$root/lib/modules/$release/updates"
    for module in "$(dirname "$netmap")"/*.ko; do
        magic=$(modinfo -F vermagic "$module")
        if [ "${magic%% *}" != "$release" ]; then
            echo "$module was built for Linux ${magic%% *}, and the image has $release" >&2
            exit 1
        fi
        cp "$module" "$root/lib/modules/$release/updates/"
    done
fi
depmod -b "$root" "$release"
