#!/bin/sh
# native.sh BENCH.cpio FOLDER: the yardstick's passes on this machine's own processor and kernel, by the
# initramfs's own programs and in the initramfs's own tree, held in memory as the guest's is. Prints what
# /init prints from the first pass on. Powers nothing off: /init itself is not run.
# FOLDER is where the tree is mounted, for these programs alone. bench=NAME,NAME in the environment picks
# programs. Needs cpio and unshare; root, or user namespaces.
set -eu
cpio=$(realpath "$1")
root=$(realpath "$2")
[ "$(id -u)" = 0 ] && as_root= || as_root=--map-root-user
# All mounts are the namespace's, and end with it.
exec unshare $as_root --mount sh -eu -c '
    mount -t tmpfs yardstick "$1"
    cd "$1"
    cpio --extract --quiet --no-absolute-filenames --nonmatching dev/console <"$2"
    mount --rbind /proc proc
    mount --rbind /dev dev
    mount -t tmpfs tmp tmp
    exec chroot . /bin/busybox env -i PATH=/bin bench="${bench:-}" /bin/sh -c ". /bin/passes.sh
        echo \"DONE \$(cat /proc/uptime)\""
' native "$root" "$cpio"
