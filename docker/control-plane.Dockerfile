# The control plane. From the root of the workspace: docker build -f docker/control-plane.Dockerfile -t outrigger .
ARG BUILDER_IMAGE=rust:1.95.0-slim-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

# The same lines as in proxy.Dockerfile: both images share this stage, so one compile serves both.
FROM ${BUILDER_IMAGE} AS programs
# build: compile here. prebuilt: take docker/prebuilt/*, which docker/compile.sh makes.
ARG PROGRAMS=build
WORKDIR /src
COPY . .
RUN sh docker/programs.sh

FROM ${RUNTIME_IMAGE}
# Health checks run sh and curl in here. A base that has them needs no network.
RUN { command -v curl && command -v grep && test -s /etc/ssl/certs/ca-certificates.crt; } >/dev/null \
    || { apt-get update \
        && apt-get install --yes --no-install-recommends ca-certificates curl grep \
        && rm -rf /var/lib/apt/lists/*; }
# Definitions go here: an image made from this one, or a volume.
RUN mkdir -p /etc/outrigger
COPY --from=programs /programs/outrigger /usr/local/bin/
LABEL org.opencontainers.image.title="outrigger" \
    org.opencontainers.image.description="Outrigger's control plane: App Mesh definitions in, xDS out" \
    org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
# xDS, and the admin pages, which listen on loopback unless told otherwise.
EXPOSE 18000 18001
# Says goodbye to its clients, which keep what they have, then ends with 0.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 CMD curl -sf http://localhost:18001/ready
ENTRYPOINT ["/usr/local/bin/outrigger"]
# Loopback only: serving other hosts is asked for in words, see docker/ecs/control-plane.json.
CMD ["serve", "/etc/outrigger"]
