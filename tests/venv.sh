#!/bin/sh
# venv.sh FOLDER: make the virtualenv that the tests and the demo run in, installing what a bare
# Debian lacks for it when we are root there.
set -eu

folder=$1
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "venv.sh: python3 is older than 3.11: put a newer one first on the PATH" >&2
    exit 1
fi
rm -rf "$folder"
if ! python3 -m venv "$folder" >/dev/null 2>&1; then
    echo "venv.sh: installing python3-venv" >&2
    { apt-get -qq update && apt-get -qq install --yes python3-venv >/dev/null; } || {
        echo "venv.sh: python3 makes no virtualenvs here: install its venv package" >&2
        exit 1
    }
    python3 -m venv "$folder"
fi
echo "venv.sh: installing the test tools into $folder" >&2
"$folder/bin/python" -m pip -qq --disable-pip-version-check install \
    --require-hashes --requirement "$(dirname -- "$0")/requirements.txt"
touch "$folder/ready"
