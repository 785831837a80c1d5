"""Building again and comparing: what the second build is told, and what is said of a difference."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from slipway.laptop.commands import verify
from slipway.laptop.docker import engine

from tests.conftest import Project
from tests.unit.conftest import copy_of_deploy, shell_script
from tests.unit.laptop.build.test_steps import PINNED, pinned, start

CREATED = "org.opencontainers.image.created"
REVISION = "org.opencontainers.image.revision"
STATUS = """\
Package: libc6
Status: install ok installed
Depends: libgcc-s1
Version: {libc}
Conffiles:
 /etc/ld.so.conf.d/x.conf d4e7a7b88a71b5ffd9e2644e71a0cfab
Description: GNU C Library
 Version: of a kind

Package: python3
Status: install ok installed
Version: 3.13.5-1
"""

# An image is a file with what the engine says of it and, beside it, its files. A container has the
# name of its image. The engine itself is the container tests' part.
DOCKER = """\
cd '{engine}' || exit 1
echo "$*" >>asked
case "$1 $2" in
"image inspect")
    shift 2
    list=
    for name; do
        read -r said 2>/dev/null <"$name" || {{
            echo "No such image: $name" >&2
            exit 1
        }}
        list="$list,$said"
    done
    echo "[${{list#,}}]"
    ;;
"create "*) echo "$2" ;;
"export "*) cat "$2.tar" ;;
esac
"""


class Engine:
    """A docker command with images of which each file is known."""

    def __init__(self, folder: Path) -> None:
        """Take a folder for the images."""
        self.folder = folder
        folder.mkdir()
        self.docker = str(shell_script(folder.parent / "docker", DOCKER.format(engine=folder)))

    def image(self, name: str, identity: str, layers: str = "", **files: str) -> None:
        """Let an image be there, with files by their names; a date may stand before a content."""
        labels = {CREATED: "2026-01-02T03:04:05Z", REVISION: "abc"}
        said: dict[str, Any] = {"Id": identity, "RootFS": {"Layers": [layers or identity]}}
        said["Config"] = {"Labels": labels}
        (self.folder / name).write_text(json.dumps(said) + "\n")
        with tarfile.open(self.folder / f"{name}.tar", "w") as archive:
            for path, text in files.items():
                date, _, content = text.rpartition("|")
                member = tarfile.TarInfo(path)
                member.size, member.mtime = len(content.encode()), int(date or 0)
                archive.addfile(member, io.BytesIO(content.encode()))

    def asked(self, word: str) -> list[str]:
        """Give what it was asked that begins with a word."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(f"{word} ")]

    def compare(self) -> list[str]:
        """Compare two images."""
        found: list[str] = verify.compare_images(self.docker, "one", "again")
        return found


@pytest.fixture
def images(tmp_path: Path) -> Engine:
    """An engine without an image."""
    return Engine(tmp_path / "engine")


@pytest.mark.parametrize(
    ("revision", "created", "commit"),
    [
        ("abc", "1970-01-01T00:01:00Z", "abc 60 1970-01-01T00:01:00Z"),
        ("abc-dirty", "1970-01-01T02:01:00+02:00", "abc-dirty 60 1970-01-01T02:01:00+02:00"),
        ("", "1970-01-01T00:01:00Z", "- 60 1970-01-01T00:01:00Z"),
    ],
)
def test_the_second_build_gets_what_the_labels_say(
    revision: str, created: str, commit: str
) -> None:
    """In the time zone of the commit; the second build is not asked what git says."""
    image = {"Config": {"Labels": {REVISION: revision, CREATED: created, "other": "x"}}}
    assert verify.stamps(image) == {"DEPLOY_COMMIT": commit}


def committed(project: Project) -> None:
    """Make the application a commit."""
    (project.path / ".gitignore").write_text("/wheelhouse/\n")
    who = ("-c", "user.name=me", "-c", "user.email=me@example")
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "x"]):
        done = project.run("git", *words, GIT_COMMITTER_DATE="2026-01-02T03:04:05+02:00")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("by", ["no git", "a commit", "an edit"])
def test_a_second_build_is_told_what_the_first_one_was(tmp_path: Path, by: str) -> None:
    """The image of an application without a commit is dated as its base is."""
    build = start(tmp_path)
    build.image(PINNED, "from")
    pinned(build)
    if by != "no git":
        committed(build.project)
    if by == "an edit":
        build.write("src/shop/__init__.py", "X = 1\n")
    build.finish()

    def told(**environment: str) -> dict[str, str]:
        (build.images / "shop-run").unlink()
        done = build.project.run("deploy/build.sh", **environment)
        assert done.returncode == 0, done.stdout
        words = (tmp_path / "built").read_text().splitlines()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        return {name: values[name] for name in (REVISION, CREATED, "SOURCE_DATE_EPOCH")}

    first = told()
    assert first[REVISION].endswith("-dirty") is (by == "an edit")
    assert bool(first[REVISION]) is (by != "no git")
    labels = {name: first[name] for name in (REVISION, CREATED)}
    assert told(**verify.stamps({"Config": {"Labels": labels}})) == first


def test_a_copy_is_what_a_clone_would_be(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's files and deploy/, the certificates and the pin among them."""
    for name in (
        *("requirements.txt", "src/shop/__init__.py", "deploy/base.lock", "deploy/ca/proxy.crt"),
        *("wheelhouse/python3/app/x.whl", ".deploy/state.json", ".git/HEAD", "appenv/x"),
        *("src/shop/__pycache__/x.pyc", "deploy/__pycache__/x.pyc"),
    ):
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (project.path / "src/link").symlink_to("../requirements.txt")
    monkeypatch.setattr(verify, "ROOT", project.path)
    monkeypatch.setattr(verify, "DEPLOY", project.path / "deploy")
    verify.copy_to(tmp_path / "again")
    copy = Project(tmp_path / "again", "")
    added = {name for name in copy.files() if not name.startswith("deploy/")}
    assert added == {"requirements.txt", "src/link", "src/shop/__init__.py"}
    assert os.readlink(copy.path / "src/link") == "../requirements.txt"
    ours = [name for name in project.files() if name.startswith("deploy/") and "cache" not in name]
    assert copy.files() == {name: project.files()[name] for name in (*ours, *added)}
    assert copy.has("deploy/base.lock")


def test_wheels_are_their_sums_by_part_and_name(tmp_path: Path) -> None:
    """Comments say for which lock and system they are, not what they are."""
    for part, lines in (
        ("deps", "# x\none==1 --hash=sha256:1\ntwo==2 --hash=sha256:2\n"),
        ("app", "#\n"),
    ):
        (tmp_path / part).mkdir()
        (tmp_path / part / "requirements.txt").write_text(lines)
    assert verify.wheels(tmp_path) == {"deps/one==1": "sha256:1", "deps/two==2": "sha256:2"}


def test_versions_are_read_from_the_list_of_debian_packages() -> None:
    """Whatever else stands in it."""
    found = verify.versions(STATUS.format(libc="2.41-12"))
    assert found == {"libc6": "2.41-12", "python3": "3.13.5-1"}
    assert verify.versions("") == {}


def test_a_package_without_a_version_has_not_that_of_the_next() -> None:
    """dpkg remembers some that are not installed, and the one after it is not lost."""
    status = f"Package: gone\nStatus: unknown ok not-installed\n\n{STATUS.format(libc='2.41-12')}"
    found = verify.versions(status)
    assert (found.get("gone"), found["libc6"]) == (None, "2.41-12")


def test_changes_are_what_differs_by_name() -> None:
    """What is on one side only is said as well."""
    assert verify.changes("wheel", {"a": "1", "b": "1"}, {"a": "1", "b": "1"}) == []
    assert verify.changes(
        "wheel", {"b": "1", "c": "1", "a": "1"}, {"b": "2", "d": "1", "a": "1"}
    ) == [
        "wheel b: 1 here, 2 again",
        "wheel c: 1 here, none again",
        "wheel d: none here, 1 again",
    ]


def test_images_of_one_id_are_the_same(images: Engine) -> None:
    """Nothing else is looked at."""
    images.image("one", "sha256:1")
    images.image("again", "sha256:1")
    assert images.compare() == []
    assert images.asked("create") == []


def test_images_that_differ_in_their_configuration_alone_are_told_so(images: Engine) -> None:
    """A label, or the date: no file is to be found then."""
    images.image("one", "sha256:1", "layers")
    images.image("again", "sha256:2", "layers")
    assert images.compare() == [
        "all layers are the same, the image's configuration is not",
    ]
    assert images.asked("create") == []


def test_packages_that_moved_are_named_and_not_their_files(images: Engine) -> None:
    """They explain all the rest."""
    files = {"bin/sh": "x", "var/lib/dpkg/status": STATUS.format(libc="2.41-12")}
    images.image("one", "sha256:1", **files)
    files = {"bin/sh": "y", "var/lib/dpkg/status": STATUS.format(libc="2.41-13")}
    images.image("again", "sha256:2", **files)
    assert images.compare() == [
        "package libc6: 2.41-12 here, 2.41-13 again",
        "Debian's packages moved since: make upgrade takes the base along",
    ]


def test_files_that_differ_are_named(images: Engine) -> None:
    """By content, date or being there, and no more than a screen of them."""
    same = {"same": "x", "var/lib/dpkg/status": STATUS.format(libc="1")}
    images.image("one", "sha256:1", **same, **{"content": "x", "date": "x", "here": ""})
    images.image("again", "sha256:2", **same, **{"content": "y", "date": "9|x", "there": ""})
    assert images.compare() == ["file /content", "file /date", "file /here", "file /there"]
    many = {f"{number:02}": "x" for number in range(verify.SHOWN + 3)}
    images.image("again", "sha256:2", **same, content="x", date="x", here="", **many)
    found = images.compare()
    assert found[: verify.SHOWN] == [f"file /{name}" for name in sorted(many)[: verify.SHOWN]]
    assert found[verify.SHOWN :] == ["and 3 more files"]


def test_images_of_the_same_files_differ_in_their_layers(images: Engine) -> None:
    """Something was written and removed again."""
    images.image("one", "sha256:1", same="x")
    images.image("again", "sha256:2", same="x")
    assert images.compare() == ["the same files are in layers with other traces"]


def test_what_the_engine_puts_into_a_container_is_no_difference(images: Engine) -> None:
    """It makes these for every container, dated when that was."""
    engines = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
    images.image("one", "sha256:1", same="x", **dict.fromkeys(engines, "1|"))
    images.image("again", "sha256:2", same="x", **dict.fromkeys(engines, "2|"))
    assert images.compare() == ["the same files are in layers with other traces"]


def test_the_files_of_an_image_are_described(images: Engine) -> None:
    """Mode, owner and a link's target are as much of it as its content."""
    images.image("one", "sha256:1")
    members: dict[str, dict[str, Any]] = {
        "program": {"mode": 0o755},
        "owned": {"uid": 10001, "gid": 10002},
        "link": {"type": tarfile.SYMTYPE, "linkname": "target"},
        "hard": {"type": tarfile.LNKTYPE, "linkname": "program"},
        "folder": {"type": tarfile.DIRTYPE, "mode": 0o1777},
    }
    with tarfile.open(images.folder / "one.tar", "w") as archive:
        for name, values in members.items():
            member = tarfile.TarInfo(name)
            for key, value in values.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(b""))
    found, packages = verify.contents(images.docker, "one")
    assert packages == ""
    assert sorted(found) == sorted(members)
    assert len({*found.values()}) == len(members)
    says = {"program": "0o755", "owned": "10001, 10002", "link": "target", "hard": "program"}
    assert all(word in found[name] for name, word in says.items())


def test_a_container_that_was_made_to_look_is_removed(images: Engine) -> None:
    """Also when its files cannot be had, which is said in a line."""
    images.image("one", "sha256:1", same="x")
    verify.contents(images.docker, "one")
    assert images.asked("rm") == ["rm --volumes one"]
    (images.folder / "one.tar").unlink()
    with pytest.raises(engine.EngineError):
        verify.contents(images.docker, "one")
    assert images.asked("rm") == ["rm --volumes one"] * 2


def test_an_image_that_is_gone_meanwhile_is_named(images: Engine) -> None:
    """One line, and no traceback."""
    images.image("one", "sha256:1")
    with pytest.raises(engine.EngineError, match="again is gone: run this again"):
        images.compare()


# What stands for both builds: the first has nothing to do, the second leaves wheels, and an image
# that the test keeps ready.
BUILD = """\
cd "$(dirname "$0")/.."
if [ -z "${{DEPLOY_IMAGES:-}}" ]; then
    [ ! -e '{engine}/broken here' ]
    exit
fi
env >'{engine}/environment'
ls -A >'{engine}/listing'
[ ! -e '{engine}/broken' ] || exit 1
mkdir -p wheelhouse
cp -R '{engine}/wheels' wheelhouse/python3
cp '{engine}/second' "{engine}/$DEPLOY_IMAGES-run"
cp '{engine}/second.tar' "{engine}/$DEPLOY_IMAGES-run.tar"
"""


class Verification:
    """A project whose image is there, and a second build that comes out as a test wants."""

    def __init__(self, folder: Path, images: Engine) -> None:
        """Take a folder for the project."""
        self.images = images
        self.project = copy_of_deploy(folder / "a place")
        settings = self.project.path / "deploy" / "settings.mk"
        settings.write_text(f"{settings.read_text()}DOCKER := {images.docker}\n")
        shell_script(self.project.path / "deploy/build.sh", BUILD.format(engine=images.folder))
        for part in ("deps", "app"):
            listing = images.folder / "wheels" / part / "requirements.txt"
            listing.parent.mkdir(parents=True)
            listing.write_text(f"# made\n{part}==1 --hash=sha256:1\n")
        shutil.copytree(images.folder / "wheels", self.project.path / "wheelhouse/python3")
        images.image("shop-run", "sha256:1", same="x")
        images.image("second", "sha256:1", same="x")

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run verify.py."""
        return subprocess.run(
            [sys.executable, "deploy/verify.py"],
            cwd=self.project.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )

    def told(self) -> dict[str, str]:
        """Give the environment of the second build."""
        lines = (self.images.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def verification(tmp_path: Path, images: Engine) -> Verification:
    """A project whose second build comes out the same."""
    return Verification(tmp_path, images)


def test_an_image_that_comes_out_the_same_is_said_to(verification: Verification) -> None:
    """With how much that was."""
    done = verification.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "verify: building again from nothing\n"
        "verify: 2 wheels and sha256:1 came out the same again\n"
    )


def test_the_second_build_is_made_from_nothing_beside_what_is_there(
    verification: Verification,
) -> None:
    """Under names of its own, without caches, in a copy without the wheels and the record."""
    verification.run()
    told = verification.told()
    name = told["DEPLOY_IMAGES"]
    assert name.startswith("shop-verify-")
    assert (told["DEPLOY_CACHE"], told["DEPLOY_NO_CACHE"]) == (name, "1")
    assert told["DEPLOY_COMMIT"] == "abc 1767323045 2026-01-02T03:04:05Z"
    assert (verification.images.folder / "listing").read_text().split() == ["deploy"]


def test_what_differs_is_said_and_is_a_failure(verification: Verification) -> None:
    """Wheels first, which explain the image's files."""
    listing = verification.images.folder / "wheels/app/requirements.txt"
    listing.write_text("app==1 --hash=sha256:2\n")
    verification.images.image("second", "sha256:2", same="y")
    done = verification.run()
    assert done.returncode == 1
    assert done.stderr == (
        "verify: wheel app/app==1: sha256:1 here, sha256:2 again\nverify: file /same\n"
    )


def removed(verification: Verification) -> list[str]:
    """Give what was asked to be removed."""
    asked = verification.images.asked("image") + verification.images.asked("volume")
    return [line for line in asked if line.split()[1] == "rm"]


@pytest.mark.parametrize("broken", [False, True])
def test_what_was_built_to_compare_is_removed(verification: Verification, broken: bool) -> None:
    """Also when it could not be built; what was here stays."""
    if broken:
        (verification.images.folder / "broken").touch()
    done = verification.run()
    assert ("it could not be built again; see above" in done.stderr) is broken
    assert "Traceback" not in done.stderr
    name = verification.told()["DEPLOY_IMAGES"]
    parts = ("-run", "-builder", "-builder:tools", "-base")
    assert removed(verification) == [
        f"image rm {' '.join(name + part for part in parts)}",
        f"volume rm {name}",
    ]


def test_what_cannot_be_built_here_is_not_built_again(verification: Verification) -> None:
    """The first build says why."""
    (verification.images.folder / "broken here").touch()
    done = verification.run()
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert not (verification.images.folder / "environment").exists()


def test_the_tag_of_what_was_built_to_compare_is_removed(verification: Verification) -> None:
    """`make verify TAG=1.4.0` gives the second image that tag as well."""
    verification.run(TAG="1.4.0")
    names = removed(verification)[0].split()
    assert f"{verification.told()['DEPLOY_IMAGES']}-run:1.4.0" in names


def test_without_an_image_there_is_nothing_to_compare(verification: Verification) -> None:
    """One line that says what to run."""
    (verification.images.folder / "shop-run").unlink()
    done = verification.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "verify.py: there is no image shop-run yet: run make image\n"


def test_an_engine_that_does_not_answer_is_said_in_a_line(verification: Verification) -> None:
    """And nothing is built."""
    stopped = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    stub = shell_script(verification.images.folder / "stopped", f"echo '{stopped}' >&2; exit 1")
    done = verification.run(DOCKER=str(stub))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the Docker engine does not answer: start it" in done.stderr
