#!/usr/bin/env bash
# run.sh: run the image here as a server would, answering on 127.0.0.1:PORT; replaces one that runs.
# A job, whose HEALTH is `ends`, is waited for and shown. PROGRAM is another command of the image.
# run.sh stop: end it.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

container=$SERVICE-local

# as_a_server FUNCTION ARGUMENT: what a deploy does on a server
as_a_server() {
    # shellcheck disable=SC2016 # expanded by that shell
    PODMAN=$(is_podman && echo yes) sh -c '. "$0"; "$@"' "$DEPLOY/server-container.sh" "$@"
}

case ${1:-start} in
stop)
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    say "$container is stopped"
    exit
    ;;
start) ;;
*) die "there is no job $1: use run.sh or run.sh stop" ;;
esac

QUIET=1 "$DEPLOY/build.sh" image
options=()
eval "options=($(python3 "$DEPLOY/container.py" 127.0.0.1))"
file=$(python3 "$DEPLOY/environment.py")
[ -z "$file" ] || options+=(--env-file "$file")
docker rm --force --volumes "$container" >/dev/null 2>&1 || true
VOLUMES=$(python3 "$DEPLOY/container.py" volumes) as_a_server make_volumes "$PROJECT-run"
if [ -n "$ENDS" ]; then
    docker run --rm --name "$container" "${options[@]}" "$PROJECT-run" ||
        die "$container ended with status $?"
    say "$container has ended well"
    exit
fi
if ! docker run --detach --name "$container" "${options[@]}" "$PROJECT-run" >/dev/null; then
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    die "the container does not start; see above (is port $PORT taken? then: make run PORT=…)"
fi
as_a_server wait_healthy "$container" ||
    die "$container is not healthy; it is left for a look: docker logs $container"
if [ -n "$PROGRAM" ]; then
    say "$container runs; its log: docker logs $container; end it with: make stop PROGRAM=$PROGRAM"
else
    say "http://127.0.0.1:$PORT answers; end it with: make stop"
fi
