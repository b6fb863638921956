# The operator alone: one static binary and the authorities it trusts; no shell, no user but a number.
#
# The first stage is what `cargo xtask image` does without a daemon: it hands its own folder in as the context `build`.
ARG RUST=1.95.0
FROM --platform=$BUILDPLATFORM rust:${RUST}-bookworm AS build
ARG TARGETARCH
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /src
COPY . .
RUN cargo xtask image --platform "$TARGETARCH" --rootfs /rootfs

FROM scratch
ARG TARGETARCH
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ramtrail" \
      org.opencontainers.image.description="Declares, enforces and proves audit trails for AI workloads on Alibaba Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /rootfs/${TARGETARCH}/ /
USER 65532:65532
ENTRYPOINT ["/ramtrail"]
CMD ["run"]
