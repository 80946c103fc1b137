#!/usr/bin/env bash
# Fuzzes every target, or those named: fuzz/run.sh [TARGET...]. SECONDS_EACH (60), JOBS (2).
#
# What is found lies in fuzz/artifacts/TARGET/; copy it to fuzz/regressions/TARGET/ with the cure, and
# `cargo test -p sidelog-fuzz` runs it ever after. fuzz/corpus/ keeps what was learnt, for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

export SECONDS_EACH=${SECONDS_EACH:-60}
RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrument cargo build --quiet --workspace --bin fuzz
export FUZZ=${CARGO_TARGET_DIR:-target}/debug/fuzz

if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names are words
    set -- $(TARGET=list "$FUZZ")
fi

one() {
    local target=$1 log
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    # A unit may take 5 s and 1 GiB; the log shows a summary, and all of it where something was found.
    if TARGET=$target SEEDS=fuzz/corpus/$target "$FUZZ" "fuzz/corpus/$target" -max_total_time="$SECONDS_EACH" -timeout=5 \
        -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" > "$log" 2>&1; then
        printf '%-18s %s runs, coverage %s\n' "$target" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
            "$(grep -o 'cov: [0-9]*' "$log" | tail -1)"
        rm -f "$log"
    else
        tail -40 "$log"
        printf '%-18s FAILED\n' "$target"
        rm -f "$log"
        return 1
    fi
}
export -f one

printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -I{} bash -c 'one "$1"' one {}
