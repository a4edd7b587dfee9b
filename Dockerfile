# The operator as one static binary in an otherwise empty image: no shell, no package manager, non-root user.
# This tag is also the compiler of a release: the workflow reads it from here, and Dependabot updates it. Its digest is not written
# here, because nobody has read it from the registry and checked it yet (docker buildx imagetools inspect rust:1.95.0-alpine).
FROM rust:1.95.0-alpine AS builder
# Compiles the C code of aws-lc against musl. The packages are those of the image's version of Alpine, which has one version of each.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base ca-certificates
WORKDIR /source
# Puts the list of crates into the binary.
RUN cargo install --locked --quiet cargo-auditable --version 0.7.5
COPY . .
# Alpine's default target is musl, whose binaries are static.
RUN cargo auditable build --locked --release --package imm-operator --bin imm-operator
RUN mkdir -p /image/etc/ssl/certs \
 && cp target/release/imm-operator /image/imm-operator \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'operator:x:65532:65532:imm-operator:/:/sbin/nologin' > /image/etc/passwd

# What every image has besides its files.
FROM scratch AS settings
# Of a release; without them the labels are empty.
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="imm-operator" \
      org.opencontainers.image.description="Kubernetes operator for Alibaba Cloud OSS bucket grants and IMM image scores" \
      org.opencontainers.image.url="https://github.com/imm-operator/imm-operator" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="https://github.com/imm-operator/imm-operator" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/imm-operator"]
CMD ["run"]

# The image of a release, from the static binaries that it publishes: `cargo xtask release` builds this stage for each architecture,
# from the folders that it has made in target/dist-image. `make test` builds it with a binary for its own architecture.
FROM settings AS release
ARG TARGETARCH
COPY ${TARGETARCH}/ /

# The default: everything from source.
FROM settings AS image
COPY --from=builder /image/ /
