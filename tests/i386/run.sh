#!/bin/sh
# run.sh [FOLDER]: Debian's static busybox for i386, and the yardstick's programs built with -m32, in the guest with a 64-bit
# kernel: compiled and interpreted. Fails if a program gets a wrong result or does not come to its end. FOLDER keeps the
# busybox, the initramfs and the logs. Needs `cargo xtask build`, gcc-multilib and what tests/bench/mkinitramfs.sh needs.
# In the environment: engines="auto interp", bench (names of programs, parted by commas; all), timeout=3600.
set -eu
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
work=$(realpath -m "${1:-$root/build/i386}")
mkdir -p "$work"
if ! [ -e "$work/busybox" ]; then
    # Lists of packages of their own: the machine's architectures stay as they are.
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' EXIT
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    chmod -R 755 "$apt"
    set -- -qq -o APT::Sandbox::User=root -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" \
        -o APT::Architecture=i386 -o APT::Architectures=i386
    # Other sources than Debian's need not have i386.
    apt-get "$@" update >"$work/apt.log" 2>&1 || true
    (cd "$apt" && apt-get "$@" download busybox-static)
    dpkg-deb --fsys-tarfile "$apt"/busybox-static_*_i386.deb | tar -xO ./bin/busybox >"$work/busybox"
    chmod +x "$work/busybox"
fi
BUSYBOX=$work/busybox sh "$root/tests/bench/mkinitramfs.sh" "$work/i386.cpio" -m32
failed=0
for engine in ${engines:-auto interp}; do
    log=$work/$engine.log
    node "$root/www/bin/dinghy.mjs" run --memory 1024 --engine "$engine" --timeout "${timeout:-3600}" \
        --kernel "$root/build/kernel/vmlinux" --initrd "$work/i386.cpio" \
        --append "console=ttyS0 quiet panic=-1 ${bench:+bench=$bench}" --stats >"$log" 2>&1 || true
    tr -d '\r' <"$log" >"$log.text"
    echo "$engine: $(grep -c '^BENCH' "$log.text") right, $(grep -c '^WRONG' "$log.text") wrong," \
        "$(grep -q '^DONE' "$log.text" && echo to the end || echo not to the end)"
    grep '^WRONG' "$log.text" && failed=1
    grep -q '^DONE' "$log.text" || failed=1
done
exit $failed
