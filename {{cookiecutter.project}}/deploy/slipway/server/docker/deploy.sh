#!/bin/sh
# What a deploy does on a server with Docker. Needs docker and nothing else.
#
#   COMMAND of the script:
#   supervise   run `work`, and recover if its process is killed; see supervise.sh
#   work        do JOB: deploy, rollback, recover, restart, stop_all or remove_all
#   survey      print what the server has; see survey.sh
#   unlock      end a running deploy, and recover
#   watch       watch the release for WATCH seconds, and roll back if it does not stay healthy
#
# A release is a container. Names and restart policies alone say which release is which, so that
# the next process sees what to do after a killed deploy, a restarted engine or a reboot. The
# template's docs/deploys.md has the steps, and what a kill leaves behind at each of them.
#   PROJECT             runs; its policy is `always`, or `on-failure` for a one-off job
#   PROJECT-next        is to run; its policy is `no` until it has proven healthy
#   PROJECT-back        the same, for a release that ran before
#   PROJECT-try         the candidate: the next release beside the running one, without ports and
#                       without anything by which others would find it
#   PROJECT-previous    ran before; PROJECT-<release> ran before that
#   PROJECT-failed      is kept stopped for inspection
#
# The last part of the script that is sent to servers: the other files define functions only.
#
# shellcheck disable=SC2153,SC2154,SC2317,SC2329 # variables and functions come from the other files
set -eu

reason=    # why the job cannot go on
recovered= # whether the containers are in order

# give_up REASON: end a job that cannot go on; `ended` recovers
give_up() {
    reason=$1
    exit 1
}

# look: read the containers with names of this project into `seen`
look() {
    seen='' tries=0
    until
        ids=$(docker ps --all --quiet --no-trunc --filter "name=^/?$PROJECT(-|\$)" 2>/dev/null) && {
            # shellcheck disable=SC2086 # each ID is a word
            [ -z "$ids" ] || seen=$(field '{{.Name}}|project={{index .Config.Labels "slipway.project"}}|release={{index .Config.Labels "slipway.release"}}|options={{index .Config.Labels "slipway.options"}}|policy={{.HostConfig.RestartPolicy.Name}}|running={{.State.Running}}|' $ids)
        }
    do
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] && engine_is_back || return 1
        sleep 0.1
    done
}

# here NAME: whether the container was seen
here() {
    case $seen in *"/$1|"*) ;; *) return 1 ;; esac
}

# of NAME FIELD: what was seen of the container; empty if it does not exist
of() {
    here "$1" || return 0
    line=${seen#*"/$1|"}
    line=${line#*"$2="}
    echo "${line%%|*}"
}

# create NAME OPTION…: create a container of the new release. The variables in HIDDEN, by which others
# would find it, are left out of the candidate's environment.
create() {
    environment=$FOLDER/env-$OPTIONS_SUM
    if [ "$1" = "$PROJECT-try" ] && [ -n "$HIDDEN" ]; then
        sed -E "/^($HIDDEN)=/d" "$environment" >"$environment-try"
        environment=$environment-try
    fi
    name=$1
    shift
    # shellcheck disable=SC2086 # EARLY is an option and its value, or nothing
    docker create --name "$name" --restart=no $EARLY \
        --label "slipway.project=$PROJECT" --label "slipway.digest=$DIGEST" \
        --label "slipway.release=$RELEASE" --label "slipway.options=$OPTIONS_SUM" \
        --label "slipway.revision=$REVISION" --label "slipway.by=$BY" --label "slipway.at=$(now)" \
        --env-file "$environment" "$@" "$PROJECT-run:$RELEASE" >/dev/null
}

# create_with_options NAME LINES…: create a container with options that stand one word a line
create_with_options() {
    words=$IFS
    IFS='
'
    set -f
    # shellcheck disable=SC2048,SC2086 # split at the ends of lines alone
    set -- $*
    set +f
    IFS=$words
    create "$@"
}

remove() {
    quietly docker rm --force --volumes "$1" || true
}

# stop CONTAINER: docker sends SIGTERM, and kills the container after its STOP_TIMEOUT
stop() {
    docker stop "$1" >/dev/null
}

# dismiss CONTAINER: end and remove a candidate. It may have begun work, so it is not killed.
dismiss() {
    quietly docker stop "$1" || true
    quietly docker rm --volumes "$1" || true
}

# seconds HUNDREDTHS: print them with one decimal place
seconds() {
    echo "$(($1 / 100)).$(($1 / 10 % 10)) s"
}

# stop_release: stop the running release. Exit status 137 stands for SIGKILL.
stop_release() {
    stopped=$(clock)
    stop "$PROJECT"
    took=$(($(clock) - stopped))
    [ "$took" -ge 100 ] && [ "$(field '{{.State.ExitCode}}' "$PROJECT")" = 137 ] || return 0
    say "$(label "$PROJECT" release) was killed, and so was the work that it had begun: it had not ended $(seconds "$took") after SIGTERM. Raise STOP_TIMEOUT${STOP_HINT:+, or $STOP_HINT}."
}

# tell_gap CONTAINER: print how long no release answered, if that was long; `stopped` is when the last
# one was told to end
tell_gap() {
    case $(health "$1") in healthy*) ;; *) return 0 ;; esac
    gap=$((healthy_since - stopped))
    [ "$gap" -lt 500 ] || say "no release answered for $(seconds "$gap"): the last one took $(seconds "$took") to end"
}

# asked_by_bash HOST PORT HEALTH: the same check as the image's own. Code of the image never runs on the
# server's network, where it would reach what listens on loopback.
asked_by_bash() {
    # shellcheck disable=SC2016 # bash's own
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 1
        [ "$3" != tcp ] || exit 0
        printf "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n" "$3" >&3
        read -r _ status _ <&3
        [ "$status" -lt 500 ]' bash "$@"
}

# asked_by_wget HOST PORT HEALTH: the same, by that of GNU or of busybox, for a server without bash
asked_by_wget() {
    path=$3
    [ "$3" != tcp ] || path=/
    answer=$(http_proxy='' LC_ALL=C timeout 5 wget -S -O /dev/null "http://$1:$2$path" 2>&1) || true
    if [ "$3" = tcp ]; then
        case $answer in *refused* | *'timed out'* | *unreachable* | *'t connect'* | *'o route'*) return 1 ;; esac
        return 0
    fi
    status=$(printf '%s\n' "$answer" | sed -n 's|^ *HTTP/[0-9.]* \([0-9][0-9][0-9]\).*|\1|p' | head -n 1)
    [ -n "$status" ] && [ "$status" -lt 500 ]
}

# asked_from_outside CONTAINER: check the published port
asked_from_outside() {
    # one line for each published port and for each variable
    # shellcheck disable=SC2016 # variables of docker's template
    lines=$(field '{{range $port, $at := .NetworkSettings.Ports}}{{range $at}}{{$port}}={{.HostIp}}:{{.HostPort}}
{{end}}{{end}}{{range .Config.Env}}{{println .}}{{end}}' "$1")
    inside=$(printf '%s\n' "$lines" | sed -n 's/^PORT=//p')
    health=$(printf '%s\n' "$lines" | sed -n 's/^HEALTH=//p')
    address=$(printf '%s\n' "$lines" | sed -n "s|^$inside/tcp=||p" | head -n 1)
    [ -n "$address" ] || return 0
    host=${address%:*}
    [ "$host" != 0.0.0.0 ] || host=127.0.0.1
    [ "$health" != none ] || return 0
    for program in bash wget ''; do
        ! quietly command -v "$program" || break
    done
    if [ -z "$program" ] || ! quietly command -v timeout; then
        say "the published port was not checked: the server has neither bash nor wget"
        return 0
    fi
    tries=0
    until quietly "asked_by_$program" "$host" "${address##*:}" "$health"; do
        tries=$((tries + 1))
        [ "$tries" -lt 3 ] || return 1
        sleep 0.5
    done
}

# kept_name CONTAINER: the name of a release that is neither the running nor the previous one
kept_name() {
    release=$(label "$1" release)
    echo "$PROJECT-${release:-old}"
}

# final_policy CONTAINER: the restart policy of a proven release; a finished one-off job must not run
# again
final_policy() {
    if ends "$1"; then echo on-failure:3; else echo always; fi
}

# finish CONTAINER: make a healthy container the running release, which a reboot starts again. The last
# release still runs if both may run at the same time.
finish() {
    policy "$(final_policy "$1")" "$1"
    look
    if here "$PROJECT"; then
        policy no "$PROJECT"
        [ "$(of "$PROJECT" running)" != true ] || stop_release
        if here "$PROJECT-previous"; then
            kept=$(kept_name "$PROJECT-previous")
            ! here "$kept" || remove "$kept"
            docker rename "$PROJECT-previous" "$kept"
        fi
        docker rename "$PROJECT" "$PROJECT-previous"
    fi
    docker rename "$1" "$PROJECT"
}

# park CONTAINER: put a container aside that is not to run
park() {
    policy no "$1"
    stop "$1"
    case $1 in
    "$PROJECT-back")
        if exists "$PROJECT-previous"; then
            docker rename "$1" "$(kept_name "$1")"
        else
            docker rename "$1" "$PROJECT-previous"
        fi
        ;;
    *)
        remove "$PROJECT-failed"
        docker rename "$1" "$PROJECT-failed"
        ;;
    esac
}

# engine_is_back: wait for the engine, for ten minutes at most
engine_is_back() {
    seconds=0
    until quietly docker version; do
        [ "$seconds" -lt 600 ] || return 1
        seconds=$((seconds + 1))
        sleep 1
    done
}

# free_port CONTAINER: an engine that was killed while it started a container still counts the port of
# that container as taken. Connecting its networks again frees the port.
free_port() {
    # shellcheck disable=SC2016 # $name is a variable of docker's template
    for network in $(field '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$1"); do
        quietly docker network disconnect --force "$network" "$1" || true
        quietly docker network connect "$network" "$1" || true
    done
}

# start_again CONTAINER: an engine that was killed may at first fail to start it
start_again() {
    tries=0
    until docker start "$1" >/dev/null; do
        [ "$tries" -lt 10 ] || return 1
        tries=$((tries + 1))
        sleep 1
        engine_is_back || return 1
        for name in "$PROJECT-failed" "$PROJECT-previous" "$PROJECT-next" "$PROJECT-back" "$1"; do
            [ "$(field '{{.State.Running}}' "$name")" != false ] || free_port "$name"
        done
    done
}

# ensure_running CONTAINER: start it unless it runs, and wait until it is healthy
ensure_running() {
    case $(health "$1") in 'healthy '* | 'ended '*) return 0 ;; esac
    start_again "$1" && wait_healthy "$1"
}

# is_in_order: whether no deploy was cut off, as far as was seen
is_in_order() {
    ! here "$PROJECT-next" && ! here "$PROJECT-back" && ! here "$PROJECT-try" &&
        [ "$(of "$PROJECT" policy) $(of "$PROJECT" running)" = 'always true' ]
}

# recover: whatever a deploy has left, afterwards one release runs, and a reboot starts the same one
recover() {
    engine_is_back || return 1
    for new in "$PROJECT-next" "$PROJECT-back"; do
        exists "$new" || continue
        if [ "$(field '{{.HostConfig.RestartPolicy.Name}}' "$new")" != no ]; then
            if exists "$PROJECT"; then
                policy no "$PROJECT"
                stop "$PROJECT"
            fi
            if ensure_running "$new"; then
                finish "$new"
                continue
            fi
        fi
        park "$new"
    done
    exists "$PROJECT" || ! exists "$PROJECT-previous" || docker rename "$PROJECT-previous" "$PROJECT"
    if exists "$PROJECT"; then
        policy "$(final_policy "$PROJECT")" "$PROJECT"
        ends "$PROJECT" || start_again "$PROJECT"
    fi
    dismiss "$PROJECT-try"
}

# begin CONTAINER: start a container of the new release
begin() {
    problem=$(docker start "$1" 2>&1 >/dev/null) && return
    printf '%s\n' "$problem" >&2 || true
    case $problem in
    *docker-init*) give_up "it does not start: install docker-init on the server (in Debian and Ubuntu: sudo apt install tini), or set UNHARDEN := init" ;;
    *) give_up "it does not start; see above" ;;
    esac
}

# switch CONTAINER SECONDS: run it in place of the running release; it must stay healthy for SECONDS.
# A release that publishes no port may be started first, so that at each moment one answers.
switch() {
    stopped=
    if here "$PROJECT" && [ "$(label "$1" overlaps)" != yes ]; then
        stop_release
    fi
    begin "$1"
    wait_healthy "$1" "$2" || give_up "it is not healthy"
    asked_from_outside "$1" || give_up "it does not answer on its published port"
    [ -z "$stopped" ] || tell_gap "$1"
    finish "$1"
    recovered=yes
}

deploy() {
    if [ "$(of "$PROJECT" release) $(of "$PROJECT" options)" = "$RELEASE $OPTIONS_SUM" ] &&
        ensure_running "$PROJECT"; then
        say "nothing to do: $RELEASE $(ends "$PROJECT" && echo 'has finished' || echo 'runs and is healthy')"
        exit_with 0
    fi
    # A local name, because restarts and rollbacks must never need the registry.
    if ! quietly docker tag "$IMAGE" "$PROJECT-run:$RELEASE"; then
        say "another deploy has removed the image meanwhile"
        outcome image-gone
        exit_with 1
    fi
    if [ -n "$VOLUMES" ] || here "$PROJECT-volumes"; then
        make_volumes "$PROJECT-run:$RELEASE"
    fi
    beside=
    if here "$PROJECT" && [ "$CANDIDATE" = yes ]; then
        beside=yes
        create_with_options "$PROJECT-try" "$CANDIDATE_OPTIONS" || give_up "the container cannot be created; see above"
        begin "$PROJECT-try"
    fi
    create_with_options "$PROJECT-next" "$OPTIONS" "$PUBLISHED" || give_up "the container cannot be created; see above"
    if [ -n "$beside" ]; then
        if ! wait_healthy "$PROJECT-try" "$STEADY"; then
            # Keep the container that failed for inspection.
            remove "$PROJECT-next"
            quietly docker rename "$PROJECT-try" "$PROJECT-next" || give_up "the Docker engine went away"
            give_up "it is not healthy beside the running release (set CANDIDATE=no if it must not run twice)"
        fi
        switch "$PROJECT-next" 0
        # Not earlier, because that would slow down the start of the new release. In the background,
        # because it may take as long as a release may take to end.
        quietly stop "$PROJECT-try" &
    else
        switch "$PROJECT-next" "$STEADY"
    fi
    ! here "$PROJECT-failed" || remove "$PROJECT-failed"
    if ends "$PROJECT"; then
        log_of "$PROJECT" 50 2>/dev/null || true
        say "$RELEASE has finished. To run it again: docker start --attach $PROJECT"
    else
        say "$RELEASE runs and is healthy"
        point_out "$PROJECT" 2>/dev/null || true
    fi
}

# found RELEASE: print the container of a kept release, found by the beginning of its name
found() {
    docker ps --all --filter "label=slipway.project=$PROJECT" \
        --format '{{.Names}} {{.Label "slipway.release"}}' |
        while read -r name release; do
            case $name in "$PROJECT" | "$PROJECT-try" | "$PROJECT-volumes") continue ;; esac
            case $release in "$1"*)
                echo "$name"
                break
                ;;
            esac
        done
}

rollback() {
    if [ -n "$RELEASE" ]; then
        case $(of "$PROJECT" release) in "$RELEASE"*)
            say "nothing to do: $(of "$PROJECT" release) runs"
            exit_with 0
            ;;
        esac
        target=$(found "$RELEASE")
        [ -n "$target" ] || give_up "no release $RELEASE is kept here. Run make releases for a list"
    else
        target=$PROJECT-previous
        here "$target" || give_up "there is no previous release of $PROJECT here"
    fi
    RELEASE=$(label "$target" release)
    docker rename "$target" "$PROJECT-back"
    switch "$PROJECT-back" 0
    say "$RELEASE runs again"
}

# tidy: keep KEEP releases, among them the running and the previous one. Remove older ones of this
# project, their images, the image names of earlier tunnels, and environments that are not used any
# more. A failure here never fails a deploy.
tidy() {
    set +e
    number=2 old='' used=' ' running=''
    # Docker lists the newest first.
    listed=$(docker ps --all --quiet --no-trunc --filter "label=slipway.project=$PROJECT")
    # shellcheck disable=SC2016,SC2086 # each ID is a word
    listed=$(field '{{.Name}} {{.Image}} {{index .Config.Labels "slipway.options"}}' $listed)
    while read -r name image options; do
        case ${name#/} in
        "$PROJECT") running=$image ;;
        "$PROJECT-previous" | "$PROJECT-failed" | "$PROJECT-try") ;;
        *)
            number=$((number + 1))
            if [ "$number" -gt "$KEEP" ]; then
                old="$old ${name#/}"
                continue
            fi
            ;;
        esac
        used="$used$image $options "
    done <<END
$listed
END
    if [ -z "$running" ]; then
        # The engine does not answer, so that nothing is known to be unused.
        set -e
        return
    fi
    # shellcheck disable=SC2086 # each name is a word
    [ -z "$old" ] || quietly docker rm --force --volumes $old
    unused=$(unused_images)
    # shellcheck disable=SC2086
    [ -z "$unused" ] || quietly docker image rm $unused
    for file in "$FOLDER"/server-*; do
        [ "$file" = "$0" ] || rm -f "$file"
    done
    for file in "$FOLDER"/*.[0-9]*; do
        # The end of the name is the process of an interrupted transfer.
        [ -e "/proc/${file##*.}" ] || rm -f "$file"
    done
    for file in "$FOLDER"/env-*; do
        case $used in *" ${file##*/env-} "*) ;; *) rm -f "$file" ;; esac
    done
    set -e
}

# unused_images: print the names of this project's images that are not in `used`, and the names by which
# images were pulled, except that of the image `running`
unused_images() {
    docker image ls --no-trunc --digests --format '{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}' |
        while read -r repository tag digest id; do
            case $repository in
            "$PROJECT-run")
                case $used in *" $id "*) ;; *) echo "$repository:$tag" ;; esac
                ;;
            127.0.0.1:*"/$PROJECT-run")
                # The running image keeps the name by which it was pulled: it records the digest.
                name=$repository@$digest
                [ "$id" = "$running" ] && [ "$name" = "${IMAGE:-$name}" ] || echo "$name"
                ;;
            esac
        done
}

# restart: stop the running release and start it again
restart() {
    here "$PROJECT" || give_up "there is no release of $PROJECT here"
    stop "$PROJECT"
    ensure_running "$PROJECT" || give_up "the release does not become healthy"
    say "$(of "$PROJECT" release) runs and is healthy"
}

# stop_all: stop the release; a reboot does not start it
stop_all() {
    for name in "$PROJECT" "$PROJECT-next" "$PROJECT-back" "$PROJECT-try"; do
        here "$name" || continue
        policy no "$name"
        stop "$name"
    done
}

# remove_all: remove everything of the project but its volumes
remove_all() {
    stop_all
    # shellcheck disable=SC2046 # each ID is a word
    set -- $(docker ps --all --quiet --filter "label=slipway.project=$PROJECT")
    [ $# = 0 ] || docker rm --volumes "$@" >/dev/null
    used=' ' running=-
    # shellcheck disable=SC2046
    set -- $(unused_images)
    [ $# = 0 ] || quietly docker image rm "$@" || true
    rm -rf "$FOLDER"
}

# ended STATUS: however a job ends, afterwards one release runs, the log has a line, and the lock is free
ended() {
    status=$1
    trap '' TERM
    trap - EXIT
    set +e
    wait
    if [ "$status" != 0 ]; then
        [ -n "$reason" ] || reason="a docker command failed; see above"
        after="there was no earlier release to go back to"
        before=$(field '{{.State.Running}}' "$PROJECT")
        [ -n "$recovered" ] || recover
        if exists "$PROJECT"; then
            after="$(label "$PROJECT" release) runs again"
            [ "$before" != true ] || after="$(label "$PROJECT" release) runs as before"
            ensure_running "$PROJECT" || after="$(label "$PROJECT" release) runs again, but is not healthy either"
        fi
        [ "$(label "$PROJECT-failed" release)" != "${RELEASE:-none}" ] || after="$after; the failed container is kept stopped as $PROJECT-failed"
        record "$JOB ${RELEASE:-previous} by $BY: failed: $reason; $after"
        printf '%s\n' "$JOB failed: ${RELEASE:-the previous release}: $reason; $after" >&2 || true
    fi
    release
    [ "$status" = 0 ] || exit 1
    exit 0
}

# exit_with STATUS: end a job that has changed nothing, so that nothing has to be watched
exit_with() {
    trap - EXIT
    release
    exit "$1"
}

# check_names: fail if a container that slipway does not manage has one of the names
check_names() {
    for name in "$PROJECT" "$PROJECT-next" "$PROJECT-back" "$PROJECT-try" "$PROJECT-previous" "$PROJECT-failed"; do
        here "$name" && [ "$(of "$name" project)" != "$PROJECT" ] || continue
        fail "the container $name is not managed by slipway. Rename it, or change PROJECT."
    done
}

work() {
    trap '' HUP PIPE
    trap 'give_up "it was ended by make unlock"' TERM
    trap release EXIT
    claim "${RELEASE:-$JOB}"
    look || fail "the Docker engine does not answer"
    check_names
    case $JOB in
    stop_all | remove_all)
        "$JOB"
        exit_with 0
        ;;
    esac
    trap 'ended $?' EXIT
    if ! is_in_order; then
        recover || true
        look
    fi
    if [ "$JOB" = recover ]; then
        ! exists "$PROJECT" || ensure_running "$PROJECT" || give_up "the release does not become healthy"
        exit_with 0
    fi
    "$JOB"
    [ "$JOB" != restart ] || exit_with 0
    tidy
    record "$JOB $RELEASE by $BY: runs"
    wait # for the candidate's end
    [ -z "${beside:-}" ] || quietly docker rm --volumes "$PROJECT-try" || true
    trap - EXIT
    release
    again watch >/dev/null 2>&1 &
}

watch() {
    trap '' HUP PIPE TERM
    id=$(field '{{.Id}}' "$PROJECT")
    bad=0 failing=0
    end=$(($(clock) + WATCH * 100))
    # Docker needs three failed checks to call a container unhealthy. If the last check has failed,
    # watch it for another minute.
    late=$((end + 6000))
    while [ "$(clock)" -lt "$end" ] || { [ "$failing" != 0 ] && [ "$(clock)" -lt "$late" ]; }; do
        sleep 1
        if ! state=$(field "{{.Id}} {{if .State.Health}}{{.State.Health.FailingStreak}}{{else}}0{{end}} $HEALTH_NOW" "$PROJECT"); then
            quietly docker version || continue
            exists "$PROJECT" || exit 0
            continue
        fi
        [ "${state%% *}" = "$id" ] || exit 0
        state=${state#* }
        failing=${state%% *}
        case ${state#* } in
        # A container that somebody has stopped must stay stopped.
        'restarting '* | 'unhealthy '* | *' '[2-9]*) bad=$((bad + 1)) ;;
        *) bad=0 ;;
        esac
        if [ "$bad" -lt 3 ] || ! exists "$PROJECT-previous"; then
            continue
        fi
        claim "watching $RELEASE"
        trap release EXIT
        [ "$(field '{{.Id}}' "$PROJECT")" = "$id" ] || exit 0
        record "$JOB $RELEASE by $BY: rolled back later: it did not stay healthy"
        policy no "$PROJECT"
        docker rename "$PROJECT" "$PROJECT-next"
        recover
        exit
    done
}

case $1 in
supervise | work | watch | survey) "$1" ;;
unlock)
    unlock
    export JOB=recover
    supervise
    ;;
*) fail "there is no command $1" ;;
esac
