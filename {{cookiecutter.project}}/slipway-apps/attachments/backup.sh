#!/bin/sh
# backup.sh backup FILE: write all files of the running application into a tar archive.
# backup.sh restore FILE: read them back into an empty database: all of them or none.
# The application is the one that `make run` started or, with DEPLOY_HOST set, the one on that server.
set -eu

job=${1:-} file=${2:-}

die() {
    printf 'backup.sh: %s\n' "$*" >&2
    exit 1
}

# in_application JOB: run a job of the application in its container, with its environment and volume
in_application() {
    python3 -S "$(dirname -- "$0")/deploy/slipway" exec /appenv/start "$1"
}

[ -n "$file" ] || die "name the archive, as in: ./backup.sh backup attachments.tar"
case $job in
backup)
    # An incomplete archive never has the name of a complete one.
    in_application backup >"$file.part" || {
        rm -f "$file.part"
        die "no archive was written; see above (is the application running? then: make run, or make deploy)"
    }
    mv "$file.part" "$file"
    printf 'backup.sh: wrote %s\n' "$file"
    ;;
restore)
    [ -r "$file" ] || die "$file cannot be read: name an archive that make backup has written"
    in_application restore <"$file" || die "$file was not restored; see above"
    ;;
*) die "there is no job $job: use backup or restore" ;;
esac
