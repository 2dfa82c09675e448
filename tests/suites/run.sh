#!/bin/sh
# run.sh [FOLDER]: OpenSSL's and CPython's own tests from Debian 12, on this machine's processor and in the guest (in node,
# with what `cargo xtask build` has built), and what differs. FOLDER keeps the tree, the image and the logs.
# In the environment: suites=openssl,python (both), parts=6 (boots that share the modules of Python), part (that one
# alone), cpu=v2 (the guest's processor), timeout=7200 (seconds for a boot). Needs root, e2fsprogs and the packages of
# make-tree.sh.
set -eu
here=$(dirname "$(realpath "$0")")
work=$(realpath -m "${1:-$here/../../build/suites}")
mkdir -p "$work"
suites=${suites:-openssl,python}
parts=${parts:-6}
name=$(echo "$suites-${part:-all}-of-$parts-${cpu:-v2}" | tr , -)
if ! [ -e "$work/tree/suites/suites.sh" ]; then
    rm -rf "$work/tree"
    sh "$here/make-tree.sh" "$work/tree"
fi
cp "$here/modules" "$here/run-modules.py" "$here/run-openssl.sh" "$here/suites.sh" "$work/tree/suites/"
cp "$here/init.sh" "$work/tree/init"
chmod +x "$work/tree/init"
rm -f "$work/suites.ext4"
truncate -s 400M "$work/suites.ext4"
mke2fs -q -t ext4 -d "$work/tree" "$work/suites.ext4"
export suites parts
: >"$work/$name.native"
: >"$work/$name.guest"
: >"$work/$name.log"
chosen=${part:-$(seq 0 $((parts - 1)))}
for part in $chosen; do
    export part
    sh "$here/native.sh" "$work/tree" >>"$work/$name.native" 2>&1
    node "$here/../../www/bin/dinghy.mjs" run --memory 1024 --cpu "${cpu:-v2}" --disk "$work/suites.ext4:ro" \
        --timeout "${timeout:-7200}" --stats \
        --append "console=ttyS0 quiet panic=-1 root=/dev/vda ro init=/init suites=$suites parts=$parts part=$part LIMIT=1800" \
        >>"$work/$name.guest" 2>>"$work/$name.log" || true
done
python3 "$here/compare.py" "$work/$name.native" "$work/$name.guest" "$(echo "$chosen" | wc -w)"
