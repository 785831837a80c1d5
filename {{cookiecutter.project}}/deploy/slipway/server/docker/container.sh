#!/bin/sh
# What is asked of Docker about a container, on a server and by `make run`.
#
#   docker …                            run the command in DOCKER, which may be `sudo -n docker`
#   exists NAME, label NAME KEY …       what docker knows about a container
#   wait_healthy CONTAINER [SECONDS]    wait until the container has been healthy for SECONDS; it must
#                                       become healthy within HEALTH_TIMEOUT seconds; if it does
#                                       not, print its log and fail
#   point_out CONTAINER                 print what a healthy container should not answer
#   make_volumes IMAGE                  create the missing volumes of VOLUMES, which are NAME:PLACE,
#                                       for the image's user
#
# A part of the script that is sent to servers; make run starts a shell that sources this file.

set -eu

DOCKER=${DOCKER:-docker}
HEALTH_TIMEOUT=${HEALTH_TIMEOUT:-120}
STEADY=${STEADY:-5} # seconds for which a new release must stay healthy

docker() {
    # shellcheck disable=SC2086 # `sudo -n docker` is several words
    command $DOCKER "$@" </dev/null
}

quietly() {
    "$@" >/dev/null 2>&1
}

# field TEMPLATE CONTAINER…: what docker knows about containers; fails if one does not exist
field() {
    template=$1
    shift
    docker container inspect --format "$template" "$@" 2>/dev/null
}

# exists NAME: compares the whole name, because docker also accepts the beginning of an ID
exists() {
    case $(field '{{.Name}}' "$1") in
    "$1" | "/$1") ;;
    *) return 1 ;;
    esac
}

label() {
    field "{{index .Config.Labels \"slipway.$2\"}}" "$1"
}

policy() {
    docker update --restart="$1" "$2" >/dev/null
}

# ends CONTAINER: whether it is a one-off job, which is healthy when it has exited with status 0
ends() {
    [ "$(label "$1" ends)" = yes ]
}

# health CONTAINER: its health in one word, and how often docker has restarted it. A running container
# without a HEALTHCHECK is `steady`. A one-off job is `starting` until it has `ended`.
# shellcheck disable=SC2016 # $ends is a variable of docker's template
HEALTH_NOW='{{$ends := index .Config.Labels "slipway.ends"}}{{if and $ends (eq .State.Status "exited") (eq .State.ExitCode 0)}}ended{{else if not .State.Running}}{{.State.Status}}{{else if .State.Restarting}}restarting{{else if $ends}}starting{{else if .State.Health}}{{.State.Health.Status}}{{else}}steady{{end}} {{.RestartCount}}'
health() {
    field "$HEALTH_NOW" "$1" || echo 'gone 0'
}

# clock: hundredths of a second since an arbitrary moment
clock() {
    if [ -r /proc/uptime ]; then
        read -r up _ </proc/uptime
        echo "${up%.*}${up#*.}"
    else
        echo "$(date +%s)00"
    fi
}

# log_of CONTAINER LINES: the last lines of its log; of a very long line only the beginning
log_of() {
    docker logs --tail "$2" "$1" 2>&1 | cut -c 1-500
}

# show_why CONTAINER: why it is not healthy. The laptop adds advice; see laptop/docker/log_advice.py.
show_why() {
    {
        field '{{if not .State.Running}}{{.Name}} ended with status {{.State.ExitCode}}{{if .State.OOMKilled}}: it ran out of memory, which includes /tmp. Raise MEMORY.{{else if eq .State.ExitCode 0}}: a server must stay in the foreground. For a one-off job set HEALTH := ends.{{end}}{{end}}' "$1" | sed -n 's/^.//p'
        echo "the last lines of its log:"
        log_of "$1" 50 | sed 's/^/    /'
        field '{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}' "$1" |
            sed -n '/./s/^/    health: /p' | tail -n 3
    } >&2 || true
}

# still_answers CONTAINER: docker checks a healthy container only now and then
still_answers() {
    tries=0
    until problem=$(docker exec "$1" /appenv/bin/python -I -S /appenv/healthcheck --published 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" = 3 ]; then
            show_why "$1"
            printf '%s was healthy and no longer is: %s\n' "$1" "$problem" >&2 || true
            return 1
        fi
        sleep 0.5
    done
}

# wait_healthy CONTAINER [SECONDS]: a container that exits or is restarted has failed at once. Without a
# HEALTHCHECK it must run for STEADY seconds.
wait_healthy() {
    began=$(clock) healthy_since='' restarts=''
    while :; do
        # podman leaves health checks to systemd, which may not run here
        [ -z "${PODMAN:-}" ] || quietly docker healthcheck run "$1" || true
        state=$(health "$1")
        now=$(clock)
        : "${restarts:=${state#* }}"
        case $state in
        'ended '*) return 0 ;;
        "healthy $restarts" | "steady $restarts")
            : "${healthy_since:=$now}"
            held=${2:-0}
            [ "$state" != "steady $restarts" ] || held=$STEADY
            if [ $((now - healthy_since)) -ge $((held * 100)) ]; then
                [ "$held" = 0 ] || [ "$state" = "steady $restarts" ] || still_answers "$1"
                return
            fi
            ;;
        "starting $restarts" | "created $restarts" | "unhealthy $restarts")
            healthy_since=
            if [ $((now - began)) -ge $((HEALTH_TIMEOUT * 100)) ]; then
                show_why "$1"
                problem=$(ends "$1" && echo 'did not exit' || echo 'did not become healthy')
                printf '%s %s within %s s (HEALTH_TIMEOUT)\n' "$1" "$problem" "$HEALTH_TIMEOUT" >&2 || true
                return 1
            fi
            ;;
        *)
            show_why "$1"
            return 1
            ;;
        esac
        sleep 0.1
    done
}

# point_out CONTAINER: print which error a healthy container answers to its check, since 404 is no
# proof, and which page shows a debug mode
point_out() {
    field '{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}' "$1" |
        sed -n 's|^\(GET .* answers \)[^ ]* \(4[0-9][0-9].*\)|\1\2, which counts as healthy: set HEALTH to a path that answers without an error, or to tcp|p' |
        tail -n 1
    docker exec "$1" /appenv/bin/python -I -S /appenv/healthcheck --debug 2>/dev/null || true
}

# make_volumes IMAGE: a new volume belongs to root, and so does what docker copies into it from the
# image's folder at its place; the image's user could not write to it. The helper container exists until its work
# is done: one that is left over was cut off, and is run again.
make_volumes() {
    helper=$PROJECT-volumes image=$1
    if exists "$helper"; then
        docker start --attach "$helper" && docker rm "$helper" >/dev/null
    fi
    set --
    places=
    for volume in ${VOLUMES:-}; do
        quietly docker volume inspect "${volume%%:*}" && continue
        set -- "$@" --volume "$volume"
        places="$places ${volume#*:}"
    done
    [ $# -gt 0 ] || return 0
    user=$(docker image inspect --format '{{.Config.User}}' "$image")
    docker create --name "$helper" --network none --user 0:0 --entrypoint /bin/sh "$@" \
        "$image" -c "chown -hR ${user:-0:0}$places" >/dev/null
    docker start --attach "$helper"
    docker rm "$helper" >/dev/null
}
