#!/bin/sh
# init.sh: the guest's /init, which runs the suites and powers off.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
# As in the namespaces of native.sh.
hostname suites
ln -sf /proc/self/fd /dev/fd
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
sh /suites/suites.sh
echo o >/proc/sysrq-trigger
sleep 60
