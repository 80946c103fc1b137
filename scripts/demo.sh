#!/usr/bin/env bash
# The main job on one machine: who deleted the database password?
#
# Starts OpenBao (a real secrets server) and sidelog-standalone in front of it, makes a few calls with
# curl as alice, bob and a thief would, and asks ClickHouse. Then stays up until Ctrl-C.
# SMOKE=1: checks the answer instead of staying up, and exits 0 or 1.
#
# `alice` and `bob` are told by the header X-User-Id, as a gateway in front would set it; the
# configuration trusts this header from this machine only.
set -euo pipefail
cd "$(dirname "$0")/.."

SMOKE=${SMOKE:-}
HOME_DIR=$PWD/.demo
BIN=${CARGO_TARGET_DIR:-target}/debug
# Children, in the order of their start.
OPENBAO=
SIDELOG=

main() {
    trap stop_all EXIT
    trap 'exit 0' INT TERM
    build
    rm -rf "$HOME_DIR" && mkdir -p "$HOME_DIR"
    start_openbao
    start_sidelog
    make_calls
    ask
    if [ -n "$SMOKE" ]; then
        check_answer
        check_end
        say "smoke: ok"
    else
        stay
    fi
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

build() {
    say "Building (the first time takes minutes), fetching ClickHouse and OpenBao"
    scripts/deps.sh engine openbao &
    local deps=$!
    cargo build --workspace --bin sidelog-standalone
    wait "$deps"
}

# A port nobody uses, and its neighbour, which OpenBao takes too.
free_port() {
    python3 - <<'PY'
import socket
while True:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        port = a.getsockname()[1]
        try:
            b.bind(("127.0.0.1", port + 1))
        except OSError:
            continue
        print(port)
        break
PY
}

start_openbao() {
    local address
    address=127.0.0.1:$(free_port)
    TOKEN=root-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
    HOME=$HOME_DIR .deps/openbao/openbao server -dev -dev-no-store-token \
        -dev-root-token-id="$TOKEN" -dev-listen-address="$address" > "$HOME_DIR/openbao.log" 2>&1 &
    OPENBAO=$!
    BAO_URL=http://$address
    wait_for "$OPENBAO" "$HOME_DIR/openbao.log" curl -fs -o /dev/null "$BAO_URL/v1/sys/health"
    curl -fs -H "X-Vault-Token: $TOKEN" "$BAO_URL/v1/sys/internal/specs/openapi" > "$HOME_DIR/openapi.json"
}

start_sidelog() {
    cat > "$HOME_DIR/sidelog.yaml" <<YAML
version: 1
service: secrets
listen: 127.0.0.1:0
upstream: $BAO_URL
openapi: [openapi.json]
base_path: [/v1]
multi_segment: [path]
actor:
  - header: {id: X-User-Id, trusted_from: [127.0.0.0/8]}
  - api_key: {header: X-Vault-Token}
redact: {keys: [data]}
admin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}
standalone: {data: $HOME_DIR/data, http_port: 0}
YAML
    "$BIN/sidelog-standalone" --config "$HOME_DIR/sidelog.yaml" \
        > "$HOME_DIR/sidelog.log" 2> "$HOME_DIR/sidelog.err" &
    SIDELOG=$!
    wait_for "$SIDELOG" "$HOME_DIR/sidelog.err" grep -q '^sidelog-standalone ready ' "$HOME_DIR/sidelog.log"
    URL=http://$(ready_word traffic)
    SQL_URL=$(ready_word sql)
    SQL_USER=$(ready_word user)
    say "OpenBao at $BAO_URL, Sidelog in front of it at $URL"
}

# The value of KEY=… in Sidelog's ready line.
ready_word() { sed -n "s/^sidelog-standalone ready .*\b$1=\([^ ]*\).*/\1/p" "$HOME_DIR/sidelog.log"; }

# Until the command succeeds; shows the log and fails when the process ends or a minute passes.
wait_for() {
    local process=$1 log=$2
    shift 2
    for _ in $(seq 600); do
        if "$@"; then return; fi
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    tail -30 "$log" >&2
    fail "not there: $*"
}

make_calls() {
    say "Calls"
    local db=/v1/secret/data/app/db
    call alice "$TOKEN" POST $db '{"data": {"password": "correct-horse"}}'
    call bob "$TOKEN" PATCH $db '{"data": {"password": "battery-staple"}}'
    call bob "$TOKEN" GET $db
    call "" not-a-token DELETE $db
    call alice "$TOKEN" DELETE $db
    call bob "$TOKEN" GET $db
    call bob "$TOKEN" GET /v1/secret/metadata/app/db
}

# call USER TOKEN METHOD PATH [BODY]
call() {
    local args=(-s -o /dev/null -w '%{http_code}' -X "$3" -H "X-Vault-Token: $2")
    if [ -n "$1" ]; then args+=(-H "X-User-Id: $1"); fi
    if [ -n "${5:-}" ]; then args+=(-H "Content-Type: $(content_type "$3")" -d "$5"); fi
    printf '%-9s %-7s %-30s %s\n' "${1:-a thief}" "$3" "$4" "$(curl "${args[@]}" "$URL$4")"
}

content_type() { if [ "$1" = PATCH ]; then echo application/merge-patch+json; else echo application/json; fi; }

sql() {
    curl -sS --fail-with-body "$SQL_URL" -H "X-ClickHouse-User: $SQL_USER" \
        -H "X-ClickHouse-Key: $(cat "$HOME_DIR/data/reader.password")" --data-binary "$1"
}

# Who deleted it, or tried to?
QUESTION="SELECT actor_id AS who, actor_source AS known_by, method, path,
       replaceOne(toString(client_ip), '::ffff:', '') AS from_ip, ts AS at, outcome
FROM audit.events WHERE method = 'DELETE' AND path = '/v1/secret/data/app/db' ORDER BY ts"

# Two changes, two attempts to delete; the reads are not recorded.
rows_are_there() { [ "$(sql 'SELECT count() FROM audit.events')" = 4 ]; }

ask() {
    wait_for "$SIDELOG" "$HOME_DIR/sidelog.err" rows_are_there
    say "Who deleted /v1/secret/data/app/db?"
    printf '%s\n\n' "$QUESTION"
    sql "$QUESTION FORMAT PrettyCompactMonoBlock"
}

check_answer() {
    local answer
    answer=$(sql "SELECT who, method, path, from_ip, outcome FROM ($QUESTION) FORMAT TSV")
    local db=/v1/secret/data/app/db
    local expected
    expected=$(printf '%s\t%s\t%s\t%s\t%s\n' \
        "$(sql "SELECT actor_id FROM audit.events WHERE outcome = 'denied' FORMAT TSV")" \
        DELETE $db 127.0.0.1 denied alice DELETE $db 127.0.0.1 success)
    [ "$answer" = "$expected" ] || fail "expected
$expected
got
$answer"
    [ "$(sql "SELECT countIf(now() - ts < 600) FROM audit.events")" = 4 ] || fail "a time is wrong"
    if sql "SELECT * FROM audit.events FORMAT JSONEachRow" | grep -E "correct-horse|battery-staple|$TOKEN|not-a-token"; then
        fail "a secret is in a row"
    fi
}

# Sidelog ends cleanly on Ctrl-C and leaves nothing running.
check_end() {
    local family
    family=$(grep -lsE "^PPid:\s$SIDELOG$" /proc/[0-9]*/status | cut -d/ -f3)
    [ -n "$family" ] || fail "ClickHouse does not run in a process of its own"
    kill -INT "$SIDELOG"
    local code=0
    wait "$SIDELOG" || code=$?
    [ "$code" = 0 ] || { tail -30 "$HOME_DIR/sidelog.err" >&2; fail "sidelog-standalone ended with $code"; }
    for process in $family; do
        if kill -0 "$process" 2>/dev/null; then fail "process $process is still there"; fi
    done
    SIDELOG=
}

stay() {
    say "Up until Ctrl-C"
    cat <<TEXT
Your calls:  curl -H 'X-Vault-Token: $TOKEN' -H 'X-User-Id: you' -X DELETE $URL/v1/secret/data/app/db
Questions:   curl $SQL_URL -H 'X-ClickHouse-User: $SQL_USER' -H "X-ClickHouse-Key: \$(cat .demo/data/reader.password)" \\
                 -d 'SELECT * FROM audit.events ORDER BY ts DESC LIMIT 10 FORMAT Vertical'
Files:       .demo/ (configuration, logs, data)
TEXT
    wait "$SIDELOG"
}

stop_all() {
    local code=$?
    trap - EXIT INT TERM
    for process in $SIDELOG $OPENBAO; do
        kill -TERM "$process" 2>/dev/null || true
    done
    for process in $SIDELOG $OPENBAO; do
        for _ in $(seq 300); do
            kill -0 "$process" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$process" 2>/dev/null || true
    done
    exit "$code"
}

main
