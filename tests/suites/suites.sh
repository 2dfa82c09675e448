#!/bin/sh
# suites.sh: runs the suites that the word `suites` of the environment names (openssl, python), parted by commas.
# `parts` and `part` in the environment pick some of the modules of Python, those whose number modulo parts is part;
# OpenSSL belongs to part 0.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C.UTF-8
case "${part:-0},${suites:-openssl,python}," in 0,*openssl,*) sh /suites/run-openssl.sh ;; esac
case ",${suites:-openssl,python}," in
*,python,*) python3 /suites/run-modules.py /suites/modules "${parts:-1}" "${part:-0}" ;;
esac
echo "SUITES END"
