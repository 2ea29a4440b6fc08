#!/bin/sh
# Copies the modules of a kernel that a list names, and what they need: modules.sh LIST FROM ROOT,
# where FROM is a root with one lib/modules/RELEASE whose modules.dep is made.
#
# A line of the list is a path below lib/modules/RELEASE without .ko, or, with / at its end, a folder;
# with ! before it, it is left out. The last line that names a module counts.
set -eu

list=$1 from=$2 root=$3
release=$(basename "$from"/lib/modules/*)
modules=$from/lib/modules/$release
to=$root/lib/modules/$release
mkdir -p "$to"
awk '
    FNR == 1 { file++ }
    file == 1 && /^[^#]/ { named[++count] = $1 }
    file == 2 {
        path = $1
        sub(/:$/, "", path)
        needs[path] = ""
        for (i = 2; i <= NF; i++) needs[path] = needs[path] " " $i
        bare = path
        sub(/\.ko$/, "", bare)
        for (i = 1; i <= count; i++) {
            name = named[i]
            out = sub(/^!/, "", name)
            if (bare == name || (name ~ /\/$/ && index(bare, name) == 1)) {
                wanted[path] = !out
                used[i] = 1
            }
        }
    }
    END {
        for (i = 1; i <= count; i++) if (!used[i]) {
            print "the kernel has no module " named[i] > "/dev/stderr"
            bad = 1
        }
        if (bad) exit 1
        for (path in wanted) if (wanted[path]) {
            all[path]
            # depmod has followed the chain already.
            split(needs[path], others, " ")
            for (i in others) all[others[i]]
        }
        for (path in all) print path
    }
' "$list" "$modules/modules.dep" | sort > "$to/copied"
[ -s "$to/copied" ]
(cd "$modules" && cpio --quiet -pdm "$to" < "$to/copied")
rm "$to/copied"
cp "$modules/modules.builtin" "$modules/modules.builtin.modinfo" "$modules/modules.order" "$to"
depmod -b "$root" "$release"
# The text is what busybox reads.
rm -f "$to"/*.bin "$to/modules.builtin.modinfo" "$to/modules.order" "$to/modules.devname"
