#!/bin/sh
# Where the lock of a project is kept on a server with Docker: each entry is the label of a volume.
#
# Only those who may use Docker, and so may deploy, can create volumes. They need no image, and
# `docker system prune` leaves them alone. The functions are those that lock.sh needs.

set -eu

lock_volume() {
    echo "slipway-lock.$PROJECT.$(entry_name "$1")"
}

lock_add() {
    tries=0
    until problem=$(docker volume create --label "slipway.lock=$PROJECT" --label "slipway.entry=$1" "$(lock_volume "$1")" 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" = 20 ] || ! engine_is_back; then
            fail "cannot create the lock: $problem"
        fi
        sleep 0.1
    done
}

lock_list() {
    tries=0
    until docker volume ls --filter "label=slipway.lock=$PROJECT" --format '{{.Label "slipway.entry"}}' 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] && engine_is_back || return 1
        sleep 0.1
    done
}

lock_remove() {
    quietly docker volume rm "$(lock_volume "$1")" || true
}
