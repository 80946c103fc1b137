# The sidecar alone: one binary that links only glibc, and runs as nobody.
#   docker build -f deploy/docker/sidecar.Dockerfile -t sidelog/sidecar:0.1.0 .
# Any base with glibc 2.36 or later serves; a distroless one is smaller.
ARG BASE=debian:bookworm-slim

FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake perl \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package sidelog \
 && cp target/release/sidelog /sidelog \
 && mkdir -p /empty

FROM ${BASE}
COPY --from=build /sidelog /usr/bin/sidelog
# Belongs to the user, so that a volume mounted here may be written to.
COPY --from=build --chown=65532:65532 /empty /var/lib/sidelog
USER 65532:65532
EXPOSE 15080 15090
ENTRYPOINT ["/usr/bin/sidelog"]
CMD ["proxy", "--config", "/etc/sidelog/sidelog.yaml"]
