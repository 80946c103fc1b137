#!/usr/bin/env bash
# Slow attacks by slowhttptest while other clients go on at a steady rate; and h2load, HTTP/1.1 and HTTP/2,
# directly and through the sidecar. nginx is the service. Prints figures, leaves nothing running.
# Installs slowhttptest, nghttp2-client and nginx if they are missing (Debian).
#
#   SIDELOG_BINARY=    the sidecar; otherwise it is built with --release
#   CONNECTIONS=1000   of each attack
#   DURATION=20        seconds of each attack
#   CALLS=40000        of each run of h2load
#
# Attackers have machines of their own: slowhttptest gets only what the others leave of this one's cores.
set -euo pipefail
cd "$(dirname "$0")/.."

needs=()
command -v slowhttptest > /dev/null || needs+=(slowhttptest)
command -v h2load > /dev/null || needs+=(nghttp2-client)
command -v nginx > /dev/null || [ -x /usr/sbin/nginx ] || needs+=(nginx-light)
if [ ${#needs[@]} -gt 0 ]; then
    become=
    [ "$(id -u)" = 0 ] || become=sudo
    $become apt-get update -q
    $become env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${needs[@]}"
fi
if [ -z "${SIDELOG_BINARY:-}" ]; then
    cargo build --release -p sidelog
    SIDELOG_BINARY=${CARGO_TARGET_DIR:-target}/release/sidelog
fi
sidelog=$(realpath "$SIDELOG_BINARY")
nginx=$(command -v nginx || echo /usr/sbin/nginx)
connections=${CONNECTIONS:-1000} duration=${DURATION:-20} calls=${CALLS:-40000}
ulimit -n "$(ulimit -H -n)"

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; wait 2> /dev/null || true; rm -rf "$work"' EXIT
chmod 755 "$work"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The service has time-outs of its own for what the sidecar leaves to it: bodies, and answers.
h1=$(port) h2=$(port)
head -c 500000 /dev/urandom > "$work/large"
printf '{"amount": 1}' > "$work/body"
cat > "$work/nginx.conf" << CONF
daemon off; pid $work/pid; error_log $work/error.log; worker_processes 1;
events { worker_connections 8192; }
http {
    access_log off; client_body_temp_path $work; keepalive_requests 1000000;
    client_body_timeout 5s; send_timeout 5s;
    server {
        listen 127.0.0.1:$h1 backlog=4096 sndbuf=64k; listen 127.0.0.1:$h2 http2;
        root $work;
        location /a { return 200 "ok"; }
        location /take { proxy_pass http://127.0.0.1:$h1/a; }
    }
}
CONF
"$nginx" -c "$work/nginx.conf" -e "$work/error.log" 2> "$work/nginx.err" &
pids+=($!)

start() { # UPSTREAM: leaves its address and the one of its metrics in `through` and `admin`.
    local dir
    dir=$(mktemp -d -p "$work")
    cat > "$dir/sidelog.yaml" << YAML
version: 1
service: attacks
listen: 127.0.0.1:0
upstream: http://127.0.0.1:$1
journal: {dir: journal, max_bytes: 1GiB}
admin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}
relay: {head_timeout: 5s, stall_timeout: 5s}
YAML
    (cd "$dir" && exec "$sidelog" proxy --config sidelog.yaml > out 2> err) &
    pids+=($!)
    pid=$!
    for _ in $(seq 300); do grep -qs '^sidelog ready' "$dir/out" && break; sleep 0.1; done
    through=$(sed -nE 's/^sidelog ready traffic=([^ ]+) .*/\1/p' "$dir/out")
    admin=$(sed -nE 's/.* admin=([^ ]+) .*/\1/p' "$dir/out")
}
metric() { curl -s --noproxy '*' "http://$admin/metrics" | sed -nE "s/^$1 //p"; }
resident() { awk '/^VmRSS/ { print int($2 / 1024) " MiB" }' "/proc/$pid/status"; }

# Calls of other clients, 400 a second, for so long; their number, failures, p50 and p99.
steady() {
    rm -f "$work/log"
    timeout $(($1 + 20)) h2load --h1 -c 8 --rps 50 -D "$1" -d "$work/body" --log-file="$work/log" \
        "http://$through/a" > "$work/steady" 2>&1 || true
    sort -n -k3,3 "$work/log" | awk '
        { took[NR] = $3; if ($2 != 200) failed++ }
        END { printf "%d calls, %d failed, p50 %.2f ms, p99 %.2f ms\n", NR, failed,
              took[int(NR * 0.5) + 1] / 1000, took[int(NR * 0.99)] / 1000 }'
}

attack() { # NAME OPTIONS
    local name=$1 most=0 now
    shift
    chrt -i 0 slowhttptest -c "$connections" -r "$connections" -l "$duration" -i 1 -p 3 "$@" > "$work/slow" 2>&1 &
    local attacker=$!
    sleep 1
    steady $((duration - 4)) > "$work/figures" &
    local load=$!
    while kill -0 "$load" 2> /dev/null; do
        now=$(metric sidelog_connections_open)
        [ "${now:-0}" -le "$most" ] || most=$now
        sleep 0.5
    done
    echo "$name: $(cat "$work/figures"); at most $most connections at once, $(metric sidelog_connections_open) at the end; $(resident) resident"
    kill "$attacker" 2> /dev/null || true
    wait "$attacker" 2> /dev/null || true
}

echo "load average $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"
start "$h1"
steady 3 > /dev/null
# WHERE: `through` the sidecar, or `direct`.
attacks() {
    echo "$1, no attack: $(steady $((duration - 4)))"
    attack "$1, slow headers" -H -u "http://$through/a"
    attack "$1, slow body" -B -s 100000 -u "http://$through/take"
    attack "$1, slow read" -X -w 512 -y 1024 -n 1 -z 32 -u "http://$through/large"
}
sidecar=$through through=127.0.0.1:$h1
attacks direct
through=$sidecar
attacks through
echo "through, no attack: $(steady $((duration - 4)))"
sleep 8
echo "8 s after the last attack: $(metric sidelog_connections_open) connections; $(resident) resident"

run() { # NAME URL OPTIONS
    local name=$1 url=$2
    shift 2
    echo "$name: $(h2load -n "$calls" "$@" -d "$work/body" "$url" 2>&1 |
        awk '/^finished in/ { rate = $4 " calls/s" } /^requests:/ { ok = $8 " succeeded, " $10 " failed" }
             /^time for request:/ { mean = "mean " $6 ", longest " $5 } END { print rate ", " mean ", " ok }')"
}
run "h1 direct" "http://127.0.0.1:$h1/a" --h1 -c 32
run "h1 through" "http://$through/a" --h1 -c 32
start "$h2"
run "h2c direct" "http://127.0.0.1:$h2/a" -c 8 -m 32
run "h2c through" "http://$through/a" -c 8 -m 32
