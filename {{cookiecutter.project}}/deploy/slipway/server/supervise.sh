#!/bin/sh
# The supervisor of a deploy: the work on a server finishes or recovers even if its process is killed.
#
#   again COMMAND    become a process of the same script in a session of its own
#   supervise        run `work`, and once more with JOB=recover if its process was killed
#   outcome WORD     print the line from which the laptop learns how it ended
#
# The exit status is 0 or 1. The laptop takes the first line that begins with `slipway outcome=`:
# done, failed, or recovered (the work was killed, and the server is in order). image-gone and
# wheels-gone come from the work itself: another deploy has removed what was sent for this one.
#
# shellcheck disable=SC2153,SC2154 # the laptop sets the variables
set -eu

outcome() {
    say "slipway outcome=$1"
}

# The end of the ssh session must not end the new process.
again() {
    exec $(command -v setsid || true) sh "$0" "$@" </dev/null
}

supervise() {
    trap '' HUP PIPE
    killed=0
    while :; do
        again work &
        worker=$!
        status=0
        wait "$worker" || status=$?
        [ "$status" -gt 128 ] && [ "$killed" -lt 5 ] || break
        killed=$((killed + 1))
        # What the killed process has asked docker for must not run after the recovery.
        kill -9 -- "-$worker" 2>/dev/null || true
        printf '%s\n' "the process on the server was killed; recovering" >&2 || true
        record "$JOB ${RELEASE:-previous} by $BY: failed: it was killed"
        export JOB=recover
    done
    if [ "$status" != 0 ]; then
        outcome failed
        exit 1
    fi
    if [ "$killed" != 0 ]; then
        outcome recovered
        exit 1
    fi
    outcome 'done'
    exit 0
}
