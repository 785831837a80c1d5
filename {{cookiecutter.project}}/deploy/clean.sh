#!/usr/bin/env bash
# clean.sh: remove what the other scripts made here, and only that. The lock, the registry's images
# and what runs on servers stay.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$DEPLOY/run.sh" stop
pushed=$(python3 "$DEPLOY/state.py" get push name)
for image in "$PROJECT-run" "$IMAGES-builder" "$IMAGES-builder:tools" "$IMAGES-base" "$pushed"; do
    [ -z "$image" ] || docker image rm "$image" >/dev/null 2>&1 || true
done
[ ! -e "$ROOT/appenv/.made" ] || rm -rf "$ROOT/appenv"
rm -rf "$ROOT/wheelhouse" "$ROOT/.deploy"
say "removed the images, wheelhouse, appenv and .deploy of $PROJECT"
