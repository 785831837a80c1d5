#!/bin/sh
# apt.sh fetch FOLDER PACKAGE…: download what it takes to run packages, and what was mended since the
# base image was made.
# apt.sh install FOLDER: install what was fetched.
# apt.sh build PACKAGE…: install packages to build with.
# apt.sh download FOLDER PACKAGE…: download packages without what they depend on.
# apt.sh unpack FOLDER…: unpack what was downloaded over the system, and set up nothing.
# apt.sh find PATTERN: print the lines of the release's lists of contents whose path fits the pattern.
# apt.sh date: date all that was written since to SOURCE_DATE_EPOCH, so that two builds are equal.
#
# `install` leaves out the headers that some runtime packages have (pypy3-lib); `build` brings them back.
# Of alternatives the first that this release has is taken (libssl3t64|libssl3); for:PACKAGE is what
# it takes to run what was built with PACKAGE, which may be nothing. Recommended
# packages are left out: a virtualenv recommends a whole C toolchain. Lists and downloads are in
# mounts, so that the image gets neither them nor the traces of their removal.
set -eu

fail() {
    printf 'apt.sh: %s\n' "$*" >&2
    exit 1
}

role=$1
shift

# in a mount, which is no part of the image; some seconds early, since the engine was at work before
began=/var/log/began

if [ "$role" = date ]; then
    # what the engine mounts is not writable, or no part of the image
    find / -xdev -newer "$began" '(' -type l -o -writable ')' -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    exit
fi

if [ "$role" = unpack ]; then
    # /lib and its like stay the links that they are
    # shellcheck disable=SC2016 # the inner shell expands it
    find "$@" -name '*.deb' -print0 | xargs -0 -n 1 -P 2 sh -c \
        'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory=/ --keep-directory-symlink \
            --exclude=./usr/share/doc --exclude=./usr/share/man' unpack
    ldconfig
    cp "$1/asked" /var/lib/dpkg
    exit
fi

touch --date='3 seconds ago' "$began"

# What Debian's pypy3compile writes is different every time; base.docker runs compile_bytecode.py instead.
mkdir -p /var/log/bin
printf '#!/bin/sh\n' >/var/log/bin/pypy3compile
chmod +x /var/log/bin/pypy3compile
PATH=/var/log/bin:$PATH

# The base image's own configuration would empty the download cache after every install.
export APT_CONFIG="${0%/*}/apt.conf"
export DEBIAN_FRONTEND=noninteractive
export PYTHONHASHSEED=0

# get_packages OPTION… PACKAGE…: apt-get install
options=
get_packages() {
    # shellcheck disable=SC2086 # options are words without blanks
    apt-get $options install "$@" -qq --yes -o Dpkg::Options::=--force-unsafe-io --no-install-recommends >/dev/null
}

if [ "$role" = install ]; then
    # all that they depend on is among them, or installed: no lists are read, which takes a second
    if ls "$1"/*.deb >/dev/null 2>&1; then
        get_packages -o Dpkg::Options::=--path-exclude='*.h' "$1"/*.deb
    fi
    # what was asked for is no part of what slim.py removes, and is what a server without Docker needs
    cp "$1/asked" /var/lib/dpkg
    exit
fi

case $role in
fetch | download)
    folder=$1
    shift
    mkdir "$folder"
    ;;
esac

if ls /mnt/ca/*.crt >/dev/null 2>&1; then
    bundle=$(mktemp)
    trap 'rm -f "$bundle"' EXIT
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        cat /etc/ssl/certs/ca-certificates.crt >"$bundle"
    fi
    cat /mnt/ca/*.crt >>"$bundle"
    chmod 644 "$bundle" # apt fetches as its own user
    set -- -o "Acquire::https::CAInfo=$bundle" -- "$@"
else
    set -- -- "$@"
fi

while [ "$1" != -- ]; do
    options="$options $1"
    shift
done
shift

# field NAME PACKAGE: a field of what is known of a package
field() {
    apt-cache show --no-all-versions "$2" 2>/dev/null | sed -n "s/^$1: \([^ ]*\).*/\1/p"
}

# source_of PACKAGE: the source that it is made from
source_of() {
    set -- "$1" "$(field Source "$1")"
    echo "${2:-$1}"
}

# needs PACKAGE: what it depends on, of alternatives the first
needs() {
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" |
        awk '/Depends: / { if (!other && $2 !~ /^</) print $2; other = /\|/ }' | sed 's/:any$//'
}

# to_run PACKAGE: what to run with after building with it: of headers and tools the libraries of the
# same source that they depend on, of anything else itself
to_run() (
    section=$(field Section "$1")
    case $1,${section##*/} in
    *dev,* | *,devel | *,libdevel | *,rust | *,doc) ;;
    *) echo "$1" && exit ;;
    esac
    source=$(source_of "$1")
    seen="${seen:-} $1 "
    found=
    for each in $(needs "$1"); do
        case $seen in *" $each "*) continue ;; esac
        [ "$(source_of "$each")" = "$source" ] || continue
        section=$(field Section "$each")
        case $each,${section##*/} in
        *dev,*) found="$found $(to_run "$each")" ;;
        *-bin,* | *-data,*) ;;
        *,libs | *,oldlibs | lib*,*) found="$found $each" ;;
        esac
    done
    # a package that only names another one, as default-libmysqlclient-dev does
    if [ -z "${found# }" ]; then
        for each in $(needs "$1"); do
            case $seen,$each in *" $each "*) ;; *-dev) found="$found $(to_run "$each")" ;; esac
        done
    fi
    # shellcheck disable=SC2086 # names have no blanks
    [ -z "${found# }" ] || printf '%s\n' $found | sort -u
)

# find_packages PACKAGE[|ALTERNATIVE]…: set packages to the names that this release has, and missing
# to one that it does not have
find_packages() {
    packages=
    missing=
    for wanted; do
        found=
        for name in $(printf '%s' "$wanted" | tr '|' ' '); do
            if [ -n "$(apt-cache madison "${name#for:}")" ]; then
                found=$name
                break
            fi
        done
        case $found in
        '') missing=${wanted#for:} ;;
        for:*) packages="$packages $(to_run "${found#for:}")" ;;
        *) packages="$packages $found" ;;
        esac
    done
}

if [ "$role" = find ]; then
    # kept with the builder's other downloads; they are some 13 MB
    lists=/cache/contents-$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
    if [ -z "$(find "$lists" -name 'Contents-*.gz' -mtime -7 2>/dev/null)" ]; then
        mkdir -p "$lists/partial"
        number=0
        # One by one and not by `apt-get update`, which has none when a mirror is half way to a newer
        # one. They only suggest a name: what is installed by it is verified as ever.
        # shellcheck disable=SC2086 # options are words
        for uri in $(apt-get $options update --print-uris | sed -n "s/^'\(.*\)InRelease'.*/\1/p"); do
            for arch in "$(dpkg --print-architecture)" all; do
                for place in main/ ''; do # Debian has one for each component, Ubuntu one for all
                    new=$lists/partial/Contents-$number.gz
                    number=$((number + 1))
                    if /usr/lib/apt/apt-helper $options -o APT::Sandbox::User=root download-file \
                        "${uri}${place}Contents-$arch.gz" "$new" >/dev/null 2>&1 && [ -s "$new" ]; then
                        mv "$new" "$lists"
                        break
                    fi
                done
            done
        done
    fi
    ls "$lists"/Contents-*.gz >/dev/null 2>&1 || fail "the lists of contents cannot be fetched: is the network up? Then look at https://packages.debian.org, and name the package as apt:PACKAGE"
    gzip -dc "$lists"/Contents-*.gz | grep -E "^($1)[[:space:]]" || true
    exit
fi

# The lists that were fetched just now do for what is made with them: asking again takes a second. The
# folder is that of all releases, whose lists may push each other out.
stamp=/var/cache/apt/updated-$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")-$(dpkg --print-architecture)
missing=unknown
if [ "$role" != fetch ] && [ -n "$(find "$stamp" -mmin -30 2>/dev/null)" ]; then
    find_packages "$@"
fi
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # options are words without blanks
    apt-get $options update -qq || fail "the package lists cannot be fetched: is the network up? (behind an inspecting proxy: put its certificate in deploy/ca/)"
    touch "$stamp"
    find_packages "$@"
    [ -z "$missing" ] || fail "this release has no package $missing: change NATIVE or BASE_IMAGE in deploy/settings.mk"
fi
# shellcheck disable=SC2086 # names of packages have no blanks
set -- $packages

case $role in
build)
    # packages that are here already and should have headers
    hollow=$(grep -l '\.h$' /var/lib/dpkg/info/*.list | sed 's|.*/||; s|\.list$||')
    get_packages "$@"
    # shellcheck disable=SC2086 # names of packages and headers have no blanks
    [ -z "$hollow" ] || without=$(dpkg --verify $hollow | sed -n 's|^missing *\(/.*\.h\)$|\1|p')
    if [ -n "${without:-}" ]; then
        # shellcheck disable=SC2046,SC2086
        get_packages --reinstall $(dpkg --search $without | sed 's/:.*//' | sort -u)
    fi
    ;;
fetch)
    echo "$@" >"$folder/asked"
    # it names what it chose, and downloads of that what is not in the cache
    # shellcheck disable=SC2086
    LC_ALL=C apt-get $options upgrade -q --yes --with-new-pkgs --no-install-recommends \
        --download-only --verbose-versions "$@" >/var/log/chosen
    # as in `   NAME[:ARCHITECTURE] (VERSION)` or (OLD => NEW); in a file's name a colon is %3a
    awk '
        /^The following/ { taken = /NEW packages will be installed|will be upgraded/ }
        taken && /^   / {
            split($1, name, ":")
            gsub(/[()]/, "", $NF)
            gsub(/:/, "%3a", $NF)
            print name[1] "_" $NF, name[2]
        }
    ' /var/log/chosen | while read -r file architecture; do
        # there may be those of other machines (PLATFORM) as well
        for each in "${architecture:-$(dpkg --print-architecture)}" all; do
            [ ! -e "/var/cache/apt/archives/${file}_$each.deb" ] || cp "/var/cache/apt/archives/${file}_$each.deb" "$folder"
        done
        ls "$folder/$file"_* >/dev/null || fail "apt did not download $file"
    done
    ;;
download)
    cd "$folder"
    # shellcheck disable=SC2086
    apt-get $options download -qq -o APT::Sandbox::User=root "$@"
    ;;
*) fail "there is no role $role" ;;
esac
