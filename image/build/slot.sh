#!/bin/sh
# Makes a slot's file system, with its kernel and initrd:
# slot.sh WORK BINARY PACKAGES RELEASE VERSION LAYOUT NETMAP OUT
set -eu

work=$1 binary=$2 packages=$3 release=$4 version=$5 layout=$6 netmap=$7 out=$8
here=$(dirname "$(realpath "$0")")
image=$(dirname "$here")
busybox=$packages/busybox-static/bin/busybox

# squeeze ROOT: what newc archives hold, from a sorted list, with times and owners that say nothing.
squeeze() {
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$1" && find . -mindepth 1 | sort | cpio --quiet --reproducible -R 0:0 -H newc -o)
}

# The initrd: a minute of work for the build is a tenth of a second of every boot.
initrd=$work/initrd
mkdir -p "$initrd/bin"
cp "$busybox" "$initrd/bin/busybox"
ln -s bin "$initrd/sbin"
cp "$image/boot/init" "$initrd/init"
chmod 755 "$initrd/init"
"$here/modules.sh" "$here/modules.initrd" "$work/modules" "$initrd"
squeeze "$initrd" | zstd -19 -T1 -q -c > "$work/initrd.zst"

root=$work/root
for folder in bin boot data dev etc/weir mnt proc root run sys usr/bin usr/lib/weir usr/share/doc \
    var/lib/weir var/log/weir; do
    mkdir -p "$root/$folder"
done
ln -s bin "$root/sbin"
ln -s ../bin "$root/usr/sbin"
ln -s run/tmp "$root/tmp"
ln -s ../run "$root/var/run"
ln -s ../proc/self/mounts "$root/etc/mtab"
ln -s ../run/resolv.conf "$root/etc/resolv.conf"
cp -r "$image/root/." "$root"
chmod 700 "$root/root" "$root/var/lib/weir"

cp "$packages/linux-image-$release/boot/vmlinuz-$release" "$root/boot/vmlinuz"
cp "$work/initrd.zst" "$root/boot/initrd"

cp "$busybox" "$root/bin/busybox"
while read -r applet; do
    case $applet in '#'* | '') continue ;; esac
    ln -s busybox "$root/bin/$applet"
done < "$here/applets"

cp "$binary" "$root/usr/bin/weir"
chmod 755 "$root/usr/bin/weir"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/weir"
ln -s weir "$root/usr/bin/weirctl"

cat "$here/modules.initrd" "$here/modules.root" > "$work/modules.list"
# What init loads first and in any case, in this order: no device asks for these before it is too late.
{
    if [ -n "$netmap" ]; then
        (cd "$work/modules/lib/modules/$release" && find updates -name '*.ko' | sed 's/\.ko$//') \
            >> "$work/modules.list"
        echo netmap
    fi
    printf '%s\n' crc32c_generic ext4 vfat exfat isofs nls_cp437 nls_ascii nls_iso8859_1 nls_utf8 \
        sd_mod usb_storage uas usbhid hid_generic tun
} > "$root/usr/lib/weir/modules"
"$here/modules.sh" "$work/modules.list" "$work/modules" "$root"

cp "$work/upgrade.pub" "$root/usr/lib/weir/upgrade.pub"
printf 'VERSION=%s\nLAYOUT=%s\nBUILT=%s\n' "$version" "$layout" \
    "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" > "$root/usr/lib/weir/release"
# For the installer, which has no mke2fs that makes a journal.
"$here/data.sh" "$work/data.ext4"
xz -9 -T1 --check=crc32 -c "$work/data.ext4" > "$root/usr/lib/weir/data.ext4.xz"
for package in "$packages"/*/usr/share/doc/*/copyright; do
    name=$(basename "$(dirname "$package")")
    mkdir -p "$root/usr/share/doc/$name"
    cp "$package" "$root/usr/share/doc/$name/copyright"
done
mkdir -p "$root/usr/share/doc/weir"
cp "$image/../LICENSE" "$root/usr/share/doc/weir/copyright"

find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
rm -f "$out"
# GRUB reads the kernel and the initrd, which are packed already: as they are, since it unpacks slowly.
mksquashfs "$root" "$out" -action "uncompressed@subpathname(boot)" -comp xz -b 256K -all-root \
    -no-xattrs -noappend -no-progress -quiet -processors 1 > /dev/null
