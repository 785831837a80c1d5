#!/usr/bin/env bash
# push.sh: send the run image to the registry on loopback and record its digest, which is what
# deploys use; a tag may move, a digest cannot.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

QUIET=1 "$DEPLOY/build.sh" image
"$DEPLOY/registry.sh" up

id=$(docker image inspect --format '{{.Id}}' "$PROJECT-run")
short=${id#sha256:}
tag=${TAG:-${short:0:12}}
name=127.0.0.1:$REGISTRY_PORT/$PROJECT-run:$tag

has=$(python3 "$DEPLOY/registry.py" digest "$REGISTRY_PORT" "$PROJECT-run" "$tag") || has=
if [ -n "$has" ] && [ "$has $id" = "$(python3 "$DEPLOY/state.py" get push digest) $(python3 "$DEPLOY/state.py" get push image)" ]; then
    say "nothing to do: the registry has $has"
    exit
fi

insecure=()
# podman wants to be told that loopback needs no certificate
! is_podman || insecure=(--tls-verify=false)
quiet=()
[ -t 1 ] || quiet=(--quiet)

docker tag "$PROJECT-run" "$name"
docker push ${insecure[@]+"${insecure[@]}"} ${quiet[@]+"${quiet[@]}"} "$name" >/dev/null ||
    die "the image could not be pushed; see above"
digest=$(python3 "$DEPLOY/registry.py" digest "$REGISTRY_PORT" "$PROJECT-run" "$tag") ||
    die "the registry does not know $name, which was just pushed: make registry-down, then push again"
before=$(python3 "$DEPLOY/state.py" get push name)
[ -z "$before" ] || [ "$before" = "$name" ] || docker image rm "$before" >/dev/null 2>&1 || true
python3 "$DEPLOY/state.py" set push "digest=$digest" "image=$id" "name=$name"
say "$PROJECT-run@$digest"
