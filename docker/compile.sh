#!/bin/sh
# Compiles programs as they are shipped: optimised as a whole, by a profile of the sidecar under load, and statically
# linked, so that they depend on no C library of the image and a sidecar's memory holds no second copy of one.
# Compiling twice and the load take three times as long as compiling alone; target/profile keeps the profile.
# docker/compile.sh --package outrigger-proxy; the programs are then in target/<host>/dist.
set -eu
host=$(rustc --version --verbose | sed -n 's/^host: //p')
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
profile=$target/profile/$host.profdata

# A target of its own keeps the flags from what runs while compiling, which cannot be static.
compile() {
    flags=$1
    shift
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs $flags" \
        cargo build --locked --profile dist --target "$host" "$@"
}

# Merges profiles, and must be of the compiler's LLVM.
llvm=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
[ -x "$profdata" ] || profdata=$(command -v "llvm-profdata-$llvm" || true)
without=
[ -n "$profdata" ] || without="there is no llvm-profdata of LLVM $llvm: rustup component add llvm-tools"
[ "$(nproc)" -ge 2 ] || without="the load takes two cores"

# The load tests run against a program that counts where it goes. What never runs in them is built small.
train() {
    raw=$(mktemp -d)
    trap 'rm -rf "$raw"' EXIT
    CARGO_TARGET_DIR=$target/profile compile "-C profile-generate" "$@"
    load="cargo run --locked --release --package outrigger-benches -- --rounds 1 --seconds 2
        --outrigger $target/profile/$host/dist/outrigger-proxy"
    export LLVM_PROFILE_FILE="$raw/%p.profraw"
    $load h1 h2c body-64k mtls handshakes --peers guarded,observed,traced,logged,bytes >&2
    $load push --peers outrigger >&2
    "$profdata" merge --output="$profile" "$raw"/*.profraw
    rm -rf "${target:?}/profile/$host"
}

# Where a profile is left from before it serves again. It fits the functions that are as they were; after a change of
# dependencies, or from another directory, none is: remove it then.
if [ -s "$profile" ]; then
    without=
elif [ -z "$without" ]; then
    train "$@"
fi
if [ -z "$without" ]; then
    compile "-C profile-use=$profile" "$@"
else
    echo "compiling without a profile, for a fifth more instructions per request and 3 MiB more memory: $without" >&2
    compile "" "$@"
fi
