#!/usr/bin/env bash
# Two suites of cases for HTTP/2 servers, h2spec and httpwg, against nghttpd directly and through the
# sidecar. No case may be worse through it.
#
# Needs Go, cargo, nghttpd (Debian: nghttp2-server) and a built sidecar (SIDELOG_BINARY, or
# target/debug/sidelog). The suites are fetched into .deps/h2spec by their ordinary package clients.
set -euo pipefail
cd "$(dirname "$0")/.."

sidelog=$(realpath "${SIDELOG_BINARY:-${CARGO_TARGET_DIR:-target}/debug/sidelog}")
tools=${SIDELOG_TOOLS:-$PWD/.deps/h2spec}
command -v nghttpd > /dev/null || { echo "nghttpd is needed: apt install nghttp2-server" >&2; exit 1; }
mkdir -p "$tools"
[ -x "$tools/h2spec" ] || GOBIN=$tools go install github.com/summerwind/h2spec/cmd/h2spec@latest
[ -x "$tools/bin/httpwg" ] || cargo install --locked --quiet --root "$tools" --target-dir "$tools/build" httpwg-cli

# A case that is another one through the sidecar, and not worse: on its port HTTP/1 is spoken, too, so what
# does not begin like HTTP/2 is answered like HTTP/1 (400, and the end of the connection).
EXPECTED="http2/3.5 Sends invalid connection preface"

work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2> /dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/htdocs"
echo hello > "$work/htdocs/index.html"

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
direct=$(port)
nghttpd --no-tls --htdocs="$work/htdocs" --address=127.0.0.1 "$direct" > "$work/nghttpd.log" 2>&1 &
pids+=($!)
cat > "$work/sidelog.yaml" << YAML
version: 1
service: h2spec
listen: 127.0.0.1:0
upstream: http://127.0.0.1:$direct
journal: {dir: journal}
admin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}
YAML
(cd "$work" && exec "$sidelog" proxy --config sidelog.yaml > sidelog.out 2> sidelog.err) &
pids+=($!)
for _ in $(seq 300); do grep -qs '^sidelog ready' "$work/sidelog.out" && break; sleep 0.1; done
through=$(sed -nE 's/^sidelog ready traffic=127\.0\.0\.1:([0-9]+) .*/\1/p' "$work/sidelog.out")

# PORT: each case on a line, `passed: NAME` or `failed: NAME`.
h2spec() {
    "$tools/h2spec" --strict --timeout 5 --port "$1" --junit-report "$work/report.xml" > /dev/null 2>&1 || true
    python3 - "$work/report.xml" << 'PYTHON'
import sys, xml.etree.ElementTree as tree
for case in tree.parse(sys.argv[1]).iter("testcase"):
    print("failed:" if len(case) else "passed:", case.get("package"), case.get("classname"))
PYTHON
}
# Runs its cases all at once, and lines of its output may break.
httpwg() {
    for _ in 1 2 3; do
        "$tools/bin/httpwg" --connect-timeout 5000 --frame-timeout 5000 --address "127.0.0.1:$1" 2>&1 || true
    done | sed 's/\x1b\[[0-9;]*m//g' | grep -aoE '(passed|failed): RFC.*'
}

worse=0
for suite in h2spec httpwg; do
    for way in direct through; do
        "$suite" "${!way}" > "$work/all"
        for end in passed failed; do
            sed -n "s/^$end: //p" "$work/all" | sort -u > "$work/$way.$end"
        done
    done
    echo "$suite: $(wc -l < "$work/direct.passed") cases pass directly, $(wc -l < "$work/through.passed") through the sidecar"
    # Passes directly, and through the sidecar fails whenever it is tried.
    comm -12 "$work/direct.passed" <(comm -23 "$work/through.failed" "$work/through.passed") > "$work/worse"
    if grep -Fxv "$EXPECTED" "$work/worse" | sed 's/^/  worse: /' | grep .; then worse=1; fi
done
exit "$worse"
