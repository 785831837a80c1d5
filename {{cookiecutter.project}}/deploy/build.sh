#!/bin/sh
# build.sh [STEP…]: build the run image, or everything up to each STEP, without make.
# DRY_RUN=1 deploy/build.sh prints the docker command lines instead.
[ $# -gt 0 ] || set -- image
exec python3 -S "$(dirname -- "$0")/slipway" "$@"
