#!/bin/bash
# Installs the package on a clean Debian 12 root, starts what its unit starts, removes and purges it:
# test.sh PACKAGE ROOT, where ROOT is a tar file that make-root.sh has made. Needs root, ip and unshare.
#
# systemd does not run there: the unit's ExecStart line is run as it stands, in a network namespace with
# two cables. What the unit keeps from the process is not tried.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: test.sh PACKAGE ROOT" >&2; exit 2; }
package=$(realpath "$1")
clean=$(realpath "$2")

# Everything that is mounted, connected or started goes with the namespaces.
if [ -z "${WEIR_INSIDE:-}" ]; then
    export WEIR_INSIDE=yes
    exec unshare --mount --net --pid --fork --kill-child --propagation private "$0" "$@"
fi

work=$(mktemp -d)
clean_up() {
    [ -z "${weir:-}" ] || kill -KILL "$weir" 2>/dev/null || true
    [ -z "${weir:-}" ] || wait "$weir" 2>/dev/null || true
    umount "$work/root/proc" "$work/root/sys" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
root=$work/root
mkdir "$root"
fail() {
    echo "FAILED: $*" >&2
    [ ! -e "$work/log" ] || cat "$work/log" >&2
    exit 1
}
enter=(chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
    DEBIAN_FRONTEND=noninteractive)
inside() {
    "${enter[@]}" "$@"
}

echo "== a clean Debian 12"
tar -C "$root" -xf "$clean"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"

echo "== install"
cp "$package" "$root/weir.deb"
inside dpkg -i /weir.deb
for group in weir weir-ro; do
    inside getent group "$group" || fail "no group $group"
done
[ "$(inside id -gn weir)" = weir ] || fail "no user weir"
[ "$(stat -c %a:%U:%G "$root/etc/weir/weir.conf")" = 640:root:root ] || fail "mode of the rules"
for path in /usr/bin/weir /usr/bin/weirctl /etc/weir/weir.conf /etc/weir/weir.toml \
    /etc/weir/examples/home.conf /lib/systemd/system/weir.service /var/lib/weir /run/weir \
    /usr/share/doc/weir/copyright; do
    [ -e "$root$path" ] || fail "no $path"
done
[ "$(stat -c %a:%U "$root/var/lib/weir")" = 700:root ] || fail "mode of /var/lib/weir"
inside dpkg --verify weir || fail "files differ from the package"
inside weir --version
inside weir check --strict /etc/weir/weir.conf /etc/weir/weir.toml
find "$root/usr/share/man" -name 'weir*.gz' | grep -q weir.8 || fail "no manual"

echo "== start"
# A namespace may inherit this from the machine.
sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
for port in lan wan; do
    ip link add "${port}0" type veth peer name "${port}-peer"
done
sed -i -e 's/^# lan = .*/lan = "lan0"/' -e 's/^# wan = .*/wan = "wan0"/' "$root/etc/weir/weir.toml"
start=$(sed -n 's/^ExecStart=//p' "$root/lib/systemd/system/weir.service")
[ -n "$start" ] || fail "the unit starts nothing"
# shellcheck disable=SC2086 # a command line
"${enter[@]}" $start > "$work/log" 2>&1 &
weir=$!
for _ in $(seq 300); do
    ! grep -q '^weir: forwarding lan=lan0 wan=wan0' "$work/log" || break
    kill -0 "$weir" 2>/dev/null || fail "it ended"
    sleep 0.1
done
grep '^weir: forwarding lan=lan0 wan=wan0' "$work/log" || fail "it does not forward"
inside weirctl -s info | grep -m1 '^Status: Enabled' || fail "it does not answer"
inside weirctl -s rules | grep -q block || fail "it has no rules"

echo "== upgrade, with settings that were edited"
inside dpkg -i /weir.deb < /dev/null
grep -q '^lan = "lan0"' "$root/etc/weir/weir.toml" || fail "the settings were overwritten"
kill -0 "$weir" || fail "it ended"
# chroot and env were replaced by it.
kill -TERM "$weir"
wait "$weir" || fail "it did not end well"
weir=

echo "== remove"
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants"
ln -s /lib/systemd/system/weir.service "$wants/weir.service"
inside dpkg -r weir
[ ! -e "$root/usr/bin/weir" ] && [ ! -e "$root/run/weir" ] || fail "something is left"
[ ! -L "$wants/weir.service" ] || fail "it is still wanted at boot"
[ -e "$root/etc/weir/weir.toml" ] && [ -d "$root/var/lib/weir" ] || fail "too much is gone"

echo "== purge"
inside dpkg -P weir
for path in /etc/weir /var/lib/weir /var/log/weir; do
    [ ! -e "$root$path" ] || fail "$path is left: $(find "$root$path")"
done
inside dpkg --audit
echo "installed, started, upgraded, removed and purged"
