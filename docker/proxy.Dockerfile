# The sidecar. From the root of the workspace: docker build -f docker/proxy.Dockerfile -t outrigger-proxy .
ARG BUILDER_IMAGE=rust:1.95.0-slim-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

# The same lines as in control-plane.Dockerfile: both images share this stage, so one compile serves both.
FROM ${BUILDER_IMAGE} AS programs
# build: compile here. prebuilt: take docker/prebuilt/*, which docker/compile.sh makes.
ARG PROGRAMS=build
WORKDIR /src
COPY . .
RUN sh docker/programs.sh

FROM ${RUNTIME_IMAGE}
# Health checks copied from App Mesh's documents run sh, curl and grep in here. A base that has them needs no network.
RUN { command -v curl && command -v grep && test -s /etc/ssl/certs/ca-certificates.crt; } >/dev/null \
    || { apt-get update \
        && apt-get install --yes --no-install-recommends ca-certificates curl grep \
        && rm -rf /var/lib/apt/lists/*; }
# Where App Mesh's image kept the public authorities: client policies name these files.
RUN mkdir -p /etc/pki/tls/certs \
    && ln -s /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/cert.pem \
    && ln -s /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt
COPY --from=programs /programs/outrigger-proxy /usr/local/bin/
LABEL org.opencontainers.image.title="outrigger-proxy" \
    org.opencontainers.image.description="Outrigger's sidecar, in place of App Mesh's Envoy image" \
    org.opencontainers.image.licenses="Apache-2.0"
# App Mesh's user: interception leaves its traffic alone (IgnoredUID).
USER 1337:1337
# Ingress, egress, admin; the latter listens on loopback unless told otherwise.
EXPOSE 15000 15001 9901
# Drains, then ends with 0.
STOPSIGNAL SIGTERM
# Not used by ECS, which wants its own in the task definition. This one finds a moved admin port by itself.
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 CMD ["/usr/local/bin/outrigger-proxy", "ready"]
ENTRYPOINT ["/usr/local/bin/outrigger-proxy"]
