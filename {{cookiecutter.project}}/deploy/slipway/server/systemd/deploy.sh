#!/bin/sh
# What make deploy-venv does on a server without Docker. Needs sh, systemd and Python.
#
#   COMMAND of the script:
#   supervise       run `work`, and recover if its process is killed; see supervise.sh
#   work            do JOB: deploy, rollback or recover; deploy.py does it
#   survey          print what the server has; laptop/deploy_venv/survey.py parses it
#   unlock          end a running deploy, and recover
#   ended TEXT      write TEXT to the log, and give up the lock
#
# The releases of root are in a folder that only root can read: the unit shows them to the service,
# which has an account of its own. The releases of another account are in its home directory.
#
# shellcheck disable=SC2153,SC2154,SC2317,SC2329 # variables and functions come from the other files
set -eu

# In a bundle the functions are in files beside this one. A survey has them in front.
case $0 in
*/deploy.sh)
    for part in "${0%/*}"/../*.sh "${0%/*}/lock_folder.sh"; do
        # shellcheck source=/dev/null
        . "$part"
    done
    ;;
esac

if [ "$(id -u)" = 0 ]; then
    PLACE=/var/lib/slipway/$PROJECT
    UNITS=/etc/systemd/system
    MANAGER=systemctl
else
    PLACE=$FOLDER
    UNITS=$HOME/.config/systemd/user
    MANAGER='systemctl --user'
    export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
fi
export PLACE UNITS MANAGER

# unit_owner: `none` without a unit, `slipway` if slipway wrote it, `user` if the user wrote it and it
# runs the current release, `other` if it runs anything else
unit_owner() {
    path=$($MANAGER show --property FragmentPath "$PROJECT" 2>/dev/null)
    path=${path#FragmentPath=}
    if [ -z "$path" ]; then
        echo none
    elif head -n 1 "$path" | grep -qxF "$MARK"; then
        echo slipway
    elif $MANAGER cat "$PROJECT" 2>/dev/null | grep -qE "(/|^)$PROJECT/current/"; then
        echo user
    else
        echo other
    fi
}

survey_venv() {
    set +eu
    echo
    fact account "${SUDO_USER:-$(id -un)}"
    [ "$(id -u)" != 0 ] || fact root
    fact place "$PLACE"
    ! [ -d /run/systemd/system ] || fact systemd
    [ "$(id -u)" = 0 ] || [ -e "/var/lib/systemd/linger/$(id -un)" ] || fact no-linger
    # shellcheck source=/dev/null
    fact name "$(. /etc/os-release && echo "$PRETTY_NAME")"
    ! python=$(command -v "$PYTHON") || fact python "$python"
    system=$("$PYTHON" -I -S -c "$SYSTEM" 2>/dev/null) && fact system "$system"
    for package in $PACKAGES; do
        # shellcheck disable=SC2016 # a variable of dpkg's template
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            fact missing "$package"
    done
    ! [ -d /run/systemd/system ] || fact unit "$(unit_owner)"
    fact state "$($MANAGER show --property ActiveState,SubState,NRestarts,ActiveEnterTimestamp "$PROJECT" 2>/dev/null | tr '\n' ';')"
    for link in current previous; do
        release=$(readlink "$PLACE/$link") && fact "$link" "${release##*/}"
    done
    ! [ -e "$PLACE/trying" ] || fact trying
    if [ -n "$ASK" ] && [ -e "$PLACE/current/release.json" ]; then
        fact health "$("$PYTHON" -I -S -c "$ASK" "$PLACE/current" 2>&1 | tail -n 1)"
    fi
    for file in "$PLACE"/wheels/*/*; do
        sum=${file%/*}
        ! [ -e "$file" ] || fact file "${sum##*/}"
    done
    # shellcheck disable=SC2012 # names are checksums
    bundle=$(ls -t "$PLACE/kit" 2>/dev/null | head -n 1)
    [ -z "$bundle" ] || fact bundle "$bundle"
    for file in "$PLACE"/releases/*/release.json; do
        ! [ -e "$file" ] || fact release "$(cat "$file")"
    done
    folder=$PLACE
    until [ -d "$folder" ]; do folder=$(dirname "$folder"); done
    fact free "$(df -Pk "$folder" 2>/dev/null | tail -n 1)"
    survey_machine
}

work() {
    trap '' HUP PIPE
    claim "${RELEASE:-$JOB}"
    # The Python program is the same process, and so it holds the lock.
    export LOCK_TEXT="$mine"
    bundle=${0%/slipway/*}
    export PYTHONPATH="$bundle" PYTHONDONTWRITEBYTECODE=1
    exec "$PYTHON" -S -m slipway.server.systemd.deploy "$JOB"
}

ended() {
    mine=$LOCK_TEXT
    [ -z "$1" ] || record "$1"
    release
}

case $1 in
supervise | work) "$1" ;;
survey) survey_venv ;;
ended) ended "$2" ;;
unlock)
    unlock
    export JOB=recover
    supervise
    ;;
*) fail "there is no command $1" ;;
esac
