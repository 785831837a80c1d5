#!/bin/sh
# server-lock.sh: one deploy of a project at a time, and a log of them; needs sh and coreutils alone.
# deploy.py puts it in front of what it sends to a server, with PROJECT and BY set.
#
#   claim WHAT    hold the project's lock; wait LOCK_WAIT seconds for who has it, then say who that is
#   release       give it up, if it is ours
#   holder        say who holds it: process, its birth, boot, who, since when, what for
#   alive HOLDER  whether that process is still there
#   unlock        end who holds it, and take its lock away
#   record TEXT   write a line to the log
#
# The lock is a symbolic link, whose text says who holds it: made in one step with its text, or not
# at all. It is in /tmp, where all accounts of the server see it. A holder is known by its process,
# the time when that began and the boot of the server, so that a dead one holds nothing.

set -eu

LOCK=/tmp/slipway-$PROJECT.lock
FOLDER=$HOME/.slipway/$PROJECT
mine=

say() {
    # the laptop may be gone; the work goes on
    printf '%s\n' "$*" 2>/dev/null || true
}

fail() {
    printf '%s\n' "$*" >&2 2>/dev/null || true
    exit 1
}

now() {
    date -u +%Y-%m-%dT%H:%M:%SZ
}

# born PROCESS: when it began, in ticks since the boot; fails when it is no more
born() {
    read -r stat <"/proc/$1/stat" || return 1
    # the name before it may hold anything
    # shellcheck disable=SC2086 # fields
    set -- ${stat##*) }
    [ "$1" != Z ] && echo "${20}"
} 2>/dev/null

boot() {
    cat /proc/sys/kernel/random/boot_id
}

holder() {
    readlink "$LOCK"
}

alive() {
    # shellcheck disable=SC2086 # fields
    set -- $1
    [ $# -ge 3 ] && [ "$3" = "$(boot)" ] && [ "$(born "$1")" = "$2" ]
}

describe() {
    # shellcheck disable=SC2086 # fields
    set -- $1
    echo "${4:-somebody}, since ${5:-some time}, for ${6:-a deploy} (process ${1:-unknown} on the server)"
}

identify() {
    mine="$$ $(born $$) $(boot) $BY $(now) $1"
}

claim() {
    identify "$1"
    end=$(($(date +%s) + ${LOCK_WAIT:-60}))
    told='' refused=0
    until said=$(ln -s "$mine" "$LOCK" 2>&1); do
        if ! held=$(holder); then
            # it was given up just now, or there can be none
            refused=$((refused + 1))
            [ "$refused" -lt 20 ] || fail "the lock cannot be made: $said"
            sleep 0.1
            continue
        fi
        if ! alive "$held"; then
            take_away "$held"
            continue
        fi
        [ "$(date +%s)" -lt "$end" ] ||
            fail "a deploy is at work: $(describe "$held"): try again when it is done, or make unlock"
        [ -n "$told" ] || say "waits for a deploy that is at work: $(describe "$held")"
        told=yes
        sleep 0.5
    done
}

# take_away HOLDER: its lock. Of those who see that a holder is dead one does it, behind a lock of its
# own: another would take away what a third one has claimed meanwhile.
take_away() {
    if ! ln -s "$mine" "$LOCK.dead" 2>/dev/null; then
        other=$(readlink "$LOCK.dead") && ! alive "$other" && rm -f "$LOCK.dead"
        sleep 0.1
        return 0
    fi
    if [ "$(holder)" = "$1" ] && ! rm -f "$LOCK" 2>/dev/null; then
        rm -f "$LOCK.dead"
        fail "another account's dead deploy holds the lock, $(describe "$1"): sudo rm $LOCK"
    fi
    rm -f "$LOCK.dead"
}

release() {
    [ -z "$mine" ] || [ "$(holder)" != "$mine" ] || rm -f "$LOCK"
} 2>/dev/null

unlock() {
    held=$(holder) || {
        say "no deploy holds the lock"
        return
    }
    identify unlock
    pid=${held%% *}
    if alive "$held"; then
        kill "$pid" 2>/dev/null || fail "this account may not end it: $(describe "$held")"
        tries=0
        while alive "$held" && [ "$tries" -lt 100 ]; do
            sleep 0.2
            tries=$((tries + 1))
        done
        ! alive "$held" || kill -9 "$pid" 2>/dev/null || true
    fi
    [ "$(holder)" != "$held" ] || take_away "$held"
    say "took the lock away from $(describe "$held")"
}

record() {
    # a disk that is full fails no deploy that was good
    (
        umask 077
        mkdir -p "$FOLDER"
        printf '%s %s\n' "$(now)" "$*" >>"$FOLDER/log"
        # the last hundred
        tail -n 100 "$FOLDER/log" >"$FOLDER/log.$$" && mv -f "$FOLDER/log.$$" "$FOLDER/log"
    ) || true
}
