#!/bin/sh
# native.sh TREE: runs the suites in the tree on this machine's own processor and kernel, in namespaces of their own.
# `suites`, `parts`, `part` and `SECONDS_EACH` are handed on. Needs root.
set -eu
exec unshare --mount --pid --net --uts --fork sh -eu -c '
    mount --bind "$1" "$1"
    cd "$1"
    mount -t proc proc proc
    mount --rbind /dev dev
    mount -t tmpfs tmp tmp
    hostname suites
    exec chroot . /usr/bin/env -i suites="${suites:-openssl,python}" parts="${parts:-1}" part="${part:-0}" \
        SECONDS_EACH="${SECONDS_EACH:-1}" LIMIT="${LIMIT:-900}" sh /suites/suites.sh
' native "$(realpath "$1")"
