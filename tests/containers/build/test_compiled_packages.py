"""What is built from source is built once, and by the back end that the lock pins."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Baker
from tests.containers.laptop import SESSION, Laptop, write
from tests.containers.package_index import back_end, index_of, sdist, serving
from tests.containers.workshop import COMPILED, Workshop


def test_compiled_package_takes_the_compiler(compiled: Workshop) -> None:
    """The builder is made for it, and the run image has the extension module without the rest."""
    assert compiled.laptop.engine.has(f"{compiled.name}-builder")
    find = "find /appenv/lib/python3*/site-packages/markupsafe -name '_speedups*'"
    assert ".so" in compiled.laptop.runs(f"{compiled.name}-run", find)
    assert not compiled.laptop.runs(f"{compiled.name}-run", "command -v gcc || true")


def test_what_a_wheel_wants_of_the_base_system_is_there_and_no_more(compiled: Workshop) -> None:
    """The C++ library, which greenlet was linked with, and none of the rare character sets."""
    image = f"{compiled.name}-run"
    script = "find /usr/lib -name 'libstdc++.so.*' -o -name 'KOI8-R.so' -o -name 'UTF-16.so'"
    found = {Path(line).name for line in compiled.laptop.runs(image, script).split()}
    assert "libstdc++.so.6" in found
    assert "UTF-16.so" in found
    assert "KOI8-R.so" not in found
    assert "Package: libstdc++6" in compiled.laptop.runs(image, "cat /var/lib/dpkg/status")


def test_another_dependency_compiles_that_one_alone(compiled: Workshop) -> None:
    """What is built is kept, whatever else the lock has; one less builds nothing."""
    more = f"{COMPILED}wrapt\n--no-binary wrapt\n"
    write(compiled.project.path, {"requirements.in": more})
    compiled.make("lock")
    assert compiled.compiled("wheels") == {"wrapt"}
    assert any("deps/wrapt-" in name for name in compiled.wheels())

    write(compiled.project.path, {"requirements.in": COMPILED})
    compiled.make("lock")
    assert compiled.compiled("wheels") == set()
    assert not any("wrapt" in name for name in compiled.wheels())
    assert compiled.is_whole()


def test_another_builder_compiles_nothing(compiled: Workshop) -> None:
    """A wheel is not of the image that it was made in."""
    compiled.make("wheels")
    before = compiled.wheels()
    builder = compiled.laptop.image_id(f"{compiled.name}-builder")
    for image in (f"{compiled.name}-builder", f"{compiled.name}-builder:tools"):
        compiled.laptop.docker("image", "rm", image)
    # any other input of the image will do
    name = "deploy/slipway/shared/network.py"
    text = compiled.project.read(name)
    write(compiled.project.path, {name: f"{text}\n# another builder\n"})
    assert compiled.compiled("wheels") == set()
    assert compiled.laptop.image_id(f"{compiled.name}-builder") not in ("", builder)
    assert compiled.wheels() == before
    write(compiled.project.path, {name: text})


def test_another_project_with_the_same_lock_compiles_nothing(
    compiled: Workshop, generate: Baker
) -> None:
    """What one project has built is there for the next on this machine."""
    name = f"same-lock-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="gunicorn", native_deps=" "
    )
    for file in ("requirements.in", "requirements.txt"):
        write(project.path, {file: compiled.project.read(file)})
    other = Workshop(compiled.laptop, project, name, compiled.logs, compiled.variables)
    assert other.compiled("wheels") == set()
    assert other.wheels().items() >= {
        (place, sum_) for place, sum_ in compiled.wheels().items() if place.endswith(".whl")
    }


@pytest.fixture
def caches(laptop: Laptop) -> Iterator[list[str]]:
    """Names of two caches that are empty, and are removed at the end."""
    names = [f"cache-{number}-{SESSION}" for number in (1, 2)]
    yield names
    for name in names:
        laptop.engine.succeeds("docker", "volume", "rm", name)


def generator(wheel: Path) -> str:
    """Return the back end that a wheel names as its generator."""
    with zipfile.ZipFile(wheel) as archive:
        [place] = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        text = archive.read(place).decode()
    [found] = re.findall(r"^Generator: (.*)$", text, re.M)
    return str(found)


def test_back_end_is_as_pinned_as_any_dependency(
    generate: Baker, laptop: Laptop, gateway: str, caches: list[str], tmp_path: Path
) -> None:
    """A newer one on the package index changes no wheel until `make upgrade`."""
    maker, made = f"maker{SESSION}", f"made{SESSION}"
    files = {**back_end(maker, "1.0"), **sdist(made, "1.0", maker)}
    name = f"back-end-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="say-it", native_deps=" "
    )
    write(project.path, {"requirements.in": f"{made}\n"})
    with serving(ThreadingHTTPServer((gateway, 0), index_of(files))) as port:
        variables = {
            "PIP_EXTRA_INDEX_URL": f"http://{gateway}:{port}/simple/",
            "PIP_TRUSTED_HOST": gateway,
        }
        old, new = (
            Workshop(laptop, project, name, tmp_path, {**variables, "DEPLOY_CACHE": cache})
            for cache in caches
        )
        old.make("lock")
        lock = project.read("requirements.txt")
        assert f'# To build what asks for ["{maker}"]:\n#   {maker}==1.0 --hash=sha256:' in lock
        old.make("image")
        assert old.answer == "made here"
        [wheel] = old.wheelhouse.glob("deps/*.whl")
        assert generator(wheel) == f"{maker} 1.0"

        files.update(back_end(maker, "2.0"))
        new.make("lock")
        assert project.read("requirements.txt") == lock
        wheel.unlink()
        new.make("wheels")
        assert generator(wheel) == f"{maker} 1.0"

        new.make("upgrade")
        assert f"#   {maker}==2.0 " in project.read("requirements.txt")
        new.make("wheels")
        assert generator(wheel) == f"{maker} 2.0"
