#!/bin/busybox sh
# The first process of a guest: brings up what commands need, then runs one line of the second serial
# port after the other and ends the answer to each with its status.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
while read -r module parameters; do
	insmod "/modules/$module" $parameters || echo "init: $module does not load"
done < /modules/order
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec 3< /dev/ttyS1 > /dev/ttyS1 2>&1
echo "@weir ready"
while read -r line <&3; do
	eval "$line" < /dev/null
	status=$?
	echo
	echo "@weir $status"
done
poweroff -f
