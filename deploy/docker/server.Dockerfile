# The consumer.
#   docker build -f deploy/docker/server.Dockerfile -t sidelog/server:0.1.0 .
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
    cargo build --release --locked --package sidelog-consumer \
 && cp target/release/sidelog-consumer /sidelog-consumer

FROM ${BASE}
COPY --from=build /sidelog-consumer /usr/bin/sidelog-consumer
USER 65532:65532
EXPOSE 15092
ENTRYPOINT ["/usr/bin/sidelog-consumer"]
CMD ["--config", "/etc/sidelog/sidelog.yaml"]
