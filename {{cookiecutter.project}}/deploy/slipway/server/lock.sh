#!/bin/sh
# The lock of a project on a server, and the log of its deploys. Needs sh and coreutils only.
# PROJECT and BY are set by the laptop; see laptop/servers/remote_job.py.
#
#   claim WHAT    take the project's lock; wait up to LOCK_WAIT seconds for the present holder
#   release       give the lock up, if this process holds it
#   holder        print the holder: process, start time, boot, account, since when, what for
#   alive HOLDER  check whether that process still runs
#   unlock        end the holder's process and remove its lock
#   record TEXT   write a line to the log
#
# The lock is a symbolic link whose text describes the holder: it is created together with its text,
# or not at all. It is in /tmp, where all accounts of the server see it. A holder is identified by
# its process, the start time of that process and the boot of the server, so that a dead holder
# blocks nobody.

set -eu

LOCK=/tmp/slipway-$PROJECT.lock
FOLDER=$HOME/.slipway/$PROJECT
mine=

say() {
    # The laptop may be gone; the work goes on.
    printf '%s\n' "$*" 2>/dev/null || true
}

fail() {
    printf '%s\n' "$*" >&2 2>/dev/null || true
    exit 1
}

now() {
    date -u +%Y-%m-%dT%H:%M:%SZ
}

# started PROCESS: print when it started, in ticks since the boot; fails if it does not exist
started() {
    read -r stat <"/proc/$1/stat" || return 1
    # The name of the program, which comes before, may contain any characters.
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
    [ $# -ge 3 ] && [ "$3" = "$(boot)" ] && [ "$(started "$1")" = "$2" ]
}

describe() {
    # shellcheck disable=SC2086 # fields
    set -- $1
    echo "${4:-somebody}, since ${5:-an unknown time}, for ${6:-a deploy} (process ${1:-unknown} on the server)"
}

identify() {
    mine="$$ $(started $$) $(boot) $BY $(now) $1"
}

claim() {
    identify "$1"
    end=$(($(date +%s) + ${LOCK_WAIT:-60}))
    announced='' refused=0
    until problem=$(ln -s "$mine" "$LOCK" 2>&1); do
        if ! held=$(holder); then
            # Either the lock was given up just now, or none can be created here.
            refused=$((refused + 1))
            [ "$refused" -lt 20 ] || fail "cannot create the lock: $problem"
            sleep 0.1
            continue
        fi
        if ! alive "$held"; then
            take_away "$held"
            continue
        fi
        [ "$(date +%s)" -lt "$end" ] ||
            fail "another deploy is running: $(describe "$held"). Try again when it has finished, or run make unlock."
        [ -n "$announced" ] || say "waiting for another deploy to finish: $(describe "$held")"
        announced=yes
        sleep 0.5
    done
}

# take_away HOLDER: remove the lock of a dead holder. Several processes may see at the same time that
# the holder is dead. One of them removes the lock, behind a lock of its own; another one would
# remove what a third one has claimed meanwhile.
take_away() {
    if ! ln -s "$mine" "$LOCK.dead" 2>/dev/null; then
        other=$(readlink "$LOCK.dead") && ! alive "$other" && rm -f "$LOCK.dead"
        sleep 0.1
        return 0
    fi
    if [ "$(holder)" = "$1" ] && ! rm -f "$LOCK" 2>/dev/null; then
        rm -f "$LOCK.dead"
        fail "cannot remove the lock of another account's dead deploy, $(describe "$1"). Run: sudo rm $LOCK"
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
        kill "$pid" 2>/dev/null || fail "this account may not end the deploy of $(describe "$held")"
        tries=0
        while alive "$held" && [ "$tries" -lt 100 ]; do
            sleep 0.2
            tries=$((tries + 1))
        done
        ! alive "$held" || kill -9 "$pid" 2>/dev/null || true
    fi
    [ "$(holder)" != "$held" ] || take_away "$held"
    say "removed the lock of $(describe "$held")"
}

record() {
    # A full disk must not fail a deploy that was good.
    (
        umask 077
        mkdir -p "$FOLDER"
        printf '%s %s\n' "$(now)" "$*" >>"$FOLDER/log"
        # the last hundred
        tail -n 100 "$FOLDER/log" >"$FOLDER/log.$$" && mv -f "$FOLDER/log.$$" "$FOLDER/log"
    ) || true
}
