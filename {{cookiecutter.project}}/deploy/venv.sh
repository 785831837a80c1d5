#!/usr/bin/env bash
# venv.sh [serve]: the same pins with no Docker. This machine's interpreter builds a wheelhouse and
# installs it into ./appenv with the index off; `serve` then runs the application from it.
SETTINGS_BY="settings.py PYTHON"
[ "${1:-venv}" = venv ] || SETTINGS_BY="$SETTINGS_BY COMMAND"
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# shellcheck disable=SC2153 # PYTHON is a setting
python=$(command -v "$PYTHON" || command -v python3)
who=$("$python" "$DEPLOY/lockfile.py")
[ "$(basename "$python")" = "$PYTHON" ] || [ -e "$ROOT/appenv/.made" ] || say "there is no $PYTHON here: $python ($who) is used"

tools=$ROOT/.deploy/tools-${who// /-}
wheelhouse=$ROOT/wheelhouse/host-${who// /-}
appenv=$ROOT/appenv
before=$ROOT/.deploy/appenv-before
own_folder "$ROOT/.deploy"
own_folder "$ROOT/wheelhouse"
mkdir -p "$wheelhouse"

if ! cmp -s "$DEPLOY/builder.txt" "$tools/ready"; then
    rm -rf "$tools"
    "$python" -m venv "$tools" ||
        die "this Python makes no virtualenvs: install its venv package (Debian: $PYTHON-venv)"
    "$tools/bin/python" "$DEPLOY/network.py" "$DEPLOY/ca" \
        "$tools/bin/python" -m pip install -qq --disable-pip-version-check \
        --require-hashes --requirement "$DEPLOY/builder.txt" ||
        die "the tools could not be installed; see above"
    cp "$DEPLOY/builder.txt" "$tools/ready"
fi

# What was there is kept until the new one is whole: a virtualenv cannot be made elsewhere and moved.
settle() {
    [ -e "$before" ] || return 0
    if [ -s "$appenv/.made" ]; then
        rm -rf "$before"
    else
        rm -rf "$appenv"
        mv "$before" "$appenv"
    fi
}

settle
[ ! -e "$appenv" ] || [ -e "$appenv/.made" ] ||
    die "there is an appenv here that make venv did not make: move it away"

# WHEELS_HERE: what is missing is to be installed here, and not to be named for an image
build() {
    WHEELS_HERE=yes "$tools/bin/python" "$DEPLOY/wheels.py" "$@" --application "$ROOT" --wheelhouse "$wheelhouse" \
        --ca "$DEPLOY/ca" --cache "${XDG_CACHE_HOME:-$HOME/.cache}/wheelhouse"
}

install() {
    trap settle EXIT
    [ ! -e "$appenv" ] || mv "$appenv" "$before"
    mkdir "$appenv"
    : >"$appenv/.made"
    printf '*\n' >"$appenv/.gitignore"
    "$python" -m venv --without-pip "$appenv"
    for part in deps app; do
        APPENV=$appenv "$tools/bin/python" "$DEPLOY/install.py" "$wheelhouse/$part" ||
            die "the wheels could not be installed; see above"
    done
}

lock=$(python3 "$DEPLOY/state.py" lock)
if [ ! -e "$lock" ]; then
    build lock >"$lock.new" || { rm -f "$lock.new" && die "no lock was made; see above"; }
    mv "$lock.new" "$lock"
    say "wrote $(basename "$lock"): commit it"
fi
sums="$(python3 "$DEPLOY/state.py" sources) $who${FILES:+ $FILES}"
if [ "$(cat "$appenv/.made" 2>/dev/null)" = "$sums" ]; then
    [ "${1:-venv}" != venv ] || say "venv: nothing to do"
else
    build wheels >/dev/null || die "the wheels could not be built; see above"
    install
    printf '%s\n' "$sums" >"$appenv/.made"
    settle
    say "appenv is ready, with $who"
fi

case ${1:-venv} in
venv) say "run it with: make serve" ;;
serve)
    words=()
    eval "words=($COMMAND)" # settings.py lets nothing through that a shell would expand
    program=$appenv/bin/${words[0]}
    case ${words[0]} in sh | bash) [ -x "$program" ] || program=/bin/${words[0]} ;; esac
    [ -x "$program" ] ||
        die "no wheel brings the program ${words[0]}: set COMMAND in deploy/settings.mk"
    say "http://127.0.0.1:$PORT (Ctrl-C ends it)"
    export PORT PYTHONUNBUFFERED=1 PATH="$appenv/bin:$PATH"
    if [ -d "$appenv/app" ]; then
        # the settings' FILES, as in the image
        cd "$appenv/app"
        export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
    fi
    exec python3 "$DEPLOY/environment.py" exec "$program" "${words[@]:1}"
    ;;
*) die "there is no job $1: use venv.sh or venv.sh serve" ;;
esac
