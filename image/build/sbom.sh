#!/bin/sh
# Prints what is in the image as SPDX 2.3 JSON: sbom.sh SOURCES BINARY VERSION DIRECTORY NETMAP
#
# Debian's packages are those of the list `packages`; crates are those that cargo links into weir.
set -eu

sources=$1 binary=$2 version=$3 out=$4 netmap=$5
here=$(dirname "$(realpath "$0")")
hash() { sha256sum "$1" | cut -d ' ' -f 1; }
image=$(hash "$out/weir.img")
host=$(rustc -vV | sed -n 's/^host: //p')

# A line for each: name, version, where it is from (purl), licence, SHA-256.
{
    printf 'weir\t%s\tpkg:generic/weir@%s\tBSD-2-Clause\t%s\n' "$version" "$version" "$(hash "$binary")"
    grep -v '^#' "$here/packages" | while read -r name its sum licence; do
        printf '%s\t%s\tpkg:deb/debian/%s@%s?arch=amd64\t%s\t%s\n' \
            "$name" "$its" "$name" "$its" "$licence" "$sum"
    done
    if [ -n "$netmap" ]; then
        for module in "$(dirname "$netmap")"/*.ko; do
            printf '%s\tunknown\t\tNOASSERTION\t%s\n' "$(basename "$module")" "$(hash "$module")"
        done
    fi
    # Linked statically.
    rustc=$(rustc -V | cut -d ' ' -f 2)
    printf 'rust-std\t%s\tpkg:generic/rust-std@%s\tMIT OR Apache-2.0\t\n' "$rustc" "$rustc"
    libc=$(dpkg-query -W -f '${Version}' libc6-dev 2> /dev/null || echo unknown)
    case $host in *-gnu)
        printf 'glibc\t%s\tpkg:deb/debian/glibc@%s\tLGPL-2.1-or-later\t\n' "$libc" "$libc" ;;
    esac
    (cd "$sources" && cargo tree --locked --offline -p weir -e normal --target "$host" --prefix none \
        --format '{p}|{l}') | sed 's/ (\*)$//' | grep -v '(/' | sort -u |
        while IFS='|' read -r crate licence; do
            name=${crate%% v*}
            its=$(echo "$crate" | sed 's/^[^ ]* v\([^ ]*\).*/\1/')
            sum=$(awk -v name="$name" -v its="$its" '
                $1 == "name" { here = $3 == "\"" name "\"" }
                $1 == "version" { here = here && $3 == "\"" its "\"" }
                $1 == "checksum" && here { gsub(/"/, "", $3); print $3; exit }
            ' "$sources/Cargo.lock")
            licence=$(echo "$licence" | sed 's| */ *| OR |g; s/(\*)//; s/ *$//')
            printf '%s\t%s\tpkg:cargo/%s@%s\t%s\t%s\n' \
                "$name" "$its" "$name" "$its" "${licence:-NOASSERTION}" "$sum"
        done
} | awk -F '\t' -v image="$image" -v version="$version" \
    -v created="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" '
    function package(id, name, its, purl, licence, sum) {
        printf "    {\n      \"SPDXID\": \"%s\",\n      \"name\": \"%s\",\n", id, name
        printf "      \"versionInfo\": \"%s\",\n      \"downloadLocation\": \"NOASSERTION\",\n", its
        printf "      \"filesAnalyzed\": false,\n      \"licenseConcluded\": \"%s\",\n", licence
        printf "      \"licenseDeclared\": \"%s\",\n      \"copyrightText\": \"NOASSERTION\"", licence
        if (sum) printf ",\n      \"checksums\": [{ \"algorithm\": \"SHA256\", \"checksumValue\": \"%s\" }]", sum
        if (purl) printf ",\n      \"externalRefs\": [{ \"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\", \"referenceLocator\": \"%s\" }]", purl
        printf "\n    }"
    }
    BEGIN {
        print "{\n  \"spdxVersion\": \"SPDX-2.3\",\n  \"dataLicense\": \"CC0-1.0\","
        print "  \"SPDXID\": \"SPDXRef-DOCUMENT\",\n  \"name\": \"weir-" version "\","
        print "  \"documentNamespace\": \"urn:sha256:" image "\","
        print "  \"creationInfo\": {\n    \"created\": \"" created "\",\n    \"creators\": [\"Tool: image/build/sbom.sh\"]\n  },"
        print "  \"packages\": ["
        package("SPDXRef-image", "weir.img", version, "", "NOASSERTION", image)
    }
    {
        printf ",\n"
        package("SPDXRef-" NR, $1, $2, $3, $4, $5)
    }
    END {
        print "\n  ],\n  \"relationships\": ["
        printf "    { \"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\", \"relatedSpdxElement\": \"SPDXRef-image\" }"
        for (i = 1; i <= NR; i++)
            printf ",\n    { \"spdxElementId\": \"SPDXRef-image\", \"relationshipType\": \"CONTAINS\", \"relatedSpdxElement\": \"SPDXRef-%d\" }", i
        print "\n  ]\n}"
    }'
