#!/bin/sh
# service.sh JOB: the part of make deploy-venv that runs on a server; needs sh, systemd and Python.
#
# appenv.py sends it behind server-guard.sh, server-lock.sh and server-survey.sh, with its variables
# set.
#   guard           do JOB in a process of its own, and settle what it leaves when that is killed
#   work            do JOB: deploy, rollback or settle, which service.py does
#   survey          say what there is
#   unlock          end a deploy that is at work, and settle what it leaves
#   ended OUTCOME   log what came of a job, and give up the lock
#
# root's releases are where every account may read them, as the service's own must; those of another
# account are its own.
#
# shellcheck disable=SC2153,SC2154,SC2317,SC2329 # variables and functions come in front of this file
set -eu

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

# which_unit: none, ours, or its owner's, which runs what is current or something else
which_unit() {
    path=$($MANAGER show --property FragmentPath "$PROJECT" 2>/dev/null)
    path=${path#FragmentPath=}
    if [ -z "$path" ]; then
        echo none
    elif head -n 1 "$path" | grep -qxF "$MARK"; then
        echo ours
    elif $MANAGER cat "$PROJECT" 2>/dev/null | grep -qE "(/|^)$PROJECT/current/"; then
        echo theirs
    else
        echo other
    fi
}

survey_venv() {
    set +eu
    echo
    tell account "${SUDO_USER:-$(id -un)}"
    [ "$(id -u)" != 0 ] || tell root
    tell place "$PLACE"
    ! [ -d /run/systemd/system ] || tell systemd
    [ "$(id -u)" = 0 ] || [ -e "/var/lib/systemd/linger/$(id -un)" ] || tell leaves
    # shellcheck source=/dev/null
    tell name "$(. /etc/os-release && echo "$PRETTY_NAME")"
    ! python=$(command -v "$PYTHON") || tell python "$python"
    system=$("$PYTHON" -I -c "$SYSTEM" 2>/dev/null) && tell system "$system"
    for package in $PACKAGES; do
        # shellcheck disable=SC2016 # dpkg's own
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            tell lacks "$package"
    done
    ! [ -d /run/systemd/system ] || tell unit "$(which_unit)"
    tell state "$($MANAGER show --property ActiveState,SubState,NRestarts,ActiveEnterTimestamp "$PROJECT" 2>/dev/null | tr '\n' ';')"
    for link in current previous; do
        release=$(readlink "$PLACE/$link") && tell "$link" "${release##*/}"
    done
    ! [ -e "$PLACE/trying" ] || tell trying
    if [ -n "$ASK" ] && [ -e "$PLACE/current/release.json" ]; then
        tell health "$("$PLACE/current/bin/python" -I -c "$ASK" "$PLACE/current" 2>&1 | tail -n 1)"
    fi
    for file in "$PLACE"/wheels/*/*; do
        sum=${file%/*}
        ! [ -e "$file" ] || tell file "${sum##*/}"
    done
    # shellcheck disable=SC2012 # names are sums
    kit=$(ls -t "$PLACE/kit" 2>/dev/null | head -n 1)
    [ -z "$kit" ] || tell kit "$kit"
    for file in "$PLACE"/releases/*/release.json; do
        ! [ -e "$file" ] || tell release "$(cat "$file")"
    done
    folder=$PLACE
    until [ -d "$folder" ]; do folder=$(dirname "$folder"); done
    tell free "$(df -Pk "$folder" 2>/dev/null | tail -n 1)"
    survey_machine
}

work() {
    trap '' HUP PIPE
    claim "${RELEASE:-$JOB}"
    # the process stays the lock's holder
    export LOCK_TEXT="$mine"
    exec "$PYTHON" "$(dirname -- "$0")/service.py" "$JOB"
}

ended() {
    mine=$LOCK_TEXT
    [ -z "$1" ] || record "$1"
    release
}

case $1 in
guard | work) "$1" ;;
survey) survey_venv ;;
ended) ended "$2" ;;
unlock)
    unlock
    export JOB=settle
    guard
    ;;
*) fail "there is no job $1" ;;
esac
