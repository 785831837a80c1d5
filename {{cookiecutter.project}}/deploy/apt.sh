#!/bin/sh
# apt.sh run|build PACKAGE[|ALTERNATIVE]…: install Debian packages while an image is built.
#
# `run` leaves out the headers that some runtime packages have (pypy3-lib); `build` brings them back.
# Of alternatives the first that this release has is taken (libssl3t64|libssl3). Recommended
# packages are left out: a virtualenv recommends a whole C toolchain. Lists and downloads are in
# cache mounts, so that the image gets neither them nor the traces of their removal.
set -eu

fail() {
    printf 'apt.sh: %s\n' "$*" >&2
    exit 1
}

role=$1
shift

# The base image's own configuration would empty the download cache after every install.
export APT_CONFIG=/run/deploy/apt.conf
export DEBIAN_FRONTEND=noninteractive

if ls /run/deploy/ca/*.crt >/dev/null 2>&1; then
    bundle=$(mktemp)
    trap 'rm -f "$bundle"' EXIT
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        cat /etc/ssl/certs/ca-certificates.crt >"$bundle"
    fi
    cat /run/deploy/ca/*.crt >>"$bundle"
    chmod 644 "$bundle" # apt fetches as its own user
    set -- -o "Acquire::https::CAInfo=$bundle" -- "$@"
else
    set -- -- "$@"
fi

options=
while [ "$1" != -- ]; do
    options="$options $1"
    shift
done
shift

# shellcheck disable=SC2086 # options are words without blanks
apt-get $options update -qq || fail "the package lists cannot be fetched: is the network up? (behind an inspecting proxy: put its certificate in deploy/ca/)"

for wanted; do
    shift
    found=
    for name in $(printf '%s' "$wanted" | tr '|' ' '); do
        if [ -n "$(apt-cache madison "$name")" ]; then
            found=$name
            break
        fi
    done
    [ -n "$found" ] || fail "this release has no package $wanted: change NATIVE or BASE_IMAGE in deploy/settings.mk"
    set -- "$@" "$found"
done

install() {
    # shellcheck disable=SC2086
    apt-get $options install -qq --yes --no-install-recommends "$@" >/dev/null
}

case $role in
run) install -o Dpkg::Options::=--path-exclude='*.h' "$@" ;;
build)
    install "$@"
    without=$(dpkg --verify | sed -n 's|^missing *\(/.*\.h\)$|\1|p')
    if [ -n "$without" ]; then
        # shellcheck disable=SC2046,SC2086 # names of packages and headers have no blanks
        install --reinstall $(dpkg --search $without | sed 's/:.*//' | sort -u)
    fi
    ;;
*) fail "there is no role $role" ;;
esac
