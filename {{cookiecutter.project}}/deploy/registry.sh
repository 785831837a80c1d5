#!/usr/bin/env bash
# registry.sh up|down|gc: start the registry on this machine's loopback, stop it and keep its images,
# or remove this project's images from it but the one that was pushed last.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

compose() {
    docker compose version >/dev/null 2>&1 ||
        die "$DOCKER has no compose: install it (Debian: docker-compose, elsewhere docker-compose-plugin)"
    docker compose --file "$DEPLOY/compose.yaml" "$@"
}

case ${1:-up} in
up)
    # an answer is the proof; compose is asked only when there is none
    if ! python3 "$DEPLOY/registry.py" up "$REGISTRY_PORT"; then
        compose --progress quiet up --detach ||
            die "the registry does not start; see above (is port $REGISTRY_PORT taken? set REGISTRY_PORT)"
        python3 "$DEPLOY/registry.py" wait "$REGISTRY_PORT" ||
            die "what listens on 127.0.0.1:$REGISTRY_PORT is no registry: set REGISTRY_PORT"
        say "the registry listens on 127.0.0.1:$REGISTRY_PORT"
    fi
    ;;
down)
    compose --progress quiet down
    say "the registry is stopped; its images are kept in a volume"
    ;;
gc)
    QUIET=1 "$DEPLOY/registry.sh" up
    removed=$(python3 "$DEPLOY/registry.py" prune "$REGISTRY_PORT" "$PROJECT-run" \
        "$(python3 "$DEPLOY/state.py" get push digest)") ||
        die "the registry does not remove images: make registry-down registry-up, then try again"
    # a push in the middle of it would lose layers
    compose --progress quiet stop registry
    collected=0
    said=$(compose --progress quiet run --rm --no-TTY registry \
        garbage-collect /etc/docker/registry/config.yml 2>&1) || collected=$?
    compose --progress quiet up --detach
    [ "$collected" = 0 ] || die "the registry could not remove layers: ${said##*$'\n'}"
    say "removed $removed of $PROJECT-run's images and the layers that no image has any more"
    ;;
*) die "there is no job $1: use up, down or gc" ;;
esac
