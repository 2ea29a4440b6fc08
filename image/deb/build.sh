#!/bin/sh
# Makes weir_VERSION_ARCHITECTURE.deb of a static binary: build.sh BINARY DIRECTORY
#
# Needs dpkg-deb, gzip and the tools of any Debian system, not debhelper. The same sources and binary
# make the same package, byte for byte: every time in it is that of the last commit, or what
# SOURCE_DATE_EPOCH says, and names, modes and owners do not depend on who builds it.
set -eu

[ $# -eq 2 ] || { echo "usage: build.sh BINARY DIRECTORY" >&2; exit 2; }
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
sources=$(realpath "$here/../..")

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$sources/Cargo.toml")
[ -n "$version" ] || { echo "Cargo.toml tells no version" >&2; exit 1; }
architecture=${ARCHITECTURE:-$(dpkg --print-architecture)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$sources" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

# put MODE FILE PATH
put() {
    mkdir -p "$tree/$(dirname "$3")"
    cp "$2" "$tree/$3"
    chmod "$1" "$tree/$3"
}

put 755 "$binary" usr/bin/weir
# Debug sections are for whoever builds it.
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$tree/usr/bin/weir"
ln -s weir "$tree/usr/bin/weirctl"
put 644 "$here/weir.service" lib/systemd/system/weir.service
put 644 "$here/weir.tmpfiles" usr/lib/tmpfiles.d/weir.conf
put 644 "$here/copyright" usr/share/doc/weir/copyright
put 644 "$here/lintian-overrides" usr/share/lintian/overrides/weir
mkdir -p "$tree/var/lib/weir"
chmod 700 "$tree/var/lib/weir"

for page in "$sources"/config/man/*.[1-9]; do
    name=$(basename "$page")
    put 644 "$page" "usr/share/man/man${name##*.}/$name"
done
# Folders hold no spaces or newlines: they are ours.
(cd "$sources/config/etc" && find . -type f | sort) | while read -r file; do
    # Who is let through is not for everybody's eyes.
    case $file in ./weir.*) mode=640 ;; *) mode=644 ;; esac
    put "$mode" "$sources/config/etc/$file" "etc/weir/$file"
done
date=$(date -R -d "@$SOURCE_DATE_EPOCH")
maintainer=$(sed -n 's/^Maintainer: //p' "$here/control")
printf 'weir (%s) unstable; urgency=medium\n\n  * See the history of the sources.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$date" > "$tree/usr/share/doc/weir/changelog"
find "$tree/usr/share/man" "$tree/usr/share/doc/weir/changelog" -type f -exec gzip -9n {} +

mkdir "$tree/DEBIAN"
size=$(du -sk --apparent-size --exclude=DEBIAN "$tree" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    "$here/control" > "$tree/DEBIAN/control"
(cd "$tree" && find etc -type f | sort | sed 's|^|/|') > "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    put 755 "$here/$script" "DEBIAN/$script"
done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z |
    xargs -0 md5sum) > "$tree/DEBIAN/md5sums"
chmod 644 "$tree/DEBIAN/control" "$tree/DEBIAN/conffiles" "$tree/DEBIAN/md5sums"

find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
package="$out/weir_${version}_$architecture.deb"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" > /dev/null
echo "$package"
