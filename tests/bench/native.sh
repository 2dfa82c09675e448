#!/bin/sh
# native.sh BENCH.cpio: the yardstick's passes on this machine's own processor and kernel, by the initramfs's
# own programs and in the initramfs's own tree, held in memory as the guest's is. Prints what /init prints
# from the first pass on, and DONE. Powers nothing off: /init itself is not run.
# bench=NAME,NAME in the environment picks programs. Needs cpio and unshare; root, or user namespaces.
set -eu
cpio=$(realpath "$1")
root=$(mktemp -d)
trap 'rmdir "$root"' EXIT
[ "$(id -u)" = 0 ] && as_root= || as_root=--map-root-user
# The namespaces end with the script, and everything that was mounted or started in them.
unshare $as_root --mount --pid --fork --kill-child sh -eu -c '
    mount -t tmpfs yardstick "$1"
    cd "$1"
    cpio --extract --quiet --no-absolute-filenames --nonmatching dev/console <"$2"
    mount --rbind /proc proc
    mount --rbind /dev dev
    mount -t tmpfs tmp tmp
    exec chroot . /bin/busybox env -i PATH=/bin bench="${bench:-}" /bin/sh /bin/passes.sh
' native "$root" "$cpio"
echo "DONE $(cat /proc/uptime)"
