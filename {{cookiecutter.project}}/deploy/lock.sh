#!/usr/bin/env bash
# lock.sh [upgrade]: write the lock, pip-compile's output with hashes, made inside the builder so that
# it is that interpreter's. The present pins are kept; `upgrade` moves them.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

QUIET=1 "$DEPLOY/build.sh" builder
lock=$(python3 "$DEPLOY/state.py" lock)
new=$(mktemp "$ROOT/.deploy/lock.XXXXXX")
trap 'rm -f "$new"' EXIT
run_builder "${1:-lock}" >"$new" || die "no lock was made; $(basename "$lock") is as it was"
chmod 644 "$new"
if [ -e "$lock" ] && cmp -s "$new" "$lock"; then
    say "$(basename "$lock") is up to date"
else
    mv "$new" "$lock"
    say "wrote $(basename "$lock"), $(grep -c -- '==' "$lock" || true) pins: commit it"
fi
