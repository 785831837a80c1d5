#!/bin/sh
# Where the lock of a project is kept on a server without Docker: each entry is the text of a symbolic
# link, which is created together with its text. The folder PLACE/lock belongs to the account that
# deploys, and nobody else can write to it. The functions are those that lock.sh needs.

set -eu

lock_add() {
    link=$PLACE/lock/$(entry_name "$1")
    problem=$( (umask 077 && mkdir -p "$PLACE/lock" && ln -s "$1" "$link") 2>&1) ||
        fail "cannot create the lock: $problem"
}

lock_list() {
    for link in "$PLACE"/lock/*; do
        ! [ -L "$link" ] || readlink "$link" || true
    done
}

lock_remove() {
    rm -f "$PLACE/lock/$(entry_name "$1")"
}
