#!/usr/bin/env bash
# backup.sh backup FILE: write all files of the running application into a tar archive.
# backup.sh restore FILE: read them back, into an empty database; all of them or none.
# The application is that of `make run`, or with DEPLOY_HOST set the one on that server.
# shellcheck source-path=SCRIPTDIR source=deploy/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/deploy/common.sh"

job=${1:-} file=${2:-}
[ -n "$file" ] || die "name the archive, as in: ./backup.sh backup attachments.tar"
case $DEPLOY_HOST in *' '*) die "name one server, as in: make backup DEPLOY_HOST=${DEPLOY_HOST%% *}" ;; esac

# in_application JOB: in the container, with its own environment and volume
in_application() {
    local program=/appenv/bin/${COMMAND%% *}
    if [ -n "$DEPLOY_HOST" ]; then
        python3 "$DEPLOY/deploy.py" exec "$program" "$1"
    else
        docker exec -i "$SERVICE-local" "$program" "$1"
    fi
}

case $job in
backup)
    # an archive that is not whole never has the name of one that is
    in_application backup >"$file.part" || {
        rm -f "$file.part"
        die "nothing is written; see above (does it run? then: make run, or make deploy)"
    }
    mv "$file.part" "$file"
    say "$file is written"
    ;;
restore)
    [ -r "$file" ] || die "$file cannot be read: name an archive that make backup has written"
    in_application restore <"$file" || die "$file is not restored; see above"
    ;;
*) die "there is no job $job: use backup or restore" ;;
esac
