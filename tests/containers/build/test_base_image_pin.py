"""What everything starts from is pinned: a tag that moves changes nothing by itself."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator

import pytest

import testbed
from tests.conftest import Baker, Project
from tests.containers.laptop import SESSION, Laptop, OpenRegistry, write
from tests.containers.workshop import Workshop

TAG = f"start-{SESSION}:trixie"
ENVIRONMENT = r'ENV MOVED="a \"quoted\" \$word"'


@pytest.fixture(scope="module")
def other(laptop: Laptop) -> Iterator[str]:
    """The ID of an image that is another one than the usual base.

    It has a file /moved, and an environment of its own.
    """
    container = laptop.docker(
        "run", "--detach", testbed.BASE, "sh", "-c", "echo moved >/moved"
    ).strip()
    laptop.docker("wait", container)
    changed = laptop.docker("commit", "--change", ENVIRONMENT, container).strip()
    laptop.docker("rm", container)
    yield changed
    laptop.engine.succeeds("docker", "image", "rm", "--force", changed)


@pytest.fixture(scope="module")
def pinned(
    generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    """A project with a base image of its own, whose tag the tests move."""
    name = f"pinned-{SESSION}"
    laptop.docker("tag", testbed.BASE, TAG)
    project = generate(
        project=name, app="existing", python="CPython", native_deps=" ", base_image=TAG
    )
    write(project.path, {"requirements.in": "idna\n"})
    yield Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), {})
    laptop.engine.succeeds("docker", "image", "rm", TAG)


@pytest.fixture
def registry(laptop: Laptop) -> Iterator[OpenRegistry]:
    """A registry from which everybody may pull."""
    with OpenRegistry(laptop.engine) as found:
        yield found


def pins(workshop: Workshop) -> list[tuple[str, str]]:
    """Read base.lock: each image, and what it is pinned to."""
    return re.findall(
        r"^([^#\s]\S*) \S+ (\S+) 20\S+Z$", workshop.project.read("deploy/base.lock"), re.M
    )


def has_moved(workshop: Workshop) -> bool:
    """Return whether the project's base image was made from the other image."""
    return bool(workshop.laptop.runs(f"{workshop.name}-base", "cat /moved || true"))


def test_imported_image_is_pinned_by_what_it_is(pinned: Workshop, other: str) -> None:
    """The first `make base` pins it; another under its tag is refused until `make upgrade`."""
    docker = pinned.laptop.docker
    first = pinned.laptop.image_id(TAG)
    assert not pinned.project.has("deploy/base.lock")
    said = pinned.make("base")
    assert "wrote deploy/base.lock" in said
    assert "commit it" in said
    assert pins(pinned) == [(TAG, first)]
    lock = pinned.project.read("deploy/base.lock")
    assert pinned.has_nothing_to_do("base")

    docker("tag", other, TAG)
    said = pinned.make_fails("base")
    assert f"{TAG} here is {other}, but deploy/base.lock pins {first}" in said
    assert "make upgrade" in said
    assert pinned.project.read("deploy/base.lock") == lock
    assert not has_moved(pinned)

    said = pinned.make("upgrade")
    assert f"deploy/base.lock: {TAG} is {other}" in said
    assert pins(pinned) == [(TAG, other)]
    pinned.make("base")
    assert has_moved(pinned)


def test_run_image_has_the_base_images_environment_and_files(pinned: Workshop, other: str) -> None:
    """Though its layers begin anew, what somebody put into their own base image is there."""
    pinned.laptop.docker("tag", other, TAG)
    pinned.make("upgrade")
    pinned.make("image", "COMMAND=python --version")
    said = pinned.laptop.runs(f"{pinned.name}-run", 'cat /moved; echo "$MOVED"; echo "$PATH"')
    assert said.splitlines()[:2] == ["moved", 'a "quoted" $word']
    assert said.splitlines()[2].startswith("/appenv/bin:/usr/local/sbin:")


def test_image_of_a_registry_is_pinned_by_its_digest(
    pinned: Workshop, other: str, registry: OpenRegistry
) -> None:
    """The tag moves there and the image is gone here: the build starts from the pinned one."""
    docker = pinned.laptop.docker
    repository = f"{registry.address}/start-{SESSION}"
    name = f"{repository}:trixie"
    docker("tag", testbed.BASE, name)
    docker("push", "--quiet", name)
    pinned.make("base", f"BASE_IMAGE={name}")
    before, (image, pin) = pins(pinned)
    assert before[0] == TAG  # BASE_IMAGE may be that again
    assert image == name
    assert re.fullmatch(rf"{re.escape(repository)}@sha256:[0-9a-f]{{64}}", pin)
    assert not has_moved(pinned)

    docker("tag", other, name)
    docker("push", "--quiet", name)
    for gone in (pin, name, f"{pinned.name}-base"):
        docker("image", "rm", gone)
    pinned.make("base", f"BASE_IMAGE={name}")
    assert pins(pinned) == [before, (name, pin)]
    assert not has_moved(pinned)
    assert pinned.laptop.engine.has(pin)

    said = pinned.make("upgrade", f"BASE_IMAGE={name}")
    assert f"deploy/base.lock: {name} is {repository}@sha256:" in said
    assert pins(pinned)[0] == before
    assert pins(pinned)[1] != (name, pin)
    pinned.make("base", f"BASE_IMAGE={name}")
    assert has_moved(pinned)
    docker("image", "rm", pins(pinned)[1][1])
    for gone in (pin, name):
        pinned.laptop.engine.succeeds("docker", "image", "rm", gone)


CONTAINERD = '{"features": {"containerd-snapshotter": true}}'


def test_imported_image_works_on_the_containerd_image_store(
    pinned: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """That is what new engines have; each image there has a digest, though no registry has it."""
    laptop = pinned.laptop
    shared = tmp_path_factory.mktemp("shared")
    archive = shared / "base.tar"
    laptop.docker("save", "--output", str(archive), testbed.BASE)
    with testbed.Server(laptop.engine, shared=shared) as server:
        configure = 'mkdir -p /etc/docker && echo "$1" >/etc/docker/daemon.json'
        server.run("sh", "-c", configure, "sh", CONTAINERD)
        server.stop_engine()
        server.start_engine()
        engine = server.engine
        assert "containerd" in engine.run("docker", "info", "--format", "{{.DriverStatus}}")
        engine.run("docker", "load", "--input", str(archive))
        place = shared / "project"
        shutil.copytree(pinned.project.path, place, symlinks=True)
        for made in ("wheelhouse", ".deploy", "deploy/base.lock"):
            path = place / made
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        there = dataclasses.replace(
            pinned,
            laptop=dataclasses.replace(laptop, engine=engine),
            project=Project(place, pinned.project.output),
        )
        words = (f"BASE_IMAGE={testbed.BASE}", "COMMAND=python --version")
        said = there.make("image", *words)
        assert f"wrote deploy/base.lock: {testbed.BASE} is sha256:" in said
        assert "all modules import" in said
        assert there.answer.startswith("Python 3")
        assert "image: nothing to do" in there.make("image", *words)
