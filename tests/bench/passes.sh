#!/bin/sh
# passes.sh: the yardstick twice, each pass headed by "RUN cold" or "RUN warm".
# bench=NAME,NAME in the environment picks programs (the kernel hands such a word of its command line to
# /init as its environment); without it all of them run. Needs what guestbench.sh needs.

# Stands between guestbench.sh and the program: runs what is wanted, and, unreported, what makes a file for it.
guestbench() {
    case "$2" in
    dd_10m) makes_for=sha256sum_10m ;;
    gzip_2m) makes_for=gunzip_2m ;;
    *) makes_for= ;;
    esac
    case ",$bench," in
    *",$2,"*) /bin/guestbench "$@" ;;
    *",${makes_for:--},"*) /bin/guestbench "$@" >/dev/null ;;
    esac
}

for run in cold warm; do
    echo "RUN $run"
    if [ -z "${bench:-}" ]; then
        sh /bin/guestbench.sh
        /bin/guestbench
    else
        (. /bin/guestbench.sh)
        IFS=,
        # Parted at the commas: it runs those of the names that it knows.
        /bin/guestbench $bench
        /bin/vectorbench $bench
        unset IFS
    fi
done
