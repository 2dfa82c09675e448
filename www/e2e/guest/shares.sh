#!/bin/sh
# Checks a shared directory from within the guest: shares.sh MOUNT-POINT ENTRIES. A line for each check, then the figures.
# `shares` beside it is shares.c, compiled.
cd "$1" || exit 1
entries=$2
mkdir checks && cd checks || exit 1

expect() {
    if [ "$2" = "$3" ]; then echo "right: $1"; else echo "WRONG: $1: \"$2\" instead of \"$3\""; fi
}
# The last words of a command's error.
refusal() {
    "$@" 2>&1 >/dev/null | sed 's/.*: //'
}

# What is below etc, in an order that does not depend on the file system.
tree() {
    (find etc | sort | xargs stat -c '%n %a %u %g %F'; find etc -type f | sort | xargs stat -c '%n %Y %s'; find etc -type f | sort | xargs cat) | sha256sum
}

echo one >file
chmod 640 file
chown 1000:1001 file
expect "mode and owner" "$(stat -c '%a %u %g' file)" "640 1000 1001"
ln file second
expect "two names" "$(stat -c %h file) $(cat second)" "2 one"
echo two >other
mv -f other file
expect "rename over a file" "$(cat file) $(cat second) $(stat -c %h second) $(ls | tr '\n' ' ')" "two one 1 file second "
mkdir full empty && touch full/entry
expect "a full directory stays" "$(refusal rmdir full)" "Directory not empty"
expect "rename over a full directory" "$(refusal mv -T empty full)" "Directory not empty"
mv -T full empty
expect "rename over an empty directory" "$(ls empty)" entry
expect "a directory is no file" "$(refusal sh -c 'echo >empty')" "Is a directory"
exec 3<second
rm second
expect "an open file without a name" "$(cat <&3)" one
exec 3<&-

long=$(printf '%0255d' 7)
echo long >"$long"
expect "a name of 255 bytes" "$(cat "$long")" long
expect "a name of 256 bytes" "$(refusal touch "${long}8")" "File name too long"
odd=$(printf 'a b\n\t\\"ü\377')
echo odd >"$odd"
expect "a name with any bytes" "$(cat "$odd")" odd
rm "$odd" "$long"

ln -s ../../../../../../etc/hostname link
expect "a symbolic link is the guest's matter" "$(readlink link) $(cat link)" "../../../../../../etc/hostname $(cat /etc/hostname)"
ln -s round round
expect "a link to itself" "$(refusal cat round)" "Too many levels of symbolic links"
rm link round

dd if=/dev/zero of=sparse bs=1 count=1 seek=8589934591 2>/dev/null
expect "a sparse file" "$(stat -c %s sparse) $([ "$(stat -c %b sparse)" -lt 100 ] && echo small)" "8589934592 small"
truncate -s 5 sparse
expect "a shortened file" "$(wc -c <sparse)" 5
echo more >>sparse
expect "an appended line" "$(tr '\0' 0 <sparse)" 00000more
expect "a file that is there" "$(refusal sh -c 'set -C; echo >sparse')" "File exists"
mkfifo pipe
(echo through >pipe &)
expect "a pipe" "$(cat pipe)" through
mknod null c 1 3
expect "a device" "$(stat -c '%t %T' null)" "1 3"
touch -d '2001-02-03 04:05:06' file
expect "a time" "$(stat -c %Y file)" 981173106
../shares

mkdir many
seq "$entries" | (cd many && xargs touch)
expect "$entries entries" "$(ls -a many | wc -l) $(ls many | sort -n | uniq | tail -1)" "$((entries + 2)) $entries"
rm -r many

cp -a /etc /usr/lib/dinghy .
expect "copied trees" "$(diff -r /etc etc 2>&1; diff -r /usr/lib/dinghy dinghy 2>&1)" ""
(cd / && tar c etc) | tar x -C empty
expect "an unpacked archive" "$(cd empty && tree)" "$(cd / && tree)"
cd .. && rm -r checks
expect "nothing is left" "$(ls | tr '\n' ' ')" "blob folder shares shares.sh "

expect "the files that were given" "$(sha256sum <blob | cut -c1-64) $(cat folder/small)" "$(cat folder/digest) small"
seconds() {
    begun=$(cut -d ' ' -f 1 /proc/uptime)
    "$@" >/dev/null 2>&1
    awk -v begun="$begun" '{ print $1 - begun }' /proc/uptime
}
read_blob() {
    for _ in 1 2 3 4; do dd if=blob of=/dev/null bs=1M; done
}
cat_small() {
    for _ in $(seq 1000); do cat folder/small; done
}
echo "figures: 512 MiB read by 1 MiB: $(seconds read_blob) seconds; 1000 times cat: $(seconds cat_small) seconds"
