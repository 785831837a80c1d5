#!/bin/sh
# run.sh [stop]: run the image here as a server would, or stop it, without make.
# DRY_RUN=1 deploy/run.sh prints the docker command lines instead.
exec python3 -S "$(dirname -- "$0")/slipway" "${1:-run}"
