# Programs the interception rules and ends: the counterpart of App Mesh's route manager, for an init container with
# NET_ADMIN where no proxyConfiguration does it (ECS does it by itself, Fargate included).
# docker build -f docker/interception.Dockerfile -t outrigger-interception docker
ARG PROXY_IMAGE=outrigger-proxy

FROM ${PROXY_IMAGE}
# Rules are root's.
USER 0:0
RUN command -v iptables-restore >/dev/null \
    || { apt-get update \
        && apt-get install --yes --no-install-recommends iptables \
        && rm -rf /var/lib/apt/lists/*; }
HEALTHCHECK NONE
CMD ["intercept", "enable"]
