#!/bin/sh
# The lock of a project on a server, and the log of its deploys. Needs sh and coreutils only.
# PROJECT and BY are set by the laptop; see laptop/servers/remote_job.py.
#
#   claim WHAT     take the project's lock; wait up to LOCK_WAIT seconds for the present holder
#   release        give the lock up, if this process holds it
#   alive ENTRY    check whether the process of an entry still works on a deploy
#   unlock         end the holder's process and remove its entry
#   record TEXT    write a line to the log
#
# The lock is a set of entries, one for each process that holds it or wants it. Each kind of deploy
# keeps them where only those who may deploy can write, and has these functions for it:
#
#   lock_add ENTRY       add an entry together with its text, or not at all; fails in one line
#   lock_list            print all entries, one a line; fails if they cannot be read
#   lock_remove ENTRY    remove an entry; never fails
#
# An entry is a line of these words: process, its start time, boot of the server, number of the
# account, who deploys, since when, what for. Its name is the first three. So a dead process, or
# another one with the same number, holds nothing, and no name is ever used again: whoever removes a
# dead entry cannot remove one that was added meanwhile.
#
# A process holds the lock once it has added its entry and after that has seen no other living
# one. Two at once cannot both hold it: each has added its entry before it looked, so that the one
# that looked last has seen the other. If both see each other, the older process waits and the
# younger one removes its entry.

set -eu

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

# alive ENTRY: whether its process runs, and is a deploy of slipway
alive() {
    read -r pid start boot uid _ <<END
$1
END
    [ "$boot" = "$(boot)" ] || return 1
    if ! now_started=$(started "$pid"); then
        # With hidepid an account cannot see the processes of others, which may be alive.
        [ "$uid" != "$(id -u)" ] && ! read -r _ </proc/1/stat
        return
    fi
    [ "$now_started" = "$start" ] || return 1
    case $(tr '\0' ' ' <"/proc/$pid/cmdline") in
    *"/.slipway/$PROJECT/server-"* | *"/$PROJECT/kit/"* | *" slipway.server.systemd.deploy "*) ;;
    *) return 1 ;;
    esac
} 2>/dev/null

describe() {
    read -r pid _ _ _ by since purpose <<END
$1
END
    echo "${by:-somebody}, since ${since:-an unknown time}, for ${purpose:-a deploy} (process $pid on the server)"
}

# entry_name ENTRY
entry_name() {
    read -r pid start boot _ <<END
$1
END
    echo "$pid.$start.$boot"
}

# entries: print all entries, that of the oldest process first
entries() {
    listed=$(lock_list) || return 1
    printf '%s\n' "$listed" | sort -k 2,2n -k 1,1n | sed '/./!d'
}

# others: print the first entry of another living process; remove those of dead ones
others() {
    all=$(entries) || fail "cannot read the lock"
    printf '%s\n' "$all" | while read -r entry; do
        if [ -z "$entry" ] || [ "$entry" = "$mine" ]; then
            continue
        elif alive "$entry"; then
            printf '%s\n' "$entry"
            break
        else
            lock_remove "$entry"
        fi
    done
}

# is_younger ENTRY: whether the process of the entry started after this one
is_younger() {
    [ "$(printf '%s\n' "$mine" "$1" | sort -k 2,2n -k 1,1n | head -n 1)" = "$mine" ]
}

# is_alone: whether this process holds the lock, after its entry was added; sets `held` if not
is_alone() {
    tries=0
    while :; do
        held=$(others) || exit 1
        [ -n "$held" ] || return 0
        # A younger process that wants the lock goes away at once, one that holds it does not.
        [ "$tries" -lt 30 ] && is_younger "$held" || return 1
        tries=$((tries + 1))
        sleep 0.1
    done
}

claim() {
    mine="$$ $(started $$) $(boot) $(id -u) $BY $(now) $1"
    end=$(($(date +%s) + ${LOCK_WAIT:-60}))
    announced=
    while :; do
        lock_add "$mine"
        ! is_alone || return 0
        lock_remove "$mine"
        while [ -n "$held" ]; do
            [ "$(date +%s)" -lt "$end" ] ||
                fail "another deploy is running: $(describe "$held"). Try again when it has finished, or run make unlock."
            [ -n "$announced" ] || say "waiting for another deploy to finish: $(describe "$held")"
            announced=yes
            sleep 0.5
            held=$(others) || exit 1
        done
    done
}

release() {
    [ -z "$mine" ] || lock_remove "$mine"
}

unlock() {
    all=$(entries) || fail "cannot read the lock"
    [ -n "$all" ] || say "no deploy holds the lock"
    while read -r entry; do
        [ -n "$entry" ] || continue
        if alive "$entry"; then
            kill "${entry%% *}" 2>/dev/null || fail "this account may not end the deploy of $(describe "$entry")"
            tries=0
            while alive "$entry" && [ "$tries" -lt 100 ]; do
                sleep 0.2
                tries=$((tries + 1))
            done
            ! alive "$entry" || kill -9 "${entry%% *}" 2>/dev/null || true
        fi
        lock_remove "$entry"
        say "removed the lock of $(describe "$entry")"
    done <<END
$all
END
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
