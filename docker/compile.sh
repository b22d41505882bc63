#!/bin/sh
# Compiles programs as they are shipped: optimised as a whole and statically linked, so that they depend on no C
# library of the image and a sidecar's memory holds no second copy of one.
# docker/compile.sh --package outrigger-proxy; the programs are then in target/<host>/dist.
set -eu
host=$(rustc --version --verbose | sed -n 's/^host: //p')
# A target of its own keeps the flags from what runs while compiling, which cannot be static.
RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    cargo build --locked --profile dist --target "$host" "$@"
