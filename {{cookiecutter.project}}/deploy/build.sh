#!/usr/bin/env bash
# build.sh [STEP…]: make the run image, or everything up to each STEP: base, tools, builder, wheels,
# image, check.
# A step whose inputs have not changed is not done again; QUIET=1 leaves that unsaid.
# Works from anywhere, without make.
#
# from, epoch and created are those of the pinned base image; by is the image that makes wheels.
# verify.py sets DEPLOY_COMMIT ("REVISION SECONDS TIME", where git is not asked) and DEPLOY_NO_CACHE.
#
# state.py names the first step to do along with the settings, so that nothing to do costs little.
[ $# -gt 0 ] || set -- image
for step; do
    case $step in
    base | tools | builder | wheels | image | check) ;;
    *)
        echo "build.sh: there is no step $step: use base, tools, builder, wheels, image or check" >&2
        exit 1
        ;;
    esac
done
SETTINGS_BY="state.py plan $*"
ALONE=1
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# `auto` builds by this script again and again, and adds to NATIVE what that says is missing
[ -z "$NATIVE_AUTO" ] || exec "$DEPLOY/words.py" auto "$@"

need_buildx() {
    is_podman || docker buildx version >/dev/null 2>&1 ||
        die "$DOCKER has no buildx: install it (Debian: docker-buildx, elsewhere docker-buildx-plugin)"
}

# put FILE: write standard input to a file, which another build may be reading
put() {
    local new=$1.$BASHPID
    cat >"$new" && mv "$new" "$1"
}

# build TITLE ARGUMENT…: docker build, which leaves the image that had TITLE before without a name;
# that one is removed
build() {
    local title=$1 context arguments=() name said log=${log:-$ROOT/.deploy/build.log}
    shift
    # A builder in a container of its own does not see local images; the engine's own does.
    if [ -n "${BUILDX_BUILDER:-}" ] || [ -e "${DOCKER_CONFIG:-$HOME/.docker}/buildx/current" ]; then
        context=$(docker context show 2>/dev/null) && export BUILDX_BUILDER=$context
    fi
    [ -z "${DEPLOY_NO_CACHE:-}" ] || arguments+=(--no-cache)
    for name in $(passed "${PROXIES[@]}"); do arguments+=(--build-arg "$name"); done
    arguments+=(--label "org.opencontainers.image.title=$title")
    set -- build ${arguments[@]+"${arguments[@]}"} ${platform[@]+"${platform[@]}"} "$@"
    if [ -t 2 ]; then
        docker "$@" >/dev/null || {
            need_buildx
            die "$step: the image could not be built; see above"
        }
    else
        own_folder "$ROOT/.deploy"
        BUILDKIT_PROGRESS=plain docker "$@" >"$log" 2>&1 || {
            need_buildx
            # what one of our own steps said is the answer; the rest is noise then
            said=$(sed -nE 's/^.*(apt\.sh|install|network\.py): /\1: /p' "$log" | tail -n 1)
            [ -z "$said" ] || die "$step: $said"
            tail -n 30 "$log" >&2
            ! grep -q CERTIFICATE_VERIFY_FAILED "$log" ||
                die "$step: a certificate is not trusted: put that of your inspecting proxy, or of your index's authority, into deploy/ca as a .crt file"
            die "$step: the image could not be built; see above, and all of it in .deploy/build.log"
        }
    fi
    # while what was made is recorded; what has no name is of use for a moment still
    case " $* " in *" --tag "*) ;; *) return 0 ;; esac
    docker image prune --force --filter "label=org.opencontainers.image.title=$title" >/dev/null 2>&1 9>&- &
    pruning=$!
}

base() {
    local pinned
    say "base: $PYTHON on $BASE_IMAGE${NATIVE:+, with $NATIVE}"
    # shellcheck disable=SC2154 # these come with the plan
    if [ -z "$is_pinned" ]; then
        pinned=$(python3 "$DEPLOY/pin.py") || exit 1
        eval "$pinned"
        python3 "$DEPLOY/state.py" start base # the pin, if it is new, is one of the inputs
    fi
    options_of_both
    tools_ahead
    build "$PROJECT-base" --tag "$IMAGES-base" --file "$DEPLOY/base.docker" "${options[@]}" "$DEPLOY"
}

# options_of_both: set options to what base and tools are made with, and the packages of both
options_of_both() {
    # shellcheck disable=SC2154 # these come with the plan, or from pin.py
    options=(--build-arg BASE_IMAGE="$from" --build-arg SOURCE_DATE_EPOCH="$epoch" --build-arg PYTHON
        --build-arg RUN_PACKAGES="$run_packages")
}

# build_with_tools TITLE ARGUMENT…: docker build of build.docker
build_with_tools() {
    local file=$ROOT/.deploy/build.docker
    own_folder "$ROOT/.deploy"
    { echo 'ARG BASE' && cat "$DEPLOY/base.docker" "$DEPLOY/build.docker"; } | put "$file"
    build "$@" --file "$file" "${options[@]}" --build-arg BASE="$IMAGES-base" \
        --secret "id=pip.conf,env=PIP_CONF" "$DEPLOY"
}

build_tools() {
    build_with_tools "$PROJECT-tools" --tag "$IMAGES-builder:tools" --target tools
}

# tools_ahead: make the tools, when they have to be made, beside the base, whose packages they take
tools_ahead() {
    # shellcheck disable=SC2154 # it comes with the plan
    [ -n "$tools_too" ] && [ -z "${DEPLOY_NO_CACHE:-}" ] && ! is_podman || return 0
    (log=$ROOT/.deploy/ahead-tools.log build_tools) >/dev/null 2>&1 9>&- &
    making_tools=$!
}

tools() {
    say "tools: the base with pip, to fetch wheels and install them"
    slim_ahead
    # what failed is done again, and said
    if [ -z "$making_tools" ] || ! wait "$making_tools"; then
        options_of_both
        build_tools
    fi
}

builder() {
    say "builder: the base with compiler, headers and pip"
    options_of_both
    if [ -n "$tools_too" ]; then
        python3 "$DEPLOY/state.py" start tools
        [ -n "${DEPLOY_NO_CACHE:-}" ] || ahead >"$ROOT/.deploy/ahead.log" 2>&1 9>&- &
    fi
    # shellcheck disable=SC2154 # it comes with the plan
    build_with_tools "$PROJECT-builder" --tag "$IMAGES-builder" \
        --build-arg BUILD_PACKAGES="$build_packages"
    if [ -n "$tools_too" ]; then
        wait
        build_tools
        python3 "$DEPLOY/state.py" "done" tools
    fi
}

# ahead: while the compiler is installed, do what needs none: the tools, and when make was told to go
# on to the wheels or the image, the dependencies and their layer. What fails here is done again in
# its turn, and said then.
ahead() {
    log=$ROOT/.deploy/ahead-build.log
    build_tools
    goes_on_to wheels || return 0
    BUILDER=$IMAGES-builder:tools run_builder fetch --locked || return 0
    goes_on_to image || return 0
    run_image --target dependencies
}

# slim_ahead: begin with the run image's first layer, which takes nothing but the base
slim_ahead() {
    goes_on_to image || return 0
    (log=$ROOT/.deploy/ahead-slim.log run_image --target slim) >/dev/null 2>&1 9>&- &
}

# goes_on_to wheels|image: whether to begin with that early: make was told to do it as well, or what
# takes it (podman makes each stage of a dockerfile, needed or not)
goes_on_to() {
    case " ${DEPLOY_GOALS:-} " in *" $1 "* | *" image "* | *" run "* | *" push "* | *" deploy "*) ;; *) return 1 ;; esac
    [ -z "${DEPLOY_NO_CACHE:-}" ] && ! is_podman
}

# make_wheels OPTION…: have them made, and once the dependencies are there, their layer
make_wheels() {
    run_builder wheels --locked "$@" | layer_ahead
    return "${PIPESTATUS[0]}"
}

layer_ahead() {
    read -r || return 0
    if goes_on_to image; then
        set -- --target dependencies --iidfile "$ROOT/.deploy/dependencies"
        (log=$ROOT/.deploy/ahead-build.log run_image "$@") >/dev/null 2>&1 || true
    fi
}

# check_ahead: begin to check the dependencies' layer, when the application adds no library to it
check_ahead() {
    [ "$CHECK_IMAGE" = yes ] && [ -s "$ROOT/.deploy/dependencies" ] || return 0
    [ -z "$(find "$ROOT/$WHEELHOUSE/app" -name '*.whl' ! -name '*-any.whl')" ] || return 0
    "$HOST_PYTHON" "$DEPLOY/check.py" "$(cat "$ROOT/.deploy/dependencies")" >"$ROOT/.deploy/check.log" 2>&1 9>&- &
    checking=$!
}

# The tools alone make the wheels, as long as nothing has to be compiled; else the builder does, this
# time and from then on (`by` comes with the settings).
wheels() {
    local status locked=''
    say "wheels: into $WHEELHOUSE"
    rm -f "$ROOT/.deploy/dependencies"
    while true; do
        status=0
        if [ "$by" = builder ]; then
            make_wheels || status=$?
        else
            BUILDER=$IMAGES-builder:tools make_wheels --without-compiler || status=$?
        fi
        if [ "$status" -eq 3 ] && [ -z "$locked" ]; then # there is no lock for this interpreter yet
            "$DEPLOY/lock.sh"
            locked=yes
        elif [ "$status" -eq 4 ] && [ "$by" != builder ]; then
            QUIET=1 "$DEPLOY/build.sh" builder
            by=builder
        else
            break
        fi
        python3 "$DEPLOY/state.py" start wheels "$by" # these are among its inputs
    done
    wait
    [ "$status" -eq 0 ] || die "wheels: not built; what was in $WHEELHOUSE before is untouched"
    check_ahead
}

# run_image ARGUMENT…: docker build of run.docker
run_image() {
    local file=$ROOT/.deploy/run.docker
    own_folder "$ROOT/.deploy"
    wheelhouse_folder
    # shellcheck disable=SC2154 # base_environment comes with the plan
    {
        # podman's dockerfiles have no --start-interval
        if is_podman; then sed 's/ --start-interval=[^ ]*//' "$DEPLOY/run.docker"; else cat "$DEPLOY/run.docker"; fi
        printf '%s\n' "$base_environment"
        # where a shell or a command beside the application begins, as it does itself
        [ -z "$FILES" ] || echo 'WORKDIR /appenv/app'
    } | put "$file"
    build "$PROJECT" --file "$file" --build-arg BASE="$IMAGES-base" \
        --build-arg TOOLS="$IMAGES-builder:tools" --build-context deploy="$DEPLOY" \
        "$@" "$ROOT/$WHEELHOUSE"
}

image() {
    local commit revision='' version epoch=$epoch created=$created
    commit=${DEPLOY_COMMIT:-$(git -C "$ROOT" log -1 --format='%H %ct %cI' 2>/dev/null)} || commit=
    if [ -n "$commit" ]; then
        read -r revision epoch created <<<"$commit"
        [ "$revision" != - ] || revision= # verify.py has one word for each
        [ -n "${DEPLOY_COMMIT:-}" ] || [ -z "$(git -C "$ROOT" status --porcelain -- .)" ] ||
            revision=$revision-dirty
    fi
    version=$(sed -n 's/^[^#][^=]*==\([^ ]*\) .*/\1/p' "$ROOT/$WHEELHOUSE/app/requirements.txt" | tail -n 1)
    say "image: $IMAGES-run${TAG:+:$TAG}, which runs $COMMAND"
    # shellcheck disable=SC2154 # these come with the settings, or from pin.py
    run_image --tag "$IMAGES-run" ${TAG:+--tag "$IMAGES-run:$TAG"} \
        --build-arg SOURCE_DATE_EPOCH="$epoch" \
        --build-arg COMMAND --build-arg COMMANDS --build-arg PORT="$IMAGE_PORT" --build-arg HEALTH \
        --label "org.opencontainers.image.version=${TAG:-$version}" \
        --label "org.opencontainers.image.revision=$revision" \
        --label "org.opencontainers.image.created=$created" \
        --label "org.opencontainers.image.base.name=$BASE_IMAGE" \
        --label "org.opencontainers.image.base.digest=${pin#*@}"
}

# check: what the dependencies' layer asks of the system, once for each
check() {
    say "check: the image's libraries and imports"
    if [ -n "$checking" ] && wait "$checking"; then
        cat "$ROOT/.deploy/check.log"
    else
        "$HOST_PYTHON" "$DEPLOY/check.py" || die "check: the image will not do as it is (CHECK_IMAGE=no leaves this out)"
    fi
}

# What was named is done in that order, up to the goal at hand.
worked=
pruning=
making_tools=
checking=
# shellcheck disable=SC2154 # step, goal, by and what is said of the base image come with the settings
while true; do
    while [ $# -gt 0 ] && [ "$1" != "$goal" ]; do
        [ "$1" = "$worked" ] || [ -n "${QUIET:-}" ] || say "$1: nothing to do"
        shift
    done
    [ -n "$step" ] || break
    "$step"
    did=$step worked=$goal
    next=$("$HOST_PYTHON" -S "$DEPLOY/state.py" "done" "$did" "$by" "$@") || exit 1
    eval "$next"
    [ -z "$pruning" ] || wait "$pruning" || true
    pruning=
    [ "$step" != "$did" ] || die "$step: its inputs changed while it was made: run this again"
done
