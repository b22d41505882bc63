#!/bin/sh
# Puts the programs of the images into /programs: compiled here, or as found in docker/prebuilt.
set -eu
mkdir -p /programs
case $PROGRAMS in
build)
    # Without it the programs are made all the same, a little larger and slower; compile.sh says so.
    rustup component add llvm-tools || true
    sh docker/compile.sh --package outrigger-proxy --package outrigger
    cp target/*/dist/outrigger-proxy target/*/dist/outrigger /programs/
    ;;
prebuilt)
    cp docker/prebuilt/* /programs/
    ;;
*)
    echo "PROGRAMS=$PROGRAMS: use build or prebuilt" >&2
    exit 1
    ;;
esac
chmod 0755 /programs/*
