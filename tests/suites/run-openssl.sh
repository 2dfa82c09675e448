#!/bin/sh
# run-openssl.sh: what OpenSSL makes of fixed inputs, as lines "SSL name value", and `openssl speed` to its end.
# SECONDS_EACH is how long each of its loops runs.
set -eu
export LC_ALL=C
work=$(mktemp -d)
cd "$work"
# 3 MiB that are no pattern: a stream cipher's output with a fixed key.
openssl enc -chacha20 -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \
    -iv 000102030405060708090a0b0c0d0e0f -in /dev/zero 2>/dev/null | head -c 3145728 >data
say() { echo "SSL $*"; }
for digest in md4 md5 sha1 sha224 sha256 sha384 sha512 sha512-224 sha512-256 sha3-224 sha3-256 sha3-384 sha3-512 \
    shake128 shake256 blake2b512 blake2s256 sm3 ripemd160 whirlpool; do
    say "$digest" "$(openssl dgst -provider legacy -provider default "-$digest" data 2>/dev/null | sed 's/.*= //')"
done
for mode in ecb cbc cfb ofb ctr; do
    for bits in 128 192 256; do
        say "aes-$bits-$mode" "$(openssl enc "-aes-$bits-$mode" -K 00112233445566778899aabbccddeeff0011223344556677 \
            -iv 0102030405060708090a0b0c0d0e0f10 -in data 2>/dev/null | sha256sum)"
    done
done
for cipher in camellia-256-cbc aria-256-ctr sm4-cbc des-ede3-cbc chacha20; do
    say "$cipher" "$(openssl enc "-$cipher" -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff \
        -iv 0102030405060708090a0b0c0d0e0f10 -in data 2>/dev/null | sha256sum)"
done
for mac in 'HMAC -macopt digest:SHA256 -macopt hexkey:0011223344' 'CMAC -macopt cipher:AES-128-CBC -macopt hexkey:00112233445566778899aabbccddeeff' \
    'Poly1305 -macopt hexkey:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff' \
    'SipHash -macopt hexkey:00112233445566778899aabbccddeeff' \
    'GMAC -macopt cipher:AES-256-GCM -macopt hexkey:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -macopt hexiv:000102030405060708090a0b'; do
    # shellcheck disable=SC2086: the words of one MAC.
    say "${mac%% *}" "$(openssl mac ${mac#* } -in data "${mac%% *}")"
done
say pbkdf2 "$(openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:secret -kdfopt salt:salt -kdfopt iter:20000 PBKDF2)"
say scrypt "$(openssl kdf -keylen 32 -kdfopt pass:secret -kdfopt salt:salt -kdfopt n:1024 -kdfopt r:8 -kdfopt p:4 SCRYPT)"
say hkdf "$(openssl kdf -keylen 42 -kdfopt digest:SHA512 -kdfopt key:secret -kdfopt salt:salt -kdfopt info:label HKDF)"
# Deterministic signatures with fixed keys.
cat >rsa.pem <<'PEM'
-----BEGIN RSA PRIVATE KEY-----
MIIEpQIBAAKCAQEAyWIf/1bPyYXD1pHzCpdwedHUde7k2DyvilGbXM3/fKSPdpz8
rMKIC6tkA7VU7CvyuHQNYe0/cJsOSY9y6XKxHom9N8HA+2qg/HMLglJ3CjSfFB37
expyPUQ5Y/B03Z9imli0uopN8ZjW/sr9CxoSYSLkYjY7Zaq4c3nsAy8JdpItWgsK
SOuJRjw9u2kAKKscIhlsMX5q4QtlmGGV2Cy5UOZI6VzMLjd0PmJRLBh7SwAE7Dis
L0qMn775Lj5SmoowDsWTgg/ZWGfWMY/xRR3l1wgi6LCMKzfGqdrJkrvElwexxWZs
ftfNBCR8h7K+kHHrP77UjEl5jTbehQipyJK9zQIDAQABAoIBABKuH/gLAPOZYrei
H9smfgqcHKr4hyYfHEy70ioIempWR2/XaGwhZVuTwToY1XD3iKh0ghNIiGnKcEes
NJq+sVBQXYrGVb+HPg9SH/StmpjfQGGuKvgvKqlP4p+dxpwSNKQgQK93CdDfKROc
bQmHwxcF6g0e07apYI+8Sli8lxJLmw9VI5/dIyX/QnVt1lqtFMlHS7P3rNUQPdyp
GypnCLDjFBErJwZbuDhQbFccTR8/AWlNGoxxz1a+XtKCC3lWcTDFhwm7h7gWkgNU
Y20AWOKQnf5ardUPi18hrOsPTCF4Arja+UN/IDBXsFnSSIXUZEq3R8iL5aidrymr
5oyzB98CgYEA8gqiD2a31dPWV7a8/VGvT/t6dHfD+jU3egyYOLtKS54YyCvpNxRy
W2cOm3FwLMe2wcJm6Ap/HGepkeLwCqKMqMf/gkdbInwkp/ul3S2O3iGmtX/h94lt
K018nNlcw/utVD5oo5PS+T3D+wi4Eg8EBGnNLqOte9iO8O9lVd/gY2MCgYEA1P88
f5/dta/ns1uVaeKJ7H20AL9KxSSVydVQVHOeJ9NWEicwqOukGYjXDDWxYsfA26tq
XKH9Xr9tOvTUUHWDSTIfgxuP2uqfx0Y+Wlvi64o5Q9jWClmudWBTBvf7K45QTL6j
zXXUGNMFv5hmzrkai3imomK3exye5cWgvFN62Q8CgYEAsEi2R+lUM1SaZEAf3ZBE
00gho/omrnFb+nR52bfvIKwA+Kmirg8iSxgAN46jWLoMjYp9ULt0YMfPZQWYNua0
86jWm5hE9BTezcomv7SSvY5c0QxXE+bvr/47qDFXsxX248ighaMAoa8usgNjrSNq
lZxJaJKlo/HSCgESGT15PGkCgYEAqw8E7lZcv6KzCWd++pe2PxjBLGx0xxlXts27
AugL114x3MhemvsMQnmUg7jHalaUe5cSB60NCD/ioJupu6h0tJ8tkaTcBmuxwF+Y
igcLmjDbRrLpS0y1AI1IgOs9a8CSmt/sO4DqwrkO/82Mm28rc2GFKhrv0k6tCkmK
ilTc718CgYEAzNT5oE6GkiJM0SD0CER/oKvqKqpESrzs++WSaYI6FcHbNLVRwpNc
aHnQwz8oqCDE3/sQScaLfJqHflEnj1MBwbBA5dW6ErwyBzDJBDMPFg34YkTfrlTJ
m3alMRN+hfq3yv9ZWky9GYyqTCochxtZRREyYRIoNIMkFuhALUMWz84=
-----END RSA PRIVATE KEY-----
PEM
cat >ed25519.pem <<'PEM'
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIM1Vs4QpQmAndiqjrtJlQ5Cg0JwWZrArlPoa1qkmM8WV
-----END PRIVATE KEY-----
PEM
cat >x25519.pem <<'PEM'
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIBCWkM+idOheLeG4ePNvXjI4fFBLtoKhuUvEP2ulK3dH
-----END PRIVATE KEY-----
PEM
say rsa-pkcs1 "$(openssl dgst -sha256 -sign rsa.pem data | sha256sum)"
openssl dgst -sha256 -sign rsa.pem -sigopt rsa_padding_mode:pss -out pss data
openssl rsa -in rsa.pem -pubout -out rsa.pub 2>/dev/null
say rsa-pss "$(openssl dgst -sha256 -verify rsa.pub -sigopt rsa_padding_mode:pss -signature pss data)"
head -c 1000 data >short
say ed25519 "$(openssl pkeyutl -sign -rawin -inkey ed25519.pem -in short | sha256sum)"
openssl pkey -in x25519.pem -pubout -out x25519.pub
say x25519 "$(openssl pkeyutl -derive -inkey x25519.pem -peerkey x25519.pub | sha256sum)"
for curve in prime256v1 secp384r1 secp521r1 brainpoolP256r1 sect283k1; do
    openssl ecparam -name "$curve" -genkey -noout -out ec.pem
    openssl ec -in ec.pem -pubout -out ec.pub 2>/dev/null
    openssl dgst -sha256 -sign ec.pem -out signature data
    say "$curve" "$(openssl dgst -sha256 -verify ec.pub -signature signature data)"
done
say prime "$(openssl prime -hex FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF | tail -c 10)"
# All of its own loops; the figures are the processor's, that it comes to its end is what counts. It leaves out keys that
# are longer than those of which it signs one in a loop's time.
if openssl speed -seconds "${SECONDS_EACH:-1}" -bytes 1024 >speed 2>speed.log; then
    say speed ended
else
    say speed "failed: $(tail -n 1 speed.log)"
fi
sed 's/^/SPEED /' speed
rm -rf "$work"
