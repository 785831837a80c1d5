#!/usr/bin/env bash
# build.sh [STEP]: make the run image, or everything up to STEP: base, builder, wheels, image.
# A step whose inputs have not changed is not done again; QUIET=1 leaves that unsaid.
# Works from anywhere, without make.
#
# state.py names the first step to do along with the settings, so that nothing to do costs little.
case ${1:-image} in
base | builder | wheels | image) SETTINGS_BY="state.py plan ${1:-image}" ;;
*)
    echo "build.sh: there is no step $1: use base, builder, wheels or image" >&2
    exit 1
    ;;
esac
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

need_buildx() {
    is_podman || docker buildx version >/dev/null 2>&1 ||
        die "$DOCKER has no buildx: install it (Debian: docker-buildx, elsewhere docker-buildx-plugin)"
}

# build TITLE ARGUMENT…: docker build, which leaves the image that had TITLE before without a name;
# that one is removed
build() {
    local title=$1 context arguments=() name said log=$ROOT/.deploy/build.log
    shift
    # A builder in a container of its own does not see local images; the engine's own does.
    context=$(docker context show 2>/dev/null) && export BUILDX_BUILDER=$context
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
    docker image prune --force --filter "label=org.opencontainers.image.title=$title" >/dev/null || true
}

base() {
    local packages
    # shellcheck disable=SC2086 # NATIVE is words
    packages=$(python3 "$DEPLOY/native.py" run $NATIVE)
    say "base: $PYTHON on $BASE_IMAGE${NATIVE:+, with $NATIVE}"
    docker image inspect "$BASE_IMAGE" >/dev/null 2>&1 ||
        docker pull --quiet ${platform[@]+"${platform[@]}"} "$BASE_IMAGE" >/dev/null ||
        die "base: $BASE_IMAGE is neither here nor to be pulled: change BASE_IMAGE in deploy/settings.mk"
    build "$PROJECT-base" --tag "$PROJECT-base" --file "$DEPLOY/base.docker" \
        --build-arg BASE_IMAGE --build-arg PYTHON --build-arg RUN_PACKAGES="$packages" "$DEPLOY"
}

builder() {
    local packages
    # shellcheck disable=SC2086
    packages=$(python3 "$DEPLOY/native.py" build $NATIVE)
    say "builder: the base with compiler, headers and pip"
    PIP_CONF=$(python3 "$DEPLOY/network.py" pip-conf)
    export PIP_CONF
    build "$PROJECT-builder" --tag "$PROJECT-builder" --file "$DEPLOY/build.docker" \
        --build-arg BASE="$PROJECT-base" --build-arg PYTHON --build-arg BUILD_PACKAGES="$packages" \
        --secret id=pip.conf,env=PIP_CONF "$DEPLOY"
}

wheels() {
    local status=0
    say "wheels: into $WHEELHOUSE"
    run_builder wheels --locked || status=$?
    # 3: there is no lock for this interpreter yet
    if [ "$status" -eq 3 ]; then
        "$DEPLOY/lock.sh"
        status=0
        run_builder wheels --locked || status=$?
    fi
    [ "$status" -eq 0 ] || die "wheels: not built; what was in $WHEELHOUSE before is untouched"
}

image() {
    local revision created version from file=$DEPLOY/run.docker
    revision=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null) || revision=
    if [ -n "$revision" ] && [ -n "$(git -C "$ROOT" status --porcelain -- .)" ]; then
        revision=$revision-dirty
    fi
    created=$(git -C "$ROOT" show --no-patch --format=%cI HEAD 2>/dev/null) ||
        created=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    version=$(sed -n 's/^[^#][^=]*==\([^ ]*\) .*/\1/p' "$ROOT/$WHEELHOUSE/app/requirements.txt")
    from=$(docker image inspect --format '{{.Id}}' "$BASE_IMAGE")
    say "image: $PROJECT-run${TAG:+:$TAG}, which runs $COMMAND"
    if is_podman; then
        # podman's dockerfiles have no --start-interval
        sed 's/ --start-interval=[^ ]*//' "$file" >"$ROOT/.deploy/run.docker"
        file=$ROOT/.deploy/run.docker
    fi
    build "$PROJECT" --tag "$PROJECT-run" ${TAG:+--tag "$PROJECT-run:$TAG"} --file "$file" \
        --build-arg BASE="$PROJECT-base" --build-arg BUILDER="$PROJECT-builder" \
        --build-arg COMMAND --build-arg PORT="$IMAGE_PORT" --build-arg HEALTH \
        --build-arg VERSION="${TAG:-$version}" \
        --build-arg REVISION="$revision" --build-arg CREATED="$created" \
        --build-arg BASE_NAME="$BASE_IMAGE" --build-arg BASE_DIGEST="$from" \
        "$ROOT/$WHEELHOUSE"
}

goal=${1:-image}
# shellcheck disable=SC2154 # step comes with the settings
[ -n "$step" ] || [ -n "${QUIET:-}" ] || say "$goal: nothing to do"
while [ -n "$step" ]; do
    "$step"
    did=$step
    step=$(python3 "$DEPLOY/state.py" "done" "$did" "$goal")
    [ "$step" != "$did" ] || die "$step: its inputs changed while it was made: run this again"
done
