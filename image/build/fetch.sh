#!/bin/sh
# Has the packages of the list `packages` in a folder, each with the very bytes that are named there:
# fetch.sh FOLDER. The archives lie in FOLDER, what is in them in FOLDER/unpacked/PACKAGE.
set -eu

here=$(dirname "$(realpath "$0")")
mkdir -p "$1/unpacked"
folder=$(realpath "$1")

# matches FILE SHA256
matches() { echo "$2  $1" | sha256sum --check --status 2> /dev/null; }

grep -v '^#' "$here/packages" | while read -r package version hash _; do
    archive=$folder/${package}_$(echo "$version" | sed 's/:/%3a/')_amd64.deb
    if ! matches "$archive" "$hash"; then
        rm -f "$archive"
        echo "fetching $package $version"
        if ! said=$(cd "$folder" && apt-get -qq download "$package:amd64=$version" 2>&1); then
            echo "$said" >&2
            echo "image/build/packages names $package $version, which the archive does not have (or the" \
                "package index is old: apt-get update). Put the archive that has the SHA-256 named" \
                "there at $archive, or take today's versions: make image-pin" >&2
            exit 1
        fi
        if ! matches "$archive" "$hash"; then
            echo "$archive is not what image/build/packages names: its SHA-256 is" \
                "$(sha256sum "$archive" | cut -d ' ' -f 1)" >&2
            exit 1
        fi
        rm -rf "$folder/unpacked/$package"
    fi
    if [ "$(cat "$folder/unpacked/$package.sha256" 2> /dev/null)" != "$hash" ]; then
        rm -rf "$folder/unpacked/$package"
        dpkg-deb -x "$archive" "$folder/unpacked/$package"
        echo "$hash" > "$folder/unpacked/$package.sha256"
    fi
done
