"""make verify: the variables of the second build, and the report about differences."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from slipway.laptop import console
from slipway.laptop.building import pipeline
from slipway.laptop.building.base_image_pin import Pin
from slipway.laptop.building.images import Images
from slipway.laptop.commands import verify
from slipway.laptop.docker import engine
from slipway.laptop.settings import load as settings
from slipway.shared import dpkg_status
from tests.conftest import Project
from tests.unit.conftest import SETTINGS, shell_script

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

# An image is a file that `docker image inspect` prints, with an archive of its files next to it. A
# container has its image's name. The container tests use a real engine.
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
    """A docker command and images whose files a test chooses."""

    def __init__(self, folder: Path) -> None:
        """Write the command; the images are files in a folder."""
        self.folder = folder
        folder.mkdir()
        self.docker = str(shell_script(folder.parent / "docker", DOCKER.format(engine=folder)))

    def image(self, name: str, identity: str, layers: str = "", **files: str) -> None:
        """Make an image from the content of its files, each after a date and `|` if it has one."""
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
        """Return the command lines that begin with a word."""
        path = self.folder / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(f"{word} ")]

    def compare(self) -> list[str]:
        """Return the differences between two images."""
        return verify.compare_images(self.docker, "one", "again")


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
def test_the_second_build_gets_the_commit_and_time_of_the_labels(
    revision: str, created: str, commit: str
) -> None:
    """In the time zone of the commit; the second build does not ask git."""
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
def test_the_second_image_gets_the_labels_of_the_first(
    project: Project, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Commit and times; without a commit the base image's date counts."""
    (project.path / "app.py").touch()
    if by != "no git":
        committed(project)
    if by == "an edit":
        (project.path / "app.py").write_text("X = 1\n")
    monkeypatch.setattr(pipeline, "ROOT", project.path)
    pin = Pin("debian:trixie-slim", "any", f"debian@sha256:{'a' * 64}", "2026-01-02T03:04:05Z")

    def built() -> dict[str, str]:
        words = Images(settings.resolve(SETTINGS, {})).run_image(pipeline.commit(pin), pin)
        values = dict(word.split("=", 1) for word in words if "=" in word)
        return {name: values[name] for name in (REVISION, CREATED, "SOURCE_DATE_EPOCH")}

    first = built()
    assert first[REVISION].endswith("-dirty") is (by == "an edit")
    assert bool(first[REVISION]) is (by != "no git")
    labels = {name: first[name] for name in (REVISION, CREATED)}
    for name, value in verify.stamps({"Config": {"Labels": labels}}).items():
        monkeypatch.setenv(name, value)
    shutil.rmtree(project.path / ".git", ignore_errors=True)
    assert built() == first


def test_a_copy_is_what_a_clone_would_be(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's files and deploy/, including the certificates and the base image's pin."""
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


def test_wheels_are_compared_by_their_checksums(tmp_path: Path) -> None:
    """Comments are about the lock and the system, which do not matter here."""
    for part, lines in (
        ("deps", "# x\none==1 --hash=sha256:1\ntwo==2 --hash=sha256:2\n"),
        ("app", "#\n"),
    ):
        (tmp_path / part).mkdir()
        (tmp_path / part / "requirements.txt").write_text(lines)
    assert verify.wheels(tmp_path) == {"deps/one==1": "sha256:1", "deps/two==2": "sha256:2"}


def test_versions_are_read_from_the_list_of_debian_packages() -> None:
    """Other fields are ignored."""
    found = dpkg_status.versions(STATUS.format(libc="2.41-12"))
    assert found == {"libc6": "2.41-12", "python3": "3.13.5-1"}
    assert dpkg_status.versions("") == {}


def test_a_package_without_a_version_does_not_get_that_of_the_next() -> None:
    """dpkg lists some packages that are not installed; the next entry is read all the same."""
    status = f"Package: gone\nStatus: unknown ok not-installed\n\n{STATUS.format(libc='2.41-12')}"
    found = dpkg_status.versions(status)
    assert (found.get("gone"), found["libc6"]) == (None, "2.41-12")


def test_changes_are_listed_by_name() -> None:
    """Entries of one side only are differences as well."""
    assert verify.changes("wheel", {"a": "1", "b": "1"}, {"a": "1", "b": "1"}) == []
    assert verify.changes(
        "wheel", {"b": "1", "c": "1", "a": "1"}, {"b": "2", "d": "1", "a": "1"}
    ) == [
        "wheel b: 1 here, 2 again",
        "wheel c: 1 here, none again",
        "wheel d: none here, 1 again",
    ]


def test_images_of_one_id_are_the_same(images: Engine) -> None:
    """Their files are not compared."""
    images.image("one", "sha256:1")
    images.image("again", "sha256:1")
    assert images.compare() == []
    assert images.asked("create") == []


def test_a_difference_in_the_configuration_alone_is_reported(images: Engine) -> None:
    """A label or the date, for example: no file differs then."""
    images.image("one", "sha256:1", "layers")
    images.image("again", "sha256:2", "layers")
    assert images.compare() == [
        "all layers are equal, but the image's configuration differs",
    ]
    assert images.asked("create") == []


def test_packages_with_newer_versions_are_listed_and_their_files_are_not(images: Engine) -> None:
    """They explain all other differences."""
    files = {"bin/sh": "x", "var/lib/dpkg/status": STATUS.format(libc="2.41-12")}
    images.image("one", "sha256:1", **files)
    files = {"bin/sh": "y", "var/lib/dpkg/status": STATUS.format(libc="2.41-13")}
    images.image("again", "sha256:2", **files)
    assert images.compare() == [
        "package libc6: 2.41-12 here, 2.41-13 again",
        "Debian has newer packages by now: make upgrade moves the base image as well",
    ]


def test_files_that_differ_are_listed(images: Engine) -> None:
    """A content, a date or a missing file is a difference; the list ends after a screen."""
    same = {"same": "x", "var/lib/dpkg/status": STATUS.format(libc="1")}
    images.image("one", "sha256:1", **same, **{"content": "x", "date": "x", "here": ""})
    images.image("again", "sha256:2", **same, **{"content": "y", "date": "9|x", "there": ""})
    assert images.compare() == ["file /content", "file /date", "file /here", "file /there"]
    many = {f"{number:02}": "x" for number in range(verify.SHOWN + 3)}
    images.image("again", "sha256:2", **same, content="x", date="x", here="", **many)
    found = images.compare()
    assert found[: verify.SHOWN] == [f"file /{name}" for name in sorted(many)[: verify.SHOWN]]
    assert found[verify.SHOWN :] == ["and 3 more files"]


def test_equal_files_in_different_layers_are_reported(images: Engine) -> None:
    """A layer may contain a file that a later layer removes."""
    images.image("one", "sha256:1", same="x")
    images.image("again", "sha256:2", same="x")
    assert images.compare() == ["all files are equal, but the layers differ"]


def test_files_that_the_engine_adds_to_a_container_are_no_difference(images: Engine) -> None:
    """It makes these for every container, with the present time."""
    engines = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
    images.image("one", "sha256:1", same="x", **dict.fromkeys(engines, "1|"))
    images.image("again", "sha256:2", same="x", **dict.fromkeys(engines, "2|"))
    assert images.compare() == ["all files are equal, but the layers differ"]


def test_the_files_of_an_image_are_described(images: Engine) -> None:
    """Mode, owner and a link's target are compared like the content."""
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


def test_the_container_that_was_made_for_the_export_is_removed(images: Engine) -> None:
    """Even if its files cannot be exported, which is one message."""
    images.image("one", "sha256:1", same="x")
    verify.contents(images.docker, "one")
    assert images.asked("rm") == ["rm --volumes one"]
    (images.folder / "one.tar").unlink()
    with pytest.raises(engine.EngineError):
        verify.contents(images.docker, "one")
    assert images.asked("rm") == ["rm --volumes one"] * 2


def test_an_image_that_was_removed_meanwhile_is_named(images: Engine) -> None:
    """One message that says what to do."""
    images.image("one", "sha256:1")
    with pytest.raises(
        engine.EngineError, match="again was removed meanwhile: run make verify again"
    ):
        images.compare()


# The second build leaves wheels, and an image that the test keeps ready.
BUILD = """\
cd '{project}'
env >'{engine}/environment'
ls -A >'{engine}/listing'
[ ! -e '{engine}/broken' ] || exit 1
mkdir -p wheelhouse
cp -R '{engine}/wheels' wheelhouse/python3
cp '{engine}/second' "{engine}/$DEPLOY_IMAGES-run"
cp '{engine}/second.tar' "{engine}/$DEPLOY_IMAGES-run.tar"
"""
# Stands for the command line of the copy.
MAIN = """\
import pathlib, subprocess, sys
project = pathlib.Path(__file__).resolve().parents[2]
assert sys.argv[1:] == ["image"]
sys.exit(subprocess.call(["sh", "-ec", {script!r}.replace("{{project}}", str(project))]))
"""


class Verification:
    """A project whose image is up to date, and a second build whose result a test chooses."""

    def __init__(self, folder: Path, images: Engine, patch: pytest.MonkeyPatch) -> None:
        """Write the project, and replace its first build."""
        self.images = images
        self.patch = patch
        self.project = folder / "a place"
        self.built: list[list[str]] = []
        main = self.project / "deploy/slipway/__main__.py"
        main.parent.mkdir(parents=True)
        script = BUILD.replace("{engine}", str(images.folder))
        main.write_text(MAIN.format(script=script))
        for part in ("deps", "app"):
            listing = images.folder / "wheels" / part / "requirements.txt"
            listing.parent.mkdir(parents=True)
            listing.write_text(f"# made\n{part}==1 --hash=sha256:1\n")
        shutil.copytree(images.folder / "wheels", self.project / "wheelhouse/python3")
        images.image("shop-run", "sha256:1", same="x")
        images.image("second", "sha256:1", same="x")
        patch.setattr(verify, "ROOT", self.project)
        patch.setattr(verify, "DEPLOY", self.project / "deploy")
        patch.setattr(pipeline, "make", lambda _, goals: self.built.append(goals))

    def run(self, **variables: str) -> int:
        """Run the command, with variables as on make's command line; return its exit status."""
        typed = {"DOCKER": self.images.docker, **variables}
        found = settings.resolve(SETTINGS, typed)
        self.patch.setattr(verify, "load", lambda: found)
        return verify.run("verify", [])

    def variables(self) -> dict[str, str]:
        """Return the environment of the second build."""
        lines = (self.images.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def verification(tmp_path: Path, images: Engine, monkeypatch: pytest.MonkeyPatch) -> Verification:
    """A project whose second build is equal to the first."""
    return Verification(tmp_path, images, monkeypatch)


def test_an_equal_image_is_reported(
    verification: Verification, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what was compared."""
    assert verification.run() == 0
    assert verification.built == [["image"]]
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out == (
        "slipway: verify: building again from nothing\n"
        "slipway: verify: 2 wheels and sha256:1 came out the same again\n"
    )


def test_the_second_build_is_made_from_nothing_next_to_the_first(
    verification: Verification,
) -> None:
    """Under names of its own, without caches, in a copy without the wheels and the record."""
    verification.run()
    variables = verification.variables()
    name = variables["DEPLOY_IMAGES"]
    assert name.startswith("shop-verify-")
    assert (variables["DEPLOY_CACHE"], variables["DEPLOY_NO_CACHE"]) == (name, "1")
    assert variables["DEPLOY_COMMIT"] == "abc 1767323045 2026-01-02T03:04:05Z"
    assert (verification.images.folder / "listing").read_text().split() == ["deploy"]


def test_differences_are_listed_and_are_a_failure(
    verification: Verification, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wheels come first, since they explain the files of the image."""
    listing = verification.images.folder / "wheels/app/requirements.txt"
    listing.write_text("app==1 --hash=sha256:2\n")
    verification.images.image("second", "sha256:2", same="y")
    assert verification.run() == 1
    assert capfd.readouterr().err == (
        "slipway: verify: wheel app/app==1: sha256:1 here, sha256:2 again\n"
        "slipway: verify: file /same\n"
    )


def removed(verification: Verification) -> list[str]:
    """Return docker's command lines that remove something."""
    asked = verification.images.asked("image") + verification.images.asked("volume")
    return [line for line in asked if line.split()[1] == "rm"]


@pytest.mark.parametrize("broken", [False, True])
def test_the_second_build_is_removed(verification: Verification, broken: bool) -> None:
    """Even if it failed; the first build stays."""
    if broken:
        (verification.images.folder / "broken").touch()
        with pytest.raises(console.Failed, match="could not be built again; see above"):
            verification.run()
    else:
        verification.run()
    name = verification.variables()["DEPLOY_IMAGES"]
    parts = ("-run", "-builder", "-builder:tools", "-base")
    assert removed(verification) == [
        f"image rm {' '.join(name + part for part in parts)}",
        f"volume rm {name} {name}-sandbox",
    ]


def test_an_image_that_cannot_be_built_is_not_built_again(
    verification: Verification, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first build reports why."""

    def make(*_: object) -> None:
        raise console.Failed("no base")

    verification.patch.setattr(pipeline, "make", make)
    with pytest.raises(console.Failed, match="no base"):
        verification.run()
    assert capfd.readouterr().out == ""
    assert not (verification.images.folder / "environment").exists()


def test_the_tag_of_the_second_build_is_removed(verification: Verification) -> None:
    """`make verify TAG=1.4.0` gives the second image that tag as well."""
    verification.run(TAG="1.4.0")
    names = removed(verification)[0].split()
    assert f"{verification.variables()['DEPLOY_IMAGES']}-run:1.4.0" in names


def test_without_an_image_there_is_nothing_to_compare(verification: Verification) -> None:
    """One line that says what to run."""
    (verification.images.folder / "shop-run").unlink()
    with pytest.raises(console.Failed, match=r"^there is no image shop-run yet: run make image$"):
        verification.run()


def test_an_engine_that_does_not_answer_is_reported(verification: Verification) -> None:
    """Nothing is built."""
    stopped = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    stub = shell_script(verification.images.folder / "stopped", f"echo '{stopped}' >&2; exit 1")
    with pytest.raises(engine.EngineError, match="the Docker engine does not answer: start it"):
        verification.run(DOCKER=str(stub))
    assert not (verification.images.folder / "environment").exists()


def test_a_dry_run_prints_the_command_lines_and_runs_none(
    verification: Verification, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first build prints its own; then come the copy, its build, and their removal."""
    verification.run(DRY_RUN="1", SCM_VERSION="1.2")
    assert verification.built == [["image"]]
    said = capfd.readouterr().out.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in said if not line.startswith("#")]
    docker = verification.images.docker
    assert [words[:2] for words in commands if words[0] == docker] == [
        [docker, "image"],
        [docker, "image"],
        [docker, "volume"],
    ]
    copy, clean, build, *_, end = commands
    folder = copy[-1]
    assert copy == ["cp", "-R", str(verification.project), folder]
    assert f"{folder}/wheelhouse" in clean
    assert build[-3:] == ["python3", f"{folder}/deploy/slipway", "image"]
    assert {"DEPLOY_NO_CACHE=1", "SCM_VERSION=1.2"} <= {*build}
    assert end == ["rm", "-rf", folder]
    assert verification.images.asked("image") == []
    assert not Path(folder).exists()
