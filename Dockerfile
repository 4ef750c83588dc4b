# One image for controller, agent, plugin and command line. Its context is what `hack/image.sh` gathers: programs are bundled
# before, so the image needs neither a package manager nor a network when BASE_IMAGE has nft, conntrack and ip already.
#   BASE_IMAGE   any glibc system; Debian's packages are added when nft or conntrack is missing
#   TARGETARCH   amd64 or arm64; BuildKit sets it by itself
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN if ! { command -v nft && command -v conntrack && command -v ip; } >/dev/null; then \
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        nftables libnftables1 conntrack iproute2 ca-certificates && rm -rf /var/lib/apt/lists/*; \
    fi
ARG TARGETARCH=amd64
COPY ${TARGETARCH}/ /opt/bulkhead/
ENV PATH=/opt/bulkhead/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NODE_ENV=production
ARG VERSION=dev
LABEL org.opencontainers.image.title=bulkhead org.opencontainers.image.version=${VERSION} org.opencontainers.image.licenses=Apache-2.0
# The controller and the command line need nothing of the host. The agent's pod asks for root, as it changes the node's network.
USER 65532:65532
ENTRYPOINT ["/opt/bulkhead/bin/node"]
