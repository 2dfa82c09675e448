#!/bin/sh
# make-tree.sh FOLDER: a root file system in FOLDER from the Debian packages of `packages`, with the suites in /suites.
# Nothing of it is installed: packages are unpacked, none of their scripts runs. Needs apt-get and dpkg-deb.
set -eu
here=$(dirname "$(realpath "$0")")
mkdir -p "$1"
root=$(realpath "$1")
debs=$(mktemp -d)
trap 'rm -rf "$debs"' EXIT
# The user that apt fetches as must get at them.
chmod 755 "$debs"
(cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download $(grep -v '^#' "$here/packages"))
# Debian's layout: the packages of Debian 12 still hold both.
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for folder in bin sbin lib lib64; do ln -sfn "usr/$folder" "$root/$folder"; done
for deb in "$debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
done
ldconfig -r "$root"
ln -sf dash "$root/bin/sh"
ln -sf gawk "$root/usr/bin/awk"
ln -sf python3.11 "$root/usr/bin/python3"
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/root" "$root/etc" "$root/suites"
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >>"$root/etc/passwd"
printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' >"$root/etc/group"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
ln -sf /usr/share/zoneinfo/UTC "$root/etc/localtime"
cp "$here/modules" "$here/run-modules.py" "$here/run-openssl.sh" "$here/suites.sh" "$root/suites/"
