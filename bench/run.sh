#!/bin/sh
# The benchmark: Sidelog beside its peers, from a bare machine (Debian), in one command.
# Installs nginx and wrk if they are missing, builds, measures, prints a table, leaves nothing running.
#
#   DURATION=5        seconds of each measurement
#   ROUNDS=3          how often each is repeated, interleaved; medians are printed
#   CONNECTIONS=64    connections of the load
#   SUBJECTS=         only these, by name, separated by commas
#   PROFILE=release   `dev` to try the benchmark itself; its figures mean nothing
set -eu
cd "$(dirname "$0")/.."

needs=
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || needs="$needs nginx-light"
command -v wrk >/dev/null || needs="$needs wrk"
command -v taskset >/dev/null || needs="$needs util-linux"
if [ -n "$needs" ]; then
    become=
    [ "$(id -u)" = 0 ] || become=sudo
    $become apt-get update -q
    $become env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $needs
fi

profile=${PROFILE:-release}
cargo build --profile "$profile" -p sidelog -p sidelog-bench
out=$profile
[ "$profile" = dev ] && out=debug
exec "${CARGO_TARGET_DIR:-target}/$out/side_by_side"
