#!/usr/bin/env bash
# lock.sh [upgrade]: write the lock, pip-compile's output with hashes, made inside the builder so that
# it is that interpreter's. The present pins are kept; `upgrade` moves them, and that of the base image.
SETTINGS_BY="settings.py PYTHON"
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

if [ "${1:-lock}" = upgrade ]; then
    python3 "$DEPLOY/pin.py" upgrade >/dev/null || exit 1
fi
QUIET=1 "$DEPLOY/build.sh" tools
lock=$(python3 "$DEPLOY/state.py" lock)
new=$(mktemp "$ROOT/.deploy/lock.XXXXXX")
trap 'rm -f "$new"' EXIT
status=0
BUILDER=$IMAGES-builder:tools run_builder "${1:-lock}" --without-compiler >"$new" || status=$?
if [ "$status" -eq 4 ]; then # a package has to be compiled before it says what it needs
    QUIET=1 "$DEPLOY/build.sh" builder
    status=0
    run_builder "${1:-lock}" >"$new" || status=$?
fi
[ "$status" -eq 0 ] || die "no lock was made; $(basename "$lock") is as it was"
chmod 644 "$new"
if [ -e "$lock" ] && cmp -s "$new" "$lock"; then
    say "$(basename "$lock") is up to date"
else
    mv "$new" "$lock"
    say "wrote $(basename "$lock"), $(grep -c '^[^#].*==' "$lock" || true) pins: commit it"
fi
"$DEPLOY/words.py" loaded
