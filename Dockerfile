# The operator alone: one static binary and the authorities it trusts, no shell, no user but a number.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache ca-certificates gcc musl-dev
WORKDIR /src
COPY . .
# The same source gives the same binary: no path and no time of the build in it.
ENV RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo build --locked --release --package ramtrail --bin ramtrail

FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ramtrail" \
      org.opencontainers.image.description="Declares, enforces and proves audit trails for AI workloads on Alibaba Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/ramtrail /ramtrail
USER 65532:65532
ENTRYPOINT ["/ramtrail"]
CMD ["run"]
