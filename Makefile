# Thin on purpose: the chores are a Rust program, see xtask/ and `cargo xtask --help`.
# Debian's compiler goes before any other, as the wasm library is built from Debian's sources.
export PATH := /usr/bin:/bin:$(PATH)
PORT ?= 8080
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: build run test clean bootstrap

build: bootstrap
	/usr/bin/cargo xtask build

run: bootstrap
	/usr/bin/cargo xtask run --port $(PORT)

test: bootstrap
	/usr/bin/cargo xtask test

clean:
	rm -rf target build www/pkg www/dist

# What it takes to compile xtask; that installs the rest.
bootstrap:
	@test -x /usr/bin/cargo -a -x /usr/bin/rustc -a -x /usr/bin/gcc || { \
		command -v apt-get >/dev/null || { \
			echo "This needs Debian 12 (there is no apt-get here); run it in a debian:12 container." >&2; exit 1; }; \
		test -z "$(SUDO)" || command -v sudo >/dev/null || { \
			echo "As root, run: apt-get install rustc-web cargo-web gcc libc6-dev; or install sudo." >&2; exit 1; }; \
		$(SUDO) apt-get update --quiet && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
			rustc-web cargo-web gcc libc6-dev ca-certificates; }
