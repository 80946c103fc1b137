#!/usr/bin/env bash
# Writes the files that are generated from the code; with --check only says which are stale.
set -euo pipefail
cd "$(dirname "$0")/.."

# FILE and the command of `sidelog` that prints it.
FILES=(
    "docs/config.schema.json schema config"
    "docs/event.schema.json schema event"
)

cargo build --quiet --workspace --bin sidelog
sidelog=${CARGO_TARGET_DIR:-target}/debug/sidelog
stale=0
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
for entry in "${FILES[@]}"; do
    read -r file command <<< "$entry"
    # shellcheck disable=SC2086 # the command is words
    "$sidelog" $command > "$fresh"
    if cmp -s "$fresh" "$file"; then continue; fi
    if [ "${1:-}" = --check ]; then
        echo "$file is not what \`sidelog $command\` prints; run \`make generate\`" >&2
        stale=1
    else
        mkdir -p "$(dirname "$file")"
        cp "$fresh" "$file"
        echo "wrote $file"
    fi
done
exit "$stale"
