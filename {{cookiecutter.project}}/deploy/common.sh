# shellcheck shell=bash
# common.sh: what every script here starts with; sourced, never run.
#
# Sets DEPLOY and ROOT (this folder and the application above it) and the settings, and gives:
#   die MESSAGE          `script: MESSAGE` on standard error, status 1
#   say MESSAGE          one line about what is being done
#   docker …             the command that DOCKER names, which may be podman
#   is_podman            whether it is
#   own_folder PATH      make a folder of ours, which git does not see
#   mount_of PATH DIR    a --mount value that binds PATH at DIR, whatever characters PATH has
#   wheelhouse_folder    make the folder of the wheelhouse
#   run_builder JOB      the builder image with this application; see wheels.py for the jobs
#                        (BUILDER is another image that can do it)
# DEPLOY_DEBUG=1 traces every command.

set -euo pipefail
[ -z "${DEPLOY_DEBUG:-}" ] || set -x

DEPLOY=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(dirname -- "$DEPLOY")
NAME=$(basename -- "$0")

die() {
    printf '%s: %s\n' "$NAME" "$*" >&2
    exit 1
}

say() {
    printf '%s: %s\n' "$NAME" "$*"
}

own_folder() {
    mkdir -p "$1"
    [ -e "$1/.gitignore" ] || printf '# made by make; make clean removes it\n*\n' >"$1/.gitignore"
}

# A script that sets ALONE works on the project beside no other; what it calls is a part of it. The
# lock is held by whoever has file 9 open, so that it ends with the last of them, however that ends.
if [ -n "${ALONE:-}" ] && [ -z "${DEPLOY_LOCK:-}" ]; then
    own_folder "$ROOT/.deploy"
    exec 9>"$ROOT/.deploy/lock"
    export DEPLOY_LOCK=9
fi

command -v python3 >/dev/null || die "python3 is not installed: install Python 3.9 or later, then run this again"
# Without what is installed for Python, which some of it would read first (-S).
# shellcheck disable=SC2086 # a program here and its arguments; build.sh has state.py tell more at once
settings=$(python3 -S "$DEPLOY"/${SETTINGS_BY:-settings.py}) || exit 1
eval "$settings"
read -r -a docker_words <<<"$DOCKER"

docker() {
    command "${docker_words[@]}" "$@"
}

engine=
is_podman() {
    : "${engine:=$(docker --version)}" # asked once
    case $engine in podman*) ;; *) return 1 ;; esac
}

# Attestations would turn the image into an index, whose digest is another on every build; podman
# needs docker's format to keep a HEALTHCHECK.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1 DOCKER_BUILDKIT=1 BUILDAH_FORMAT=docker

platform=()
[ -z "$PLATFORM" ] || platform=(--platform "$PLATFORM")

# passed NAME…: those variables that the environment has
passed() {
    local name
    for name; do
        [ -z "${!name:-}" ] || printf '%s\n' "$name"
    done
}

PROXIES=(HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy)

mount_of() {
    # the value is a line of CSV: a field in quotes may have commas
    printf 'type=bind,"source=%s",target=%s' "${1//\"/\"\"}" "$2"
}

wheelhouse_folder() {
    own_folder "$ROOT/wheelhouse"
    mkdir -p "$ROOT/$WHEELHOUSE"
}

run_builder() {
    local environment=() name
    # by name only: a password in an index's address shows in no process list
    # shellcheck disable=SC2086 # names have no blanks
    for name in $(passed "${PROXIES[@]}" $PIP_NAMES VERBOSE SCM_VERSION PROJECT FILES); do
        environment+=(--env "$name")
    done
    wheelhouse_folder
    # label=disable: where SELinux is on, a bind mount is not readable otherwise
    docker run --rm ${platform[@]+"${platform[@]}"} ${environment[@]+"${environment[@]}"} \
        --security-opt label=disable \
        --mount "$(mount_of "$ROOT" /application),readonly" \
        --mount "$(mount_of "$ROOT/$WHEELHOUSE" /wheelhouse)" \
        --mount "$(mount_of "$DEPLOY/ca" /ca),readonly" \
        --mount "type=volume,source=${DEPLOY_CACHE:-wheelhouse-cache},target=/cache" \
        "${BUILDER:-$IMAGES-builder}" "$@"
}
