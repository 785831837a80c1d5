#!/bin/sh
# server-container.sh: what is asked of Docker about a container, on a server and by `make run`.
#
#   docker …                            the command that DOCKER names, which may be `sudo -n docker`
#   exists NAME, label NAME KEY …       what docker knows of a container
#   wait_healthy CONTAINER [SECONDS]    until it has been healthy for so long, which begins within
#                                       HEALTH_TIMEOUT seconds; shows its log if it does not
#   make_volumes IMAGE                  those of VOLUMES that are not there, for the image's user
# Sourced, or sent to a server in front of server.sh.

set -eu

DOCKER=${DOCKER:-docker}
HEALTH_TIMEOUT=${HEALTH_TIMEOUT:-120}
STEADY=${STEADY:-5} # seconds that a release must have been healthy to be trusted

docker() {
    # shellcheck disable=SC2086 # `sudo -n docker` is words
    command $DOCKER "$@" </dev/null
}

quietly() {
    "$@" >/dev/null 2>&1
}

# field TEMPLATE CONTAINER…: what docker knows of it; fails when there is none
field() {
    template=$1
    shift
    docker container inspect --format "$template" "$@" 2>/dev/null
}

# exists NAME: by its whole name; docker would also take the beginning of an ID
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

# ends CONTAINER: it is a job, which is well when it has ended with status 0
ends() {
    [ "$(label "$1" ends)" = yes ]
}

# health CONTAINER: one word and how often docker has restarted it; without a HEALTHCHECK a running
# one is `steady`, and a job is `starting` until it has `ended`
# shellcheck disable=SC2016 # $ends is docker's
HEALTH_NOW='{{$ends := index .Config.Labels "slipway.ends"}}{{if and $ends (eq .State.Status "exited") (eq .State.ExitCode 0)}}ended{{else if not .State.Running}}{{.State.Status}}{{else if .State.Restarting}}restarting{{else if $ends}}starting{{else if .State.Health}}{{.State.Health.Status}}{{else}}steady{{end}} {{.RestartCount}}'
health() {
    field "$HEALTH_NOW" "$1" || echo 'gone 0'
}

# clock: hundredths of a second since some time
clock() {
    if [ -r /proc/uptime ]; then
        read -r up _ </proc/uptime
        echo "${up%.*}${up#*.}"
    else
        echo "$(date +%s)00"
    fi
}

# log_of CONTAINER LINES: the last ones of its log, of an endless line its beginning
log_of() {
    docker logs --tail "$2" "$1" 2>&1 | cut -c 1-500
}

# last_of TEXT SCRIPT: the last line that sed makes of it
last_of() {
    printf '%s\n' "$1" | sed -nE "$2" | tail -n 1
}

# show_missed CONTAINER: what to set for a program, a variable or a host that its log misses, or a
# place that it may not write to
show_missed() {
    log=$(log_of "$1" 200)
    program=$(last_of "$log" "s/.*No such file or directory: '([a-z][a-z0-9_-]+)'.*/\1/p")
    [ -z "$program" ] ||
        echo "if $program is a program that it wants to run, this names its package for NATIVE: make native FIND=bin/$program"
    variable=$(last_of "$log" "s/^KeyError: '([A-Z][A-Z0-9_]+)'\$/\1/p")
    [ -z "$variable" ] ||
        echo "if $variable is a variable that it wants in its environment, deploy/run.env gives it one"
    ! printf '%s\n' "$log" | grep -qE 'Name or service not known|Temporary failure in name resolution|could not translate host name|Unknown .*server host|getaddrinfo failed|ENOTFOUND' ||
        echo "a host that it asks for is unknown there: the name of another container is known in a network that both are in, as RUN_OPTIONS := --network NAME says"
    refused=$(printf '%s\n' "$log" |
        grep -E 'Read-only file system|Permission denied|unable to open database file|readonly database|not writable' |
        tail -n 1)
    [ -n "$refused" ] || return 0
    place=$(last_of "$refused" "s/.*[\"']([^\"' ]+)[\"'].*/\1/p")
    owner=$(field '{{or .Config.User "0:0"}}' "$1")
    given=$(field '{{range .Mounts}}{{println .RW .Destination .Source}}{{end}}' "$1" |
        while read -r may inside outside; do
            case $place/ in "$inside"/*) ;; *) continue ;; esac
            case $may in
            true) echo "$inside is $outside there, whose owner is another one: sudo chown -R $owner $outside" ;;
            false) echo "VOLUMES gives it $inside to be read only" ;;
            esac
        done)
    [ -n "$given" ] || given="to /tmp it may, and to what VOLUMES names; VOLUMES := $PROJECT-files:/files in deploy/settings.mk gives it /files, to be named in COMMAND or run.env; RUN_OPTIONS := --workdir /tmp lets it write to its working directory"
    echo "it wants to write where it may not${place:+ ($place)}: $given"
}

show_why() {
    {
        field '{{if not .State.Running}}{{.Name}} ended with status {{.State.ExitCode}}{{if .State.OOMKilled}}, out of memory, of which /tmp is a part: raise MEMORY{{else if eq .State.ExitCode 0}}: a server must stay in the foreground; HEALTH := ends is for a job that does{{end}}{{end}}' "$1" | sed -n 's/^.//p'
        echo "the last lines of its log:"
        log_of "$1" 50 | sed 's/^/    /'
        field '{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}' "$1" |
            sed -n '/./s/^/    health: /p' | tail -n 3
        show_missed "$1"
    } >&2 || true
}

# still_answers CONTAINER: docker asks a healthy one seldom
still_answers() {
    tries=0
    until said=$(docker exec "$1" /appenv/bin/python -I /appenv/healthcheck --published 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" = 3 ]; then
            show_why "$1"
            printf '%s was healthy, and is not any more: %s\n' "$1" "$said" >&2 || true
            return 1
        fi
        sleep 0.5
    done
}

# wait_healthy CONTAINER [SECONDS]: one that ends, or is restarted, has failed at once; without a
# HEALTHCHECK steady running has to do.
wait_healthy() {
    began=$(clock) well='' restarts=''
    while :; do
        # podman leaves the checks to systemd, which may not be there
        [ -z "${PODMAN:-}" ] || quietly docker healthcheck run "$1" || true
        state=$(health "$1")
        now=$(clock)
        : "${restarts:=${state#* }}"
        case $state in
        'ended '*) return 0 ;;
        "healthy $restarts" | "steady $restarts")
            : "${well:=$now}"
            held=${2:-0}
            [ "$state" != "steady $restarts" ] || held=$STEADY
            if [ $((now - well)) -ge $((held * 100)) ]; then
                [ "$held" = 0 ] || [ "$state" = "steady $restarts" ] || still_answers "$1"
                return
            fi
            ;;
        "starting $restarts" | "created $restarts" | "unhealthy $restarts")
            well=
            if [ $((now - began)) -ge $((HEALTH_TIMEOUT * 100)) ]; then
                show_why "$1"
                missed=$(ends "$1" && echo 'has not ended' || echo 'was not healthy')
                printf '%s %s within %s s (HEALTH_TIMEOUT)\n' "$1" "$missed" "$HEALTH_TIMEOUT" >&2 || true
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

# make_volumes IMAGE: an empty volume is root's, and the image's user could write nothing into it.
# The helper is kept until it is done: one that is left was cut off, and is done again.
make_volumes() {
    helper=$PROJECT-volumes image=$1
    if exists "$helper"; then
        docker start --attach "$helper" && docker rm "$helper" >/dev/null
    fi
    set --
    for volume in ${VOLUMES:-}; do
        quietly docker volume inspect "$volume" || set -- "$@" --volume "$volume:/volumes/$volume"
    done
    [ $# -gt 0 ] || return 0
    user=$(docker image inspect --format '{{.Config.User}}' "$image")
    docker create --name "$helper" --network none --user 0:0 --entrypoint /bin/sh "$@" \
        "$image" -c "chown ${user:-0:0} /volumes/*" >/dev/null
    docker start --attach "$helper"
    docker rm "$helper" >/dev/null
}
