#!/bin/sh
# server-survey.sh: what a server has, for a plan and for reports; changes nothing.
#
# server.py sends it behind server-lock.sh, and reads the lines that begin with `slipway`: a login
# script may print others, the last one without an end.

tell() {
    printf 'slipway %s\n' "$*"
}

# survey_machine: what does not depend on Docker
survey_machine() {
    kept=$FOLDER
    until [ -e "$kept" ]; do kept=$(dirname "$kept"); done
    for place in "$kept" /tmp; do
        [ -w "$place" ] || tell locked "$place"
    done
    # kilobytes; the header says Available there
    df -Pk "$kept" /tmp 2>/dev/null | while read -r _ _ _ free _ disk; do
        case $free in [0-9] | [0-9][0-9] | [0-9][0-9][0-9]) tell full "$disk" ;; esac
    done
    ! command -v gzip >/dev/null || tell gzip
    # 0A is LISTEN, see the kernel's include/net/tcp_states.h
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _; do
        [ "$state" != 0A ] || tell listens "$address"
    done
    if held=$(holder); then
        dead=$(alive "$held" || echo dead)
        tell lock "${dead:-alive}" "$held"
    fi
    tail -n 20 "$FOLDER/log" 2>/dev/null | while read -r line; do tell log "$line"; done
}

survey() {
    # what can be told is told
    set +eu
    echo
    case $(docker --version 2>/dev/null) in podman*) tell podman ;; esac
    said=
    for docker in docker 'sudo -n docker' ''; do
        [ -n "$docker" ] || break
        engine=$($docker version --format '{{.Server.Version}} {{.Server.Arch}} {{.Client.APIVersion}}' 2>&1) && break
        said=${said:-$engine}
    done
    if [ -z "$docker" ]; then
        tell refused
        printf '%s\n' "$said"
        return
    fi
    tell docker "$docker"
    # sudo may have had something to say first
    tell engine "$(printf '%s\n' "$engine" | tail -n 1)"
    info=$($docker info --format '{{.SecurityOptions}} {{.DockerRootDir}}')
    tell security "$info"
    tell free "$(df -Pk "${info##*] }" 2>/dev/null | tail -n 1)"
    # shellcheck disable=SC2046 # each ID is a word
    set -- $($docker ps --all --quiet)
    [ $# = 0 ] || $docker container inspect --format 'slipway container {"name":{{json .Name}},"labels":{{json .Config.Labels}},"image":{{json .Image}},"running":{{.State.Running}},"status":{{json .State.Status}},"health":"{{if .State.Health}}{{.State.Health.Status}}{{end}}","started":{{json .State.StartedAt}},"exit":{{.State.ExitCode}},"restarts":{{.RestartCount}},"policy":{{json .HostConfig.RestartPolicy.Name}},"ports":{{json .HostConfig.PortBindings}}}' "$@"
    # shellcheck disable=SC2046
    set -- $($docker image ls --quiet --no-trunc | sort -u)
    [ $# = 0 ] || $docker image inspect --format 'slipway layers {{json .RootFS.Layers}}' "$@"
    survey_machine
}
