#!/usr/bin/env bash
# registry.sh up|down: start the registry on this machine's loopback, or stop it and keep its images.
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
*) die "there is no job $1: use up or down" ;;
esac
