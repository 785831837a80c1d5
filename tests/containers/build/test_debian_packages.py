"""Debian packages are those of the signed lists, whatever lies in apt's cache."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

import testbed
from tests.conftest import Project
from tests.containers.laptop import SESSION, Laptop
from tests.containers.workshop import Workshop

BASE = Path("deploy", "slipway", "image", "base")
# A file of the same name and size with another content in apt's cache; then apt.sh, twice.
POISONED = """\
set -eu
mkdir -p /var/cache/apt/archives
sh /mnt/apt.sh download /tmp/good media-types
name=$(basename /tmp/good/*.deb)
place=/var/cache/apt/archives/$name
cp /tmp/good/*.deb "$place"
printf X | dd of="$place" bs=1 seek=20000 conv=notrunc 2>/dev/null
[ "$(stat -c %s "$place")" = "$(stat -c %s /tmp/good/*.deb)" ]
if sh /mnt/apt.sh {role} >/tmp/said 2>&1; then
    cmp /tmp/good/*.deb "{folder}/$name" && echo it has the real one
fi
cat /tmp/said
rm -rf /tmp/new
sh /mnt/apt.sh {role}
cmp /tmp/good/*.deb "{folder}/$name"
echo the second time it has the real one
"""
# Each role, and where it has the package.
ROLES = {
    "fetch /tmp/new media-types": "/tmp/new",
    "download /tmp/new media-types": "/tmp/new",
    "build media-types": "/var/cache/apt/archives",
}


@pytest.mark.parametrize("role", ROLES)
def test_package_with_another_content_is_refused(greeter: Workshop, role: str) -> None:
    """It is removed, so that the next build downloads the real one; or apt does so by itself."""
    said = apt(greeter.laptop, greeter.project, POISONED.format(role=role, folder=ROLES[role]))
    refused = re.search(r"apt\.sh: media-types_\S+\.deb does not have the SHA-256 of the", said)
    assert refused or "it has the real one" in said
    assert "the second time it has the real one" in said


def apt(laptop: Laptop, project: Project, script: str) -> str:
    """Run a script beside apt.sh in a container of the base image, with a cache of its own."""
    words = ["run", "--rm", "--tmpfs", "/var/cache/apt", "--tmpfs", "/var/log"]
    for source, target in ((BASE, "/opt/base"), (Path("deploy", "ca"), "/opt/ca")):
        words += ["--mount", f"type=bind,source={project.path / source},target={target},readonly"]
    copy = "cp -r /opt/base/. /opt/ca /mnt\n"
    return laptop.docker(*words, testbed.BASE, "sh", "-c", copy + script)


def test_caches_are_not_those_of_another_dockerfile(greeter: Workshop, tmp_path: Path) -> None:
    """Docker names a cache by its path in the container, unless it has a name of its own."""
    laptop = greeter.laptop
    texts = [greeter.project.read(f"deploy/{name}.docker") for name in ("base", "build")]
    mounts = sorted(set(re.findall(r"--mount=type=cache\S+", "".join(texts))))
    assert len(mounts) == 3, mounts
    targets = [re.findall(r"target=([^,]+)", mount)[0] for mount in mounts]

    def build(options: list[str], script: str) -> str:
        run = f"RUN {' '.join(options)} echo {secrets.token_hex(4)}; {script}"
        (tmp_path / "Dockerfile").write_text(f"FROM {testbed.BASE}\n{run}\n", encoding="utf-8")
        words = ("docker", "build", "--progress", "plain", str(tmp_path))
        done = laptop.run(greeter.project, *words)
        assert done.returncode == 0, done.stdout
        return done.stdout.replace(script, "")

    unnamed = [f"--mount=type=cache,target={target}" for target in targets]
    build(unnamed, "; ".join(f"touch {target}/planted-{SESSION}" for target in targets))
    find = f"find {' '.join(targets)} -name planted-{SESSION}"
    assert build(unnamed, find).count(f"/planted-{SESSION}") == len(targets)
    assert f"/planted-{SESSION}" not in build(mounts, find)
