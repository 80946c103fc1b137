#!/bin/sh
# The sidecar beside its peers, from a bare machine (Debian), in one command: installs what is missing, builds,
# measures, prints tables, writes figures/proxy.json beside the programs, leaves nothing running. A peer that
# cannot be installed is told in a line and left out.
#
#   ROUNDS=5          how often all is measured, interleaved; medians are printed
#   DURATION=5        seconds of each measurement
#   CONNECTIONS=64    connections of the load
#   PARTS=            only these: post,get,http2,latency,strict,memory,ready
#   SUBJECTS=         only these, by name, separated by commas
#   PROFILE=release   `dev` to try the benchmark itself; its figures mean nothing
set -eu
cd "$(dirname "$0")/.."

become=
[ "$(id -u)" = 0 ] || become=sudo
updated=
# The package is wanted if the file or program is not there.
want() {
    command -v "$1" > /dev/null || [ -e "$1" ] || [ -x "/usr/sbin/$1" ] && return
    if [ -z "$updated" ]; then
        updated=1
        $become apt-get update -q > /dev/null || true
    fi
    $become env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" > /dev/null ||
        echo "bench: $2 could not be installed, left out" >&2
}
want nginx nginx-light
want wrk wrk
want haproxy haproxy
want h2load nghttp2-client
want nghttpd nghttp2-server
want /usr/lib/nginx/modules/ngx_http_lua_module.so libnginx-mod-http-lua
want /usr/share/lua/5.1/nginx/kafka/producer.lua lua-nginx-kafka
want /usr/share/lua/5.1/cjson/util.lua lua-cjson
for item in kafka peers; do
    scripts/deps.sh "$item" || echo "bench: $item could not be installed, left out" >&2
done

profile=${PROFILE:-release}
cargo build --profile "$profile" --workspace --bin sidelog --bin bare_pingora --bin bench-proxy
out=$profile
[ "$profile" = dev ] && out=debug
# Where .deps and the corpus are, whichever checkout these programs were built from.
export CARGO_MANIFEST_DIR="$PWD/bench"
exec "${CARGO_TARGET_DIR:-target}/$out/bench-proxy"
