#!/bin/sh
# run.sh [FOLDER]: the x86 selftests of Debian's Linux 6.1, 64-bit and 32-bit, in the guest with Debian's kernel, and which of
# them do not end as expected.txt says. FOLDER keeps the programs, the initramfs and the log. Needs `cargo xtask build` and
# `cargo xtask stock`, and Debian's packages linux-source-6.1, gcc-multilib and busybox-static. They change the machine
# that they run on, so they are for a guest only. In the environment: engine=auto, seconds=300 (for each).
set -eu
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
work=$(realpath -m "${1:-$root/build/selftests}")
mkdir -p "$work"
source=linux-source-6.1
folder=$work/$source/tools/testing/selftests/x86
if ! [ -e "$work/built" ]; then
    tar -xJf "/usr/src/$source.tar.xz" -C "$work" --wildcards \
        "$source/tools/testing/selftests/x86" "$source/tools/testing/selftests/*.h" \
        "$source/tools/testing/selftests/lib.mk" "$source/tools/scripts" "$source/scripts/Makefile.compiler" \
        "$source/scripts/subarch.include" "$source/arch/x86/include" "$source/tools/arch/x86/include" \
        "$source/tools/include"
    make -s -C "$folder" EXTRA_CFLAGS="-static -DCAN_BUILD_32 -DCAN_BUILD_64" 2>"$work/make.log" || {
        cat "$work/make.log"
        exit 1
    }
    touch "$work/built"
fi
tree=$work/tree
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/tests" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp"
cp /bin/busybox "$tree/bin/busybox"
for program in "$folder"/*_32 "$folder"/*_64; do strip -o "$tree/tests/$(basename "$program")" "$program"; done
cat >"$tree/init" <<INIT
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
cd /tests
for test in *; do
    echo "RUN \$test"
    timeout -s KILL ${seconds:-300} ./\$test </dev/null
    echo "RESULT \$test \$?"
done
echo "SELFTESTS END"
poweroff -f
INIT
chmod +x "$tree/init"
mknod "$tree/dev/console" c 5 1
(cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$work/selftests.cpio"
log=$work/${engine:-auto}.log
node "$root/www/bin/dinghy.mjs" run --memory 512 --cpu max --engine "${engine:-auto}" --timeout 3600 \
    --kernel "$root/build/stock/linux-image-amd64/vmlinuz" --initrd "$work/selftests.cpio" \
    --append "console=ttyS0 quiet panic=-1 vsyscall=emulate" >"$log" 2>&1 || true
tr -d '\r' <"$log" | sed -n 's/^RESULT //p' >"$work/results"
grep -q "^SELFTESTS END" "$log" || echo "the guest did not come to its end: see $log"
echo "$(wc -l <"$work/results") programs, $(grep -c ' 0$' "$work/results") exit with 0"
grep -v ' 0$' "$work/results" || true
diff "$here/expected.txt" "$work/results"
