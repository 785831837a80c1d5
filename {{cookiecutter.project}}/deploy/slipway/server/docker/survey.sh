#!/bin/sh
# The facts of a server with Docker: its engine, all containers, and the layers of all images.
# laptop/deploy/survey.py parses them.

survey() {
    # Whatever can be found out is printed, even if a command fails.
    set +eu
    echo
    case $(docker --version 2>/dev/null) in podman*) fact podman ;; esac
    problem=
    for docker in docker 'sudo -n docker' ''; do
        [ -n "$docker" ] || break
        engine=$($docker version --format '{{.Server.Version}} {{.Server.Arch}} {{.Client.APIVersion}}' 2>&1) && break
        problem=${problem:-$engine}
    done
    if [ -z "$docker" ]; then
        fact refused
        printf '%s\n' "$problem"
        return
    fi
    fact docker "$docker"
    # shellcheck disable=SC2034 # of the function docker
    DOCKER=$docker
    # sudo may print something first
    fact engine "$(printf '%s\n' "$engine" | tail -n 1)"
    info=$($docker info --format '{{.SecurityOptions}} {{.DockerRootDir}}')
    fact security "$info"
    fact free "$(df -Pk "${info##*] }" 2>/dev/null | tail -n 1)"
    # shellcheck disable=SC2046 # each ID is a word
    set -- $($docker ps --all --quiet)
    [ $# = 0 ] || $docker container inspect --format 'slipway container {"name":{{json .Name}},"labels":{{json .Config.Labels}},"image":{{json .Image}},"running":{{.State.Running}},"status":{{json .State.Status}},"health":"{{if .State.Health}}{{.State.Health.Status}}{{end}}","started":{{json .State.StartedAt}},"exit":{{.State.ExitCode}},"restarts":{{.RestartCount}},"policy":{{json .HostConfig.RestartPolicy.Name}},"ports":{{json .HostConfig.PortBindings}}}' "$@"
    # shellcheck disable=SC2046
    set -- $($docker image ls --quiet --no-trunc | sort -u)
    [ $# = 0 ] || $docker image inspect --format 'slipway layers {{json .RootFS.Layers}}' "$@"
    survey_machine
}
