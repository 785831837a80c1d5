#!/bin/sh
# server.sh JOB: what is done where the application runs; needs docker and nothing else.
#
# deploy.py sends it over ssh, behind the other server-*.sh and with its variables set.
#   guard     do JOB in a process of its own, and settle what it leaves when that is killed
#   work      do JOB: deploy, rollback or settle
#   survey    say what there is; see server-survey.sh
#   unlock    end a deploy that is at work, and settle what it leaves
#   watch     for WATCH seconds, and put back the release before when this one does not stay up
#
# A release is a container. Which one is which is said by names and restart policies alone, so that
# whoever comes after a killed deploy, a restarted engine or a reboot sees what to do; docs/deploys.md
# of the template has the steps and what a kill leaves at each.
#   PROJECT             runs; `always` brings it back after a reboot; a job, which ends, `on-failure`
#   PROJECT-next        is to run; `no`, until it has proven healthy
#   PROJECT-back        the same, for one that ran before
#   PROJECT-try         the next one, tried beside what runs, without its ports
#   PROJECT-previous    ran before; PROJECT-<release> before that
#   PROJECT-failed      is kept stopped for a look
#
# shellcheck disable=SC2153,SC2154,SC2317,SC2329 # variables and functions come in front of this file
set -eu

GONE=4   # status: the image is not there any more, pull it again
reason=  # why a deploy cannot go on
settled= # whether what it left is in order

# What cannot go on leaves by here; `ended` puts in order what it leaves.
give_up() {
    reason=$1
    exit 1
}

# look: what there is under the names of this project, in `seen`
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

# here NAME: whether that was seen
here() {
    case $seen in *"/$1|"*) ;; *) return 1 ;; esac
}

# of NAME FIELD: what was seen of it; nothing when that was nothing
of() {
    here "$1" || return 0
    line=${seen#*"/$1|"}
    line=${line#*"$2="}
    echo "${line%%|*}"
}

# create NAME OPTION…: a container of the release that is to run
create() {
    name=$1
    shift
    # shellcheck disable=SC2086 # EARLY is an option and its value, or nothing
    docker create --name "$name" --restart=no $EARLY \
        --label "slipway.project=$PROJECT" --label "slipway.digest=$DIGEST" \
        --label "slipway.release=$RELEASE" --label "slipway.options=$OPTIONS_SUM" \
        --label "slipway.revision=$REVISION" --label "slipway.by=$BY" --label "slipway.at=$(now)" \
        --env-file "$FOLDER/env-$OPTIONS_SUM" "$@" "$PROJECT-run:$RELEASE" >/dev/null
}

remove() {
    quietly docker rm --force --volumes "$1" || true
}

# stop CONTAINER [OPTION…]
stop() {
    name=$1
    shift
    docker stop "$@" "$name" >/dev/null
}

# asked_by_bash HOST PORT HEALTH: as the image's own check does, which takes a container to run in
asked_by_bash() {
    [ "$3" != none ] || return 0
    # shellcheck disable=SC2016 # bash's own
    quietly timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2" || exit 1
        [ "$3" != tcp ] || exit 0
        printf "GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n" "$3" >&3
        read -r _ status _ <&3
        [ "$status" -lt 500 ]' bash "$@"
}

# asked_from_outside CONTAINER: at the published port, by the image's own check
asked_from_outside() {
    # a line for each published port, and one for each variable
    # shellcheck disable=SC2016 # docker's own
    told=$(field '{{.Image}}
{{range $port, $at := .NetworkSettings.Ports}}{{range $at}}{{$port}}={{.HostIp}}:{{.HostPort}}
{{end}}{{end}}{{range .Config.Env}}{{println .}}{{end}}' "$1")
    image=$(printf '%s\n' "$told" | head -n 1)
    inside=$(printf '%s\n' "$told" | sed -n 's/^PORT=//p')
    health=$(printf '%s\n' "$told" | sed -n 's/^HEALTH=//p')
    address=$(printf '%s\n' "$told" | sed -n "s|^$inside/tcp=||p" | head -n 1)
    [ -n "$address" ] || return 0
    host=${address%:*}
    [ "$host" != 0.0.0.0 ] || host=127.0.0.1
    ! asked_by_bash "$host" "${address##*:}" "$health" || return 0
    tries=0
    while :; do
        status=0
        docker run --rm --network host --env "PORT=${address##*:}" --entrypoint /appenv/bin/python \
            "$image" -I /appenv/healthcheck "$host" >/dev/null || status=$?
        tries=$((tries + 1))
        # other statuses are docker's own: this engine cannot ask in this way
        [ "$status" = 1 ] && [ "$tries" -lt 3 ] || break
        sleep 0.5
    done
    [ "$status" != 1 ]
}

# kept_name CONTAINER: what a release is called that is neither the running nor the previous one
kept_name() {
    release=$(label "$1" release)
    echo "$PROJECT-${release:-old}"
}

# lasting CONTAINER: the policy of one that is kept; a job that has ended is not started again
lasting() {
    if ends "$1"; then echo on-failure:3; else echo always; fi
}

# finish CONTAINER: it is healthy, and from now on the one that comes back after a reboot
finish() {
    policy "$(lasting "$1")" "$1"
    look
    if here "$PROJECT"; then
        policy no "$PROJECT"
        if here "$PROJECT-previous"; then
            kept=$(kept_name "$PROJECT-previous")
            ! here "$kept" || remove "$kept"
            docker rename "$PROJECT-previous" "$kept"
        fi
        docker rename "$PROJECT" "$PROJECT-previous"
    fi
    docker rename "$1" "$PROJECT"
}

# park CONTAINER: it does not run, and what ran before will
park() {
    policy no "$1"
    stop "$1" --time 3
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

# engine_is_back: after ten minutes nobody starts it any more
engine_is_back() {
    seconds=0
    until quietly docker version; do
        [ "$seconds" -lt 600 ] || return 1
        seconds=$((seconds + 1))
        sleep 1
    done
}

# let_go CONTAINER: of the port that it has in the eyes of an engine which was killed while it was
# about to start; it keeps its networks
let_go() {
    # shellcheck disable=SC2016 # $name is docker's
    for network in $(field '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$1"); do
        quietly docker network disconnect --force "$network" "$1" || true
        quietly docker network connect "$network" "$1" || true
    done
}

# revive CONTAINER: an engine that was killed may fail to start it at first
revive() {
    tries=0
    until docker start "$1" >/dev/null; do
        [ "$tries" -lt 10 ] || return 1
        tries=$((tries + 1))
        sleep 1
        engine_is_back || return 1
        for name in "$PROJECT-failed" "$PROJECT-previous" "$PROJECT-next" "$PROJECT-back" "$1"; do
            [ "$(field '{{.State.Running}}' "$name")" != false ] || let_go "$name"
        done
    done
}

# stands CONTAINER: it runs, or is started, and is healthy
stands() {
    case $(health "$1") in 'healthy '* | 'ended '*) return 0 ;; esac
    revive "$1" && wait_healthy "$1"
}

# is_settled: as far as was seen, nothing was cut off
is_settled() {
    ! here "$PROJECT-next" && ! here "$PROJECT-back" && ! here "$PROJECT-try" &&
        [ "$(of "$PROJECT" policy) $(of "$PROJECT" running)" = 'always true' ]
}

# settle: whatever was cut off, afterwards one release runs, the same that a reboot brings back
settle() {
    engine_is_back || return 1
    for new in "$PROJECT-next" "$PROJECT-back"; do
        exists "$new" || continue
        if [ "$(field '{{.HostConfig.RestartPolicy.Name}}' "$new")" != no ]; then
            if exists "$PROJECT"; then
                policy no "$PROJECT"
                stop "$PROJECT"
            fi
            if stands "$new"; then
                finish "$new"
                continue
            fi
        fi
        park "$new"
    done
    remove "$PROJECT-try"
    exists "$PROJECT" || ! exists "$PROJECT-previous" || docker rename "$PROJECT-previous" "$PROJECT"
    exists "$PROJECT" || return 0
    policy "$(lasting "$PROJECT")" "$PROJECT"
    ends "$PROJECT" || revive "$PROJECT"
}

# switch CONTAINER: let it run in place of the one that runs
switch() {
    if here "$PROJECT"; then
        stop "$PROJECT"
    fi
    docker start "$1" >/dev/null || give_up "it does not start; see above"
    wait_healthy "$1" "$2" || give_up "it is not healthy"
    asked_from_outside "$1" || give_up "it does not answer on its published port"
    finish "$1"
    settled=yes
}

deploy() {
    if [ "$(of "$PROJECT" release) $(of "$PROJECT" options)" = "$RELEASE $OPTIONS_SUM" ] &&
        stands "$PROJECT"; then
        say "nothing to do: $RELEASE $(ends "$PROJECT" && echo 'has ended well' || echo 'runs and is healthy')"
        exit_as 0
    fi
    # a stable local name: restart and rollback never need the registry
    if ! quietly docker tag "$IMAGE" "$PROJECT-run:$RELEASE"; then
        say "a deploy that was at work meanwhile has tidied the image away"
        exit_as "$GONE"
    fi
    if [ -n "$VOLUMES" ] || here "$PROJECT-volumes"; then
        make_volumes "$PROJECT-run:$RELEASE"
    fi
    beside=
    if here "$PROJECT" && [ "$CANDIDATE" = yes ]; then
        beside=yes
        eval "create \"\$PROJECT-try\" $OPTIONS" || give_up "it cannot be made; see above"
        docker start "$PROJECT-try" >/dev/null || give_up "it does not start; see above"
    fi
    eval "create \"\$PROJECT-next\" $OPTIONS $PUBLISHED" || give_up "it cannot be made; see above"
    if [ -n "$beside" ]; then
        if ! wait_healthy "$PROJECT-try" "$STEADY"; then
            # the one that was seen to fail is the one to look at
            remove "$PROJECT-next"
            quietly docker rename "$PROJECT-try" "$PROJECT-next" || give_up "the Docker engine went away"
            give_up "it is not healthy, beside the running one (CANDIDATE=no if it must not run twice)"
        fi
        switch "$PROJECT-next" 0
        # not before, which would take its time from the application's start
        remove "$PROJECT-try"
    else
        switch "$PROJECT-next" "$STEADY"
    fi
    ! here "$PROJECT-failed" || remove "$PROJECT-failed"
    if ends "$PROJECT"; then
        say "$RELEASE has ended well; it runs again by: docker start --attach $PROJECT"
    else
        say "$RELEASE runs and is healthy"
    fi
}

# found RELEASE: the container of a release that is kept, by the beginning of its name
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
            exit_as 0
            ;;
        esac
        target=$(found "$RELEASE")
        [ -n "$target" ] || give_up "no release $RELEASE is kept here: make releases lists them"
    else
        target=$PROJECT-previous
        here "$target" || give_up "there is no previous release of $PROJECT here"
    fi
    RELEASE=$(label "$target" release)
    docker rename "$target" "$PROJECT-back"
    switch "$PROJECT-back" 0
    say "$RELEASE runs again"
}

# Keeps KEEP releases, the running and the previous one among them; removes older ones, their images,
# and what earlier tunnels and environments left. Of this project only, and it never fails a deploy.
tidy() {
    set +e
    number=2 old='' used=' ' running=''
    # docker lists the newest first
    listed=$(docker ps --all --quiet --no-trunc --filter "label=slipway.project=$PROJECT")
    # shellcheck disable=SC2016,SC2086 # each ID is a word
    listed=$(field '{{.Name}} {{.Image}} {{index .Config.Labels "slipway.options"}}' $listed)
    while read -r name image options; do
        case ${name#/} in
        "$PROJECT") running=$image ;;
        "$PROJECT-previous" | "$PROJECT-failed") ;;
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
        # the engine does not say what is used
        set -e
        return
    fi
    # shellcheck disable=SC2086 # each name is a word
    [ -z "$old" ] || quietly docker rm --force --volumes $old
    unused=$(docker image ls --no-trunc --digests --format '{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}' |
        while read -r repository tag digest id; do
            case $repository in
            "$PROJECT-run")
                case $used in *" $id "*) ;; *) echo "$repository:$tag" ;; esac
                ;;
            127.0.0.1:*"/$PROJECT-run")
                # the running one keeps the name that it was pulled by: the server's own record of its digest
                name=$repository@$digest
                [ "$id" = "$running" ] && [ "$name" = "${IMAGE:-$name}" ] || echo "$name"
                ;;
            esac
        done)
    # shellcheck disable=SC2086
    [ -z "$unused" ] || quietly docker image rm $unused
    for file in "$FOLDER"/server-*; do
        [ "$file" = "$0" ] || rm -f "$file"
    done
    for file in "$FOLDER"/*.[0-9]*; do
        # of a deploy that was cut off while it was sent
        [ -e "/proc/${file##*.}" ] || rm -f "$file"
    done
    for file in "$FOLDER"/env-*; do
        case $used in *" ${file##*/env-} "*) ;; *) rm -f "$file" ;; esac
    done
    set -e
}

# What a job leaves, however it ends: one release that runs, a line in the log, and no lock.
ended() {
    status=$1
    trap '' TERM
    trap - EXIT
    set +e
    wait
    if [ "$status" != 0 ]; then
        [ -n "$reason" ] || reason="what it asked of docker failed; see above"
        after="nothing else was here to put back"
        before=$(field '{{.State.Running}}' "$PROJECT")
        [ -n "$settled" ] || settle
        if exists "$PROJECT"; then
            after="$(label "$PROJECT" release) runs again"
            [ "$before" != true ] || after="$(label "$PROJECT" release) runs as before"
            stands "$PROJECT" || after="$(label "$PROJECT" release) was put back, and is not healthy either"
        fi
        [ "$(label "$PROJECT-failed" release)" != "${RELEASE:-none}" ] || after="$after; the failed one is kept stopped as $PROJECT-failed"
        record "$JOB ${RELEASE:-previous} by $BY: failed: $reason; $after"
        printf '%s\n' "$JOB failed: ${RELEASE:-the previous release}: $reason; $after" >&2 || true
    fi
    release
    exit "$status"
}

# Nothing was done, and nothing has to be watched.
exit_as() {
    trap - EXIT
    release
    exit "$1"
}

# No container of a release's names is anybody else's.
ours() {
    for name in "$PROJECT" "$PROJECT-next" "$PROJECT-back" "$PROJECT-try" "$PROJECT-previous" "$PROJECT-failed"; do
        here "$name" && [ "$(of "$name" project)" != "$PROJECT" ] || continue
        fail "a container named $name is here that no deploy made: rename it, or change PROJECT"
    done
}

work() {
    trap '' HUP PIPE
    trap 'give_up "it was ended by make unlock"' TERM
    claim "${RELEASE:-$JOB}"
    trap release EXIT
    look || fail "the Docker engine does not answer"
    ours
    trap 'ended $?' EXIT
    if ! is_settled; then
        settle || true
        look
    fi
    if [ "$JOB" = settle ]; then
        ! exists "$PROJECT" || stands "$PROJECT" || give_up "what is here does not become healthy"
        exit_as 0
    fi
    "$JOB"
    tidy
    record "$JOB $RELEASE by $BY: runs"
    trap - EXIT
    release
    again watch >/dev/null 2>&1 &
}

watch() {
    trap '' HUP PIPE TERM
    id=$(field '{{.Id}}' "$PROJECT")
    bad=0 failing=0
    end=$(($(clock) + WATCH * 100))
    # docker takes three checks to call it unhealthy: one that has failed the last is watched on
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
        # one that somebody has stopped is restarted by nobody
        'restarting '* | 'unhealthy '* | *' '[2-9]*) bad=$((bad + 1)) ;;
        *) bad=0 ;;
        esac
        if [ "$bad" -lt 3 ] || ! exists "$PROJECT-previous"; then
            continue
        fi
        claim "watching $RELEASE"
        trap release EXIT
        [ "$(field '{{.Id}}' "$PROJECT")" = "$id" ] || exit 0
        record "$JOB $RELEASE by $BY: put back later: it did not stay up"
        policy no "$PROJECT"
        docker rename "$PROJECT" "$PROJECT-next"
        settle
        exit
    done
}

case $1 in
guard | work | watch | survey) "$1" ;;
unlock)
    unlock
    export JOB=settle
    guard
    ;;
*) fail "there is no job $1" ;;
esac
