#!/bin/sh
# The basic facts of a server, for plans and reports; changes nothing.
#
#   fact KEY VALUE…    print one line of a survey
#   survey_machine     print the facts that depend neither on Docker nor on systemd
#
# The laptop reads lines that begin with `slipway`. Login scripts may print other lines, and may
# leave the last one without an end. laptop/servers/survey.py parses these facts.

fact() {
    printf 'slipway %s\n' "$*"
}

survey_machine() {
    kept=$FOLDER
    until [ -e "$kept" ]; do kept=$(dirname "$kept"); done
    [ -w "$kept" ] || fact locked "$kept"
    # kilobytes; the header has the word Available in this column
    df -Pk "$kept" 2>/dev/null | while read -r _ _ _ free _ disk; do
        case $free in [0-9] | [0-9][0-9] | [0-9][0-9][0-9]) fact full "$disk" ;; esac
    done
    ! command -v gzip >/dev/null || fact gzip
    # 0A is LISTEN, see the kernel's include/net/tcp_states.h
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _; do
        [ "$state" != 0A ] || fact listens "$address"
    done
    entries | while read -r entry; do
        dead=$(alive "$entry" || echo dead)
        fact lock "${dead:-alive}" "$entry"
    done
    tail -n 20 "$FOLDER/log" 2>/dev/null | while read -r line; do fact log "$line"; done
}
