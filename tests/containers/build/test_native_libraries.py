"""C libraries that a package needs: named when they are missing, carried when they are named."""

from __future__ import annotations

import re

import pytest

import testbed
from slipway.shared.native import catalogue
from tests.conftest import Baker, Project
from tests.containers.laptop import SESSION, Laptop, write
from tests.containers.workshop import Workshop

LIBRARIES = catalogue.catalogue().libraries
RELEASES = ("bookworm", "trixie", "forky")
# built by pg_config, and loaded by ctypes when it runs
WANTED = "psycopg2\npython-magic\n--no-binary psycopg2\n"
LINE = "needs libpq (pg_config not found): add libpq to NATIVE in deploy/settings.mk, or run: make"


@pytest.mark.parametrize("release", RELEASES)
def test_every_package_of_the_catalogue_is_in_its_release(laptop: Laptop, release: str) -> None:
    """Of alternatives one is; and none is there that no release has."""
    image = f"debian:{release}-slim"
    testbed.provide(laptop.engine, image)
    names = {name for library in LIBRARIES for name in library.packages()}
    script = f"apt-get update -qq && apt-cache policy {' '.join(sorted(names))}"
    said = laptop.runs(image, script)
    there = set(re.findall(r"^(\S+):\n.*\n +Candidate: [^(\n]", said, re.M))
    missing = {
        f"{library.name}: {package}"
        for library in LIBRARIES
        for package in (*library.build, *library.run)
        if not there.intersection(package.split("|"))
    }
    assert not missing


@pytest.fixture(scope="module")
def needy(generate: Baker, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A project whose packages need two libraries, and whose NATIVE is empty."""
    name = f"native-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="python", native_deps=" "
    )
    write(project.path, {"requirements.in": WANTED})
    return Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), {})


def native_of(project: Project) -> str:
    """Return the library names of NATIVE in settings.mk."""
    [found] = re.findall(r"^NATIVE :=(.*)$", project.read("deploy/settings.mk"), re.M)
    return str(found).strip()


def test_failed_compile_becomes_one_line(needy: Workshop) -> None:
    """It names what is missing and the command to run; the compiler's output is not shown."""
    said = needy.make_fails("wheels")
    assert f"builder: psycopg2 {LINE} native ADD=libpq\n" in said
    assert "Traceback" not in said
    assert native_of(needy.project) == ""


def test_auto_builds_and_says_what_it_added(needy: Workshop) -> None:
    """The library to compile with, and the one that is only loaded when it runs."""
    said = needy.make("image", "NATIVE=auto")
    assert said.endswith("added to NATIVE in deploy/settings.mk: libpq magic\n")
    assert native_of(needy.project) == "libpq magic"
    assert "all libraries are there, and all modules import" in said
    use = "import magic, psycopg2; assert magic.from_buffer(b'%PDF-1.4')"
    needy.laptop.runs(f"{needy.name}-run", f'python -c "{use}"')
    assert needy.has_nothing_to_do("image")


def test_library_that_is_taken_away_is_missed(needy: Workshop) -> None:
    """Before it is shipped: the wheel, the library, the package and the word; and one too many."""
    needy.edit("deploy/settings.mk", "libpq magic", "build:libpq-dev xslt apt:libaio-dev")
    said = needy.make_fails("image")
    assert re.search(
        r"^slipway: (check: )?psycopg2-\S+ needs libpq"
        r" \(not in the image: libpq\.so\.5 of Debian's libpq5\):"
        r" add libpq to NATIVE in deploy/settings\.mk, or run: make native ADD=libpq$",
        said,
        re.M,
    )
    assert re.search(
        r"^slipway: (check: )?python_magic-\S+\.whl needs magic .*make native ADD=magic$",
        said,
        re.M,
    )
    assert "nothing in the image needs xslt: you may remove it from NATIVE" in said
    assert needy.laptop.runs(f"{needy.name}-run", "ls /usr/lib/*/libaio.so.1*")


def test_wheel_of_another_interpreter_is_refused(needy: Workshop) -> None:
    """A wheelhouse that was made for another ABI does not get into an image."""
    [wheel] = needy.wheelhouse.glob("deps/psycopg2-*.whl")
    other = wheel.with_name(wheel.name.replace("cp313-cp313", "pp311-pypy311_pp73"))
    wheel.rename(other)
    install = "/opt/builder/bin/python -m slipway.image.run.install_wheelhouse /mnt"
    image = f"{needy.name}-builder:tools"
    deps = needy.wheelhouse / "deps"
    try:
        done = needy.laptop.run(
            needy.project,
            *("docker", "run", "--rm", "--entrypoint", "sh"),
            *("--mount", f"type=bind,source={deps},target=/mnt,readonly", image, "-c", install),
        )
    finally:
        other.rename(wheel)
    assert done.returncode == 1
    assert f"install: {other.name} is not for CPython 3.13" in done.stdout
    assert "run make wheels" in done.stdout


def test_package_that_pypy_cannot_run_is_reported_when_it_is_locked(
    generate: Baker, laptop: Laptop
) -> None:
    """The message names what to use instead, and comes before anything is compiled."""
    # the libraries of the sample: what its base image was built of is in the engine's cache
    name, libraries = f"native-pypy-{SESSION}", "openssl libffi"
    project = generate(project=name, app="existing", python="PyPy", native_deps=libraries)
    write(project.path, {"requirements.in": "psycopg2\n"})
    said = laptop.make_fails(project, "lock")
    assert "psycopg2 does not work on PyPy: use psycopg or psycopg2cffi instead" in said
    assert "building" not in said


def in_release(needy: Workshop, release: str, *words: str) -> str:
    """Run a release's shell with the project's deploy/ at /mnt, and return its output."""
    image = f"debian:{release}-slim"
    testbed.provide(needy.laptop.engine, image)
    deploy = needy.project.path / "deploy"
    mount = f'type=bind,"source={deploy}",target=/mnt,readonly'
    return needy.laptop.docker("run", "--rm", "--mount", mount, image, "sh", *words)


@pytest.mark.parametrize("release", RELEASES)
def test_package_of_a_header_is_found(needy: Workshop, release: str) -> None:
    """What the catalogue does not have, the release's own lists of contents have."""
    wanted = "usr/include/([^ ]*/)?libaio[.]h"
    found = in_release(needy, release, "/mnt/slipway/image/base/apt.sh", "find", wanted)
    assert re.search(r"^usr/include/libaio\.h\s+libdevel/libaio-dev$", found, re.M)


# As the base is made; in between, what other machines' builds leave in a cache that is everybody's.
FETCH = """\
set -e
sh /mnt/slipway/image/base/apt.sh fetch /tmp/first python3 'libssl3t64|libssl3'
for file in /tmp/first/*.deb; do
    name=${file##*/}
    touch "/var/cache/apt/archives/${name%_*}_other.deb"
done
sh /mnt/slipway/image/base/apt.sh fetch /tmp/again python3 'libssl3t64|libssl3'
rm -r /var/lib/apt/lists/* /var/cache/apt/*
ls /tmp/first; echo; ls /tmp/again
sh /mnt/slipway/image/base/apt.sh install /tmp/again
python3 -c 'import ssl; print(ssl.OPENSSL_VERSION)'
"""


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_fetched_is_all_that_it_takes(needy: Workshop, release: str) -> None:
    """It is installed without a look at lists or network, and nothing else is."""
    said = in_release(needy, release, "-c", FETCH)
    first, again, version = re.split(r"\n\n|\n(?=OpenSSL)", said.strip())
    assert first == again
    assert re.search(r"^python3_[^ ]*[.]deb$", again, re.M)
    assert version.startswith("OpenSSL 3.")
