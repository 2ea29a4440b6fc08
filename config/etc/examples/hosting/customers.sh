#!/bin/sh
# Makes the customers' part of hosting.conf out of a list of customers.
#
#   customers.sh write FOLDER < LIST        fills FOLDER with tables, bindings and anchors
#   customers.sh demo COUNT FOLDER > LIST   makes customers up, some with rules of their own in
#                                           FOLDER/own
#
# A line of the list is
#
#   NAME  HARDWARE-ADDRESS  IPV4-PREFIX  IPV6-PREFIX  SERVICE ...
#   c0042 02:00:5e:00:00:2a 198.18.1.80/29 2001:db8:2a::/48 web mail dns ssh
#
# with services out of: web mail dns ssh game. # begins a comment. If FOLDER/own/NAME.conf is there,
# its rules hold for what the world sends to this customer.
set -eu

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

demo() {
    mkdir -p "$2/own"
    awk -v count="$1" -v own="$2/own" 'BEGIN {
        for (n = 1; n <= count; n++) {
            v4 = n * 8
            line = sprintf("c%04d 02:00:5e:00:%02x:%02x 198.%d.%d.%d/29 2001:db8:%x::/48", n,
                int(n / 256) % 256, n % 256,
                18 + int(v4 / 65536), int(v4 / 256) % 256, v4 % 256, n)
            if (n % 10 != 0) line = line " web"
            if (n % 3 == 0) line = line " mail"
            if (n % 7 == 0) line = line " dns"
            if (n % 2 == 0) line = line " ssh"
            if (n % 25 == 0) line = line " game"
            print line
            if (n % 50 == 0) {
                file = sprintf("%s/c%04d.conf", own, n)
                print "# This customer has an application server, for one partner only." > file
                print "pass proto tcp from 203.0.113.0/24 to any port 8443 label \"own\"" > file
                print "# Nor may others try passwords." > file
                print "block proto tcp to any port ssh label \"own\"" > file
                print "pass proto tcp from 203.0.113.0/24 to any port ssh label \"own\"" > file
                close(file)
            }
        }
    }'
}

write() {
    mkdir -p "$1"
    own=$(cd "$1" && ls own 2>/dev/null || true)
    # A list with a mistake in it writes nothing.
    awk -v folder="$1" -v own="$own" '
    function wrong(what) {
        printf "line %d: %s: %s\n", NR, what, $0 > "/dev/stderr"
        failed = 1
        exit 1
    }
    BEGIN {
        split("web mail dns ssh game", services)
        for (i in services) known[services[i]] = 1
        split(own, files)
        for (i in files) has_own[files[i]] = 1
    }
    { sub(/#.*/, "") }
    NF == 0 { next }
    NF < 4 { wrong("expected NAME HARDWARE-ADDRESS IPV4-PREFIX IPV6-PREFIX SERVICE ...") }
    $1 !~ /^[a-z][a-z0-9-]*$/ { wrong("a name is of small letters, digits and -") }
    $2 !~ /^[0-9a-f:]+$/ || $3 !~ /^[0-9.]+\/[0-9]+$/ || $4 !~ /^[0-9a-f:]+\/[0-9]+$/ {
        wrong("no address")
    }
    {
        if (seen[$1]++) wrong("this name was there before")
        nets = $3 "\n" $4 "\n"
        rack = rack nets
        for (i = 5; i <= NF; i++) {
            if (!($i in known)) wrong("unknown service " $i)
            table[$i] = table[$i] nets
        }
        # A machine asks whether its address is free before it has one (RFC 5227, 2.1.1).
        bindings = bindings sprintf("ether pass in on lan proto arp from %s l3 from { %s, 0.0.0.0 }\n", $2, $3)
        bindings = bindings sprintf("ether pass in on lan from %s l3 from { %s, %s } tag MACHINE label \"%s\"\n", $2, $3, $4, $1)
        if (($1 ".conf") in has_own) {
            anchors = anchors sprintf("anchor \"%s\" in on wan to { %s, %s }\n", $1, $3, $4)
            anchors = anchors sprintf("load anchor \"%s\" from \"own/%s.conf\"\n", $1, $1)
        }
    }
    END {
        if (failed) exit 1
        printf "%s", rack > (folder "/rack")
        for (i in known) printf "%s", table[i] > (folder "/" i)
        printf "%s", bindings > (folder "/bindings.conf")
        printf "%s", anchors > (folder "/anchors.conf")
    }'
}

case "${1-} $#" in
"demo 3") demo "$2" "$3" ;;
"write 2") write "$2" ;;
*) usage ;;
esac
