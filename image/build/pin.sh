#!/bin/sh
# Writes the versions that the package index offers now into the list `packages`: pin.sh FOLDER, where
# the archives are downloaded to. The kernel is the one that linux-image-amd64 stands for.
set -eu

here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
folder=$(realpath "$1")
kernel=$(apt-cache depends --important linux-image-amd64 \
    | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-amd64\)$/\1/p' | tail -n 1)
[ -n "$kernel" ] || { echo "the package index has no linux-image-amd64 (apt-get update)" >&2; exit 1; }

sed -n '/^#/p' "$here/packages" > "$folder/packages.new"
grep -v '^#' "$here/packages" | while read -r package _ _ licence; do
    case $package in linux-image-*) package=$kernel ;; esac
    version=$(apt-cache show --no-all-versions "$package:amd64" | sed -n 's/^Version: //p')
    archive=$folder/${package}_$(echo "$version" | sed 's/:/%3a/')_amd64.deb
    # apt checks it against the signed index.
    (cd "$folder" && apt-get -qq download "$package:amd64=$version")
    echo "$package $version $(sha256sum "$archive" | cut -d ' ' -f 1) $licence"
done >> "$folder/packages.new"
mv "$folder/packages.new" "$here/packages"
grep -v '^#' "$here/packages"
