#!/bin/sh
# apt.sh fetch FOLDER PACKAGE…: download packages needed at run time, with their dependencies, and
#     updates of the packages that the base image has.
# apt.sh install FOLDER: install the downloads of `fetch`.
# apt.sh build PACKAGE…: install packages needed for builds.
# apt.sh download FOLDER PACKAGE…: download packages without their dependencies.
# apt.sh unpack FOLDER…: unpack downloaded packages over the system, without configuring them.
# apt.sh certificates FOLDER: write the bundle of certificates from the downloaded ca-certificates.
# apt.sh find PATTERN: search the files of all packages; print lines of path and package.
# apt.sh date: set the times of all files written since the start to SOURCE_DATE_EPOCH, so that two
#     builds are equal.
#
# PACKAGE may list alternatives (libssl3t64|libssl3): the first one that the release has is used.
# for:PACKAGE stands for the packages, possibly none, needed to run a program that was built with
# PACKAGE. locale:NAME stands for a locale, which `fetch` downloads the sources of and `install` makes.
# `install` leaves out the headers that some runtime packages contain (pypy3-lib); `build` adds them.
# Recommended packages are left out: a virtualenv recommends a whole C toolchain. Package lists and
# downloads are in mounts, so that neither they nor traces of their removal get into the image.
set -eu

fail() {
    printf 'apt.sh: %s\n' "$*" >&2
    exit 1
}

role=$1
shift

# This file is in a mount, not in the image. Its time is a few seconds early, since the engine
# starts to write before this script.
began=/var/log/began

if [ "$role" = date ]; then
    # The engine's mounts are not writable, or not part of the image.
    find / -xdev -newer "$began" '(' -type l -o -writable ')' -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    exit
fi

if [ "$role" = unpack ]; then
    # /lib and similar folders stay links.
    # shellcheck disable=SC2016 # the inner shell expands it
    find "$@" -maxdepth 1 -name '*.deb' -print0 | xargs -0 -n 1 -P 2 sh -c \
        'dpkg-deb --fsys-tarfile "$1" | tar --extract --directory=/ --keep-directory-symlink \
            --exclude=./usr/share/doc --exclude=./usr/share/man' unpack
    ldconfig
    cp "$1/asked" /var/lib/dpkg
    exit
fi

if [ "$role" = certificates ]; then
    # The bundle is all that programs read: the package would add the same certificates as 150 files,
    # and the program openssl. OpenSSL looks for the links, as Debian's openssl has them.
    bundle=/etc/ssl/certs/ca-certificates.crt
    mkdir -p /etc/ssl/certs /usr/lib/ssl
    [ -e "$bundle" ] || dpkg-deb --fsys-tarfile "$1"/ca-certificates_*.deb |
        tar --extract --to-stdout --wildcards './usr/share/ca-certificates/*.crt' >"$bundle"
    [ -e /usr/lib/ssl/cert.pem ] || ln -s "$bundle" /usr/lib/ssl/cert.pem
    [ -e /usr/lib/ssl/certs ] || ln -s /etc/ssl/certs /usr/lib/ssl/certs
    exit
fi

touch --date='3 seconds ago' "$began"

# Debian's pypy3compile writes different bytes in each build; base.docker runs compile_bytecode.py
# instead.
mkdir -p /var/log/bin
printf '#!/bin/sh\n' >/var/log/bin/pypy3compile
chmod +x /var/log/bin/pypy3compile
PATH=/var/log/bin:$PATH

# The base image's own configuration of apt would empty the cache after every installation.
export APT_CONFIG="${0%/*}/apt.conf"
export DEBIAN_FRONTEND=noninteractive
export PYTHONHASHSEED=0

# verified FOLDER NAME=VERSION…: fail unless the packages' files in a folder have the SHA-256 of the
# signed package lists. apt installs a file of its cache that has the right name and size.
verified() {
    place=$1
    shift
    [ $# -gt 0 ] || return 0
    sums=$(apt-cache show "$@" 2>/dev/null | sed -n 's/^SHA256: //p')
    for each; do
        name=${each%%=*}
        version=$(printf '%s' "${each#*=}" | sed 's/:/%3a/g')
        for file in "$place/${name%%:*}_${version}"_*.deb; do
            [ -e "$file" ] || continue
            sum=$(sha256sum "$file")
            if ! printf '%s\n' "$sums" | grep -qx "${sum%% *}"; then
                rm -f "$file" "/var/cache/apt/archives/${file##*/}"
                fail "${file##*/} does not have the SHA-256 of the package lists, and was removed: run this again"
            fi
        done
    done
}

# download FOLDER PACKAGE…: download packages without their dependencies into a folder
download() {
    cd "$1"
    shift
    # shellcheck disable=SC2086 # options are words without blanks
    apt-get $options download -qq -o APT::Sandbox::User=root "$@"
    # shellcheck disable=SC2046 # names and versions have no blanks
    verified "$PWD" $(printf '%s\n' ./*.deb | sed 's/%3a/:/; s|^\./\([^_]*\)_\([^_]*\)_.*|\1=\2|')
}

# chosen OPTION… PACKAGE…: download packages into apt's cache; print those that would be installed, as
# NAME[:ARCHITECTURE]=VERSION
chosen() {
    # The lines are `   NAME[:ARCHITECTURE] (VERSION)` or (OLD => NEW).
    # shellcheck disable=SC2086 # options are words without blanks
    LC_ALL=C apt-get $options "$@" -q --yes --no-install-recommends --download-only \
        --verbose-versions >/var/log/chosen
    awk '
        /^The following/ { taken = /NEW packages will be installed|will be upgraded/ }
        taken && /^   / { gsub(/[()]/, "", $NF); print $1 "=" $NF }
    ' /var/log/chosen
}

# get_packages OPTION… PACKAGE…: run apt-get install
options=
get_packages() {
    # shellcheck disable=SC2086 # options are words without blanks
    apt-get $options install "$@" -qq --yes -o Dpkg::Options::=--force-unsafe-io --no-install-recommends >/dev/null
}

if [ "$role" = install ]; then
    # All dependencies are in the folder or installed. Without package lists this is faster.
    if ls "$1"/*.deb >/dev/null 2>&1; then
        get_packages -o Dpkg::Options::=--path-exclude='*.h' "$1"/*.deb
    fi
    if [ -d "$1/locales" ]; then
        sources=/var/log/locales
        mkdir "$sources"
        dpkg-deb --fsys-tarfile "$1"/locales/*.deb | tar --extract --directory="$sources" ./usr/share/i18n
        while read -r name; do
            # Warnings are no failure. An archive of all locales would be a larger file.
            I18NPATH=$sources/usr/share/i18n localedef --force --quiet --no-archive --charmap=UTF-8 \
                --inputfile="$(printf '%s' "$name" | sed 's/\.UTF-8//')" "$name" >/var/log/localedef 2>&1 || :
            locale --all-locales | grep -qx "$(printf '%s' "$name" | sed 's/UTF-8/utf8/')" ||
                fail "this release has no locale $name: change locale:$name in NATIVE in deploy/settings.mk"
        done <"$1/locales/names"
    fi
    # slim.py keeps the packages that were asked for; servers without Docker install them.
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

locales=
if [ "$role" = fetch ]; then
    locales=$(printf '%s\n' "$@" | sed -n 's/^locale://p')
fi

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

# field NAME PACKAGE: print a field of a package's description
field() {
    apt-cache show --no-all-versions "$2" 2>/dev/null | sed -n "s/^$1: \([^ ]*\).*/\1/p"
}

# source_of PACKAGE: print the source package that a package is built from
source_of() {
    set -- "$1" "$(field Source "$1")"
    echo "${2:-$1}"
}

# needs PACKAGE: print a package's dependencies; of alternatives the first one
needs() {
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" |
        awk '/Depends: / { if (!other && $2 !~ /^</) print $2; other = /\|/ }' | sed 's/:any$//'
}

# to_run PACKAGE: print the packages needed to run a program that was built with PACKAGE: for
# headers and tools, the libraries of the same source package that they depend on; for others,
# PACKAGE itself
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
    # a package that only depends on another one, such as default-libmysqlclient-dev
    if [ -z "${found# }" ]; then
        for each in $(needs "$1"); do
            case $seen,$each in *" $each "*) ;; *-dev) found="$found $(to_run "$each")" ;; esac
        done
    fi
    # shellcheck disable=SC2086 # names have no blanks
    [ -z "${found# }" ] || printf '%s\n' $found | sort -u
)

# find_packages PACKAGE[|ALTERNATIVE]…: set packages to the names that this release has, and
# missing to a name that it does not have
find_packages() {
    packages=
    missing=
    for wanted; do
        case $wanted in locale:*) continue ;; esac
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
    # They take about 13 MB, in the cache of the builder's other downloads.
    lists=/cache/contents-$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
    if [ -z "$(find "$lists" -name 'Contents-*.gz' -mtime -7 2>/dev/null)" ]; then
        mkdir -p "$lists/partial"
        number=0
        # They are downloaded one by one: `apt-get update` fails if a mirror is being updated. They
        # only suggest a package's name; apt verifies the package when it is installed.
        # shellcheck disable=SC2086 # options are words
        for uri in $(apt-get $options update --print-uris | sed -n "s/^'\(.*\)InRelease'.*/\1/p"); do
            for arch in "$(dpkg --print-architecture)" all; do
                for place in main/ ''; do # Debian has a list per component, Ubuntu a single one
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
    ls "$lists"/Contents-*.gz >/dev/null 2>&1 || fail "cannot download the lists of package contents. Check the network connection; or search on https://packages.debian.org and add the package as apt:PACKAGE"
    gzip -dc "$lists"/Contents-*.gz | grep -E "^($1)[[:space:]]" || true
    exit
fi

# Package lists that were downloaded minutes ago are used again, which saves a second. All releases
# share the folder, and may remove each other's lists: then a package is missing.
stamp=/var/cache/apt/updated-$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")-$(dpkg --print-architecture)
missing=unknown
if [ "$role" != fetch ] && [ -n "$(find "$stamp" -mmin -30 2>/dev/null)" ]; then
    find_packages "$@"
fi
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # options are words without blanks
    apt-get $options update -qq || fail "cannot download the package lists. Check the network connection. Behind a proxy that inspects TLS, put its certificate into deploy/ca/"
    touch "$stamp"
    find_packages "$@"
    [ -z "$missing" ] || fail "this release has no package $missing: change NATIVE or BASE_IMAGE in deploy/settings.mk"
fi
# shellcheck disable=SC2086 # names of packages contain no blanks
set -- $packages

case $role in
build)
    # installed packages that should contain headers
    hollow=$(grep -l '\.h$' /var/lib/dpkg/info/*.list | sed 's|.*/||; s|\.list$||')
    chosen install "$@" >/var/log/wanted
    # shellcheck disable=SC2046 # names and versions have no blanks
    verified /var/cache/apt/archives $(cat /var/log/wanted)
    get_packages "$@"
    # shellcheck disable=SC2086 # names of packages and headers have no blanks
    [ -z "$hollow" ] || without=$(dpkg --verify $hollow | sed -n 's|^missing *\(/.*\.h\)$|\1|p')
    if [ -n "${without:-}" ]; then
        # shellcheck disable=SC2046,SC2086
        set -- $(dpkg --search $without | sed 's/:.*//' | sort -u)
        # shellcheck disable=SC2016,SC2046 # variables of dpkg-query's template
        verified /var/cache/apt/archives $(dpkg-query --show --showformat '${Package}=${Version}\n' "$@")
        get_packages --reinstall "$@"
    fi
    ;;
fetch)
    echo "$@" >"$folder/asked"
    # data that the standard library of Python reads
    find_packages media-types netbase tzdata
    # shellcheck disable=SC2086 # names of packages contain no blanks
    chosen upgrade --with-new-pkgs "$@" $packages >/var/log/wanted
    while IFS='=' read -r name version; do
        # in file names a colon is %3a
        file=${name%%:*}_$(printf '%s' "$version" | sed 's/:/%3a/g')
        architecture=${name#"${name%%:*}"}
        architecture=${architecture#:}
        # The cache may contain packages for other machines (PLATFORM) as well.
        for each in "${architecture:-$(dpkg --print-architecture)}" all; do
            [ ! -e "/var/cache/apt/archives/${file}_$each.deb" ] || cp "/var/cache/apt/archives/${file}_$each.deb" "$folder"
        done
        ls "$folder/$file"_* >/dev/null || fail "apt did not download $file: run this again"
    done </var/log/wanted
    # shellcheck disable=SC2046 # names and versions have no blanks
    verified "$folder" $(cat /var/log/wanted)
    if [ -n "$locales" ]; then
        mkdir "$folder/locales"
        printf '%s\n' "$locales" >"$folder/locales/names"
        download "$folder/locales" locales
    fi
    ;;
download) download "$folder" "$@" ;;
*) fail "there is no role $role" ;;
esac
