#!/bin/sh
# The protocol's messages come on file 3 and go to file 4, each with a NUL at its end. A container is
# the sandbox: Chromium's own needs more rights than one has.
exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --user-data-dir=/tmp/profile --window-size=900,960 --remote-debugging-pipe 3<&0 4>&1 1>&2
