#!/bin/sh
# server.sh JOB: what is done where the application runs; needs docker and nothing else.
#
# deploy.py sends this file over ssh with its variables set in front; `make run` uses its `wait` and
# `volumes`.
#   wait      until CONTAINER is healthy, at most HEALTH_TIMEOUT seconds; shows its log if it is not
#   volumes   make those of VOLUMES that are not there, for the user of an image
#   deploy    run IMAGE (pulled already) as PROJECT; keep it when healthy, else put back the old one
#   rollback  run the previous release again
#   status    say what runs
# A release is a container: PROJECT runs, PROJECT-previous waits for a rollback, PROJECT-failed is
# kept stopped for a look.
#
# shellcheck disable=SC2153,SC2329 # variables come in front of this file, jobs are called by name
set -eu

DOCKER=${DOCKER:-docker}
HEALTH_TIMEOUT=${HEALTH_TIMEOUT:-60}

docker() {
    # shellcheck disable=SC2086 # `sudo -n docker` is words
    command $DOCKER "$@" </dev/null
}

say() {
    # the laptop may be gone; the work goes on
    printf '%s\n' "$*" 2>/dev/null || true
}

fail() {
    printf 'server: %s\n' "$*" >&2 || true
    exit 1
}

# exists NAME: by its whole name; docker would also take the beginning of an ID
exists() {
    case $(docker container inspect --format '{{.Name}}' "$1" 2>/dev/null) in
    "$1" | "/$1") ;;
    *) return 1 ;;
    esac
}

label() {
    docker container inspect --format "{{index .Config.Labels \"slipway.$2\"}}" "$1" 2>/dev/null
}

# ours NAME…: no container of these names is anybody else's
ours() {
    for name; do
        exists "$name" && [ "$(label "$name" project)" != "$PROJECT" ] || continue
        fail "a container named $name is here that no deploy made: rename it, or change PROJECT"
    done
}

# health CONTAINER: one word, running containers without a HEALTHCHECK are `steady`
health() {
    docker container inspect --format \
        '{{if not .State.Running}}{{.State.Status}}{{else if .State.Restarting}}restarting{{else if .State.Health}}{{.State.Health.Status}}{{else}}steady{{end}} {{.RestartCount}}' \
        "$1" 2>/dev/null || echo 'gone 0'
}

show_why() {
    {
        echo "the last lines of $1's log:"
        docker logs --tail 50 "$1" 2>&1 | sed 's/^/    /'
        docker container inspect --format \
            '{{if .State.Health}}{{range .State.Health.Log}}{{println .Output}}{{end}}{{end}}' "$1" 2>/dev/null |
            sed -n '/./s/^/    health: /p' | tail -n 3
    } >&2
}

# A crash loop fails at once; without a HEALTHCHECK five seconds of steady running will do.
wait_healthy() {
    podman=$(docker --version | grep '^podman' || true)
    deadline=$(($(date +%s) + HEALTH_TIMEOUT))
    steady=0
    while :; do
        # podman leaves the checks to systemd, which may not be there
        [ -z "$podman" ] || docker healthcheck run "$1" >/dev/null 2>&1 || true
        state=$(health "$1")
        case $state in
        'healthy 0') return 0 ;;
        'steady 0')
            steady=$((steady + 1))
            [ "$steady" -lt 25 ] || return 0
            ;;
        'starting 0' | 'created 0' | 'unhealthy 0') ;;
        *)
            show_why "$1"
            return 1
            ;;
        esac
        if [ "$(date +%s)" -ge "$deadline" ]; then
            show_why "$1"
            printf 'server: %s was not healthy within %s s\n' "$1" "$HEALTH_TIMEOUT" >&2
            return 1
        fi
        sleep 0.2
    done
}

# retire NAME AS: stop a release and keep it under another name; `always` would start it at boot
retire() {
    docker rm --force --volumes "$2" >/dev/null 2>&1 || true
    docker update --restart=no "$1" >/dev/null
    docker stop "$1" >/dev/null
    docker rename "$1" "$2"
}

# revive NAME: start a kept release as PROJECT and see that it is healthy
revive() {
    docker rename "$1" "$PROJECT"
    docker update --restart=always "$PROJECT" >/dev/null
    docker start "$PROJECT" >/dev/null
    wait_healthy "$PROJECT"
}

put_back() {
    if exists "$PROJECT"; then
        retire "$PROJECT" "$PROJECT-failed"
    fi
    if ! exists "$PROJECT-previous"; then
        fail "$1; there was no release before it; it is kept stopped as $PROJECT-failed"
    fi
    revive "$PROJECT-previous" || fail "$1, and the release before it does not come up either"
    fail "$1; the release before it runs again, the failed one is kept stopped as $PROJECT-failed"
}

# make_volumes IMAGE: an empty volume is root's, and the image's user could write nothing into it.
# The helper is kept until it is done: one that is left was cut off, and is done again.
make_volumes() {
    if exists "$PROJECT-volumes"; then
        docker start --attach "$PROJECT-volumes" && docker rm "$PROJECT-volumes" >/dev/null
    fi
    image=$1
    set --
    for volume in ${VOLUMES:-}; do
        docker volume inspect "$volume" >/dev/null 2>&1 || set -- "$@" --volume "$volume:/volumes/$volume"
    done
    [ $# -gt 0 ] || return 0
    user=$(docker image inspect --format '{{.Config.User}}' "$image")
    docker create --name "$PROJECT-volumes" --network none --user 0:0 --entrypoint /bin/sh "$@" \
        "$image" -c "chown ${user:-0:0} /volumes/*" >/dev/null
    docker start --attach "$PROJECT-volumes"
    docker rm "$PROJECT-volumes" >/dev/null
}

deploy() {
    ours "$PROJECT" "$PROJECT-previous" "$PROJECT-failed"
    # a stable local name: restart and rollback never need the registry
    release=$PROJECT-run:$(printf '%s' "${DIGEST#sha256:}" | cut -c 1-12)
    docker tag "$IMAGE" "$release"
    make_volumes "$release"
    (
        umask 077
        mkdir -p "$HOME/.slipway/$PROJECT"
        printf '%s' "$ENVIRONMENT" >"$HOME/.slipway/$PROJECT/run.env"
    )

    if exists "$PROJECT"; then
        retire "$PROJECT" "$PROJECT-previous"
    fi
    # shellcheck disable=SC2086 # OPTIONS is quoted for the shell by deploy.py
    eval "set -- $OPTIONS $PUBLISHED"
    docker run --detach --name "$PROJECT" --restart=always \
        --label "slipway.project=$PROJECT" --label "slipway.digest=$DIGEST" \
        --label "slipway.options=$OPTIONS_SUM" --label "slipway.revision=$REVISION" \
        --label "slipway.by=$BY" --label "slipway.at=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        --env-file "$HOME/.slipway/$PROJECT/run.env" "$@" "$release" >/dev/null || put_back "the new release does not start"
    wait_healthy "$PROJECT" || put_back "the new release is not healthy"
    docker rm --force --volumes "$PROJECT-failed" >/dev/null 2>&1 || true
    tidy
    say "$release runs and is healthy"
}

# Removes the images of this project that neither run nor wait for a rollback, and the names that
# earlier tunnels gave to this one.
tidy() {
    docker image ls --digests --format '{{.Repository}}@{{.Digest}}' |
        grep "^127\.0\.0\.1:[0-9]*/$PROJECT-run@$DIGEST\$" | while read -r name; do
        [ "$name" = "$IMAGE" ] || docker image rm "$name" >/dev/null 2>&1 || true
    done
    kept=" $(docker container inspect --format '{{.Image}}' "$PROJECT" 2>/dev/null || true)"
    kept="$kept $(docker container inspect --format '{{.Image}}' "$PROJECT-previous" 2>/dev/null || true) "
    for image in $(docker image ls --quiet --no-trunc "$PROJECT-run" | sort -u); do
        case $kept in
        *" $image "*) ;;
        *) docker image rm --force "$image" >/dev/null 2>&1 || true ;;
        esac
    done
}

rollback() {
    ours "$PROJECT" "$PROJECT-previous" "$PROJECT-failed" "$PROJECT-swap"
    exists "$PROJECT-previous" || fail "there is no previous release of $PROJECT here"
    docker rm --force --volumes "$PROJECT-swap" >/dev/null 2>&1 || true
    docker rename "$PROJECT-previous" "$PROJECT-swap"
    if exists "$PROJECT"; then
        retire "$PROJECT" "$PROJECT-previous"
    fi
    revive "$PROJECT-swap" || put_back "the previous release is not healthy any more"
    say "$(docker container inspect --format '{{.Config.Image}}' "$PROJECT") runs again"
}

status() {
    ours "$PROJECT"
    exists "$PROJECT" || fail "no release of $PROJECT runs here: run make deploy"
    for container in "$PROJECT" "$PROJECT-previous" "$PROJECT-failed"; do
        exists "$container" || continue
        say "$container: $(health "$container" | cut -d ' ' -f 1)"
        for key in digest revision at by; do
            say "    $key: $(label "$container" "$key")"
        done
    done
    case $(health "$PROJECT") in healthy* | steady* | starting*) ;; *) return 1 ;; esac
}

# The whole file is read before anything runs, and a lost connection stops nothing half-way.
main() {
    case $1 in
    wait) wait_healthy "$CONTAINER" ;;
    volumes) make_volumes "$2" ;;
    deploy | rollback)
        trap '' HUP PIPE
        "$1"
        ;;
    status) status ;;
    *) fail "there is no job $1" ;;
    esac
    exit
}

main "${JOB:-${1:-status}}" "${2:-}"
