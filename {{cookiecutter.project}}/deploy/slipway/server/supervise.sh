#!/bin/sh
# server-guard.sh: what is done on a server comes to an end, whatever dies meanwhile.
#
#   again JOB    become a process of this file in a session of its own
#   guard        do JOB by `work`, and once more as `settle` when that is killed
# Sent to a server beside server-lock.sh, in front of what has `work`.
#
# shellcheck disable=SC2153,SC2154 # variables and functions come in front of this file
set -eu

# again JOB: a process of this file in a session of its own; what ends the ssh session ends it not
again() {
    exec $(command -v setsid || true) sh "$0" "$@" </dev/null
}

# Ends with 3 when the work was killed, and what it left is settled.
guard() {
    trap '' HUP PIPE
    killed=0
    while :; do
        again work &
        worker=$!
        status=0
        wait "$worker" || status=$?
        [ "$status" -gt 128 ] && [ "$killed" -lt 5 ] || break
        killed=$((killed + 1))
        # what it had asked docker for is not to come after what is asked for now
        kill -9 -- "-$worker" 2>/dev/null || true
        printf '%s\n' "the part on the server was killed; what it left is settled now" >&2 || true
        record "$JOB ${RELEASE:-previous} by $BY: failed: it was killed"
        export JOB=settle
    done
    [ "$killed" = 0 ] || [ "$status" != 0 ] || exit 3
    exit "$status"
}
