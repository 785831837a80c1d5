"""What BASE_IMAGE stands for: pinned once, kept whatever its name stands for by then, and moved."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path

import pytest

from slipway.laptop import console
from slipway.laptop.building import base_image_pin
from slipway.laptop.building.base_image_pin import Pin
from slipway.laptop.settings import load
from tests.conftest import Project
from tests.unit.conftest import SETTINGS, copy_of_deploy, shell_script, stand_in

NAME = "debian:trixie-slim"
ONE, OTHER, THIRD = (f"sha256:{digit * 64}" for digit in "123")
DAY, ANOTHER_DAY = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"

# Images are files: those that are here, and by platform those that a pull brings. The engine itself
# is the container tests' part.
DOCKER = """\
cd '{engine}' || exit 1
echo "$*" >>asked
case $1 in
version) cat platform ;;
image)
    shift 2
    list=
    for name; do
        file=here/$name
        # what came by its tag is found by its digest
        case $name in
        *@*) [ -f "$file" ] || file=$(grep -rlF "\\"$name\\"" here | head -n 1) ;;
        esac
        read -r said 2>/dev/null <"$file" || {{
            echo "Error response from daemon: No such image: $name" >&2
            exit 1
        }}
        list="$list,$said"
    done
    echo "[${{list#,}}]"
    ;;
pull)
    platform=$(cat platform)
    [ "$3" != --platform ] || platform=$4
    shift $(($# - 1))
    [ -f "there/$platform/$1" ] || {{
        echo "Error response from daemon: manifest for $1 not found" >&2
        exit 1
    }}
    mkdir -p "$(dirname "here/$1")"
    cp "there/$platform/$1" "here/$1"
    ;;
*) exit 1 ;;
esac
"""


def image(identity: str = ONE, platform: str = "linux/amd64", *digests: str) -> dict[str, object]:
    """Return what the engine says of an image."""
    system, architecture, *variant = platform.split("/")
    said: dict[str, object] = {"Id": identity, "Os": system, "Architecture": architecture}
    return {**said, "Variant": "".join(variant), "RepoDigests": list(digests)}


class Pinning:
    """A project, an engine and a registry."""

    def __init__(self, folder: Path) -> None:
        """Use an empty folder."""
        self.project: Project = copy_of_deploy(folder / "a place")
        self.lock = self.project.path / "deploy" / "base.lock"
        self.engine = folder / "engine"
        self.engine.mkdir()
        (self.engine / "platform").write_text("linux/amd64\n")
        stub = shell_script(folder / "docker", DOCKER.format(engine=self.engine))
        self.set(f"DOCKER := {stub}")

    def set(self, line: str) -> None:
        """Add a line to the settings."""
        path = self.project.path / "deploy" / "settings.mk"
        text = path.read_text() if path.exists() else SETTINGS
        path.write_text(f"{text}{line}\n")

    def has(self, said: dict[str, object], name: str = NAME) -> None:
        """Write an image."""
        self._write("here", name, said)

    def offers(self, said: dict[str, object], name: str = NAME, platform: str = "") -> None:
        """Write an image of the registry, for one platform."""
        self._write(f"there/{platform or 'linux/amd64'}", name, said)

    def _write(self, folder: str, name: str, said: dict[str, object]) -> None:
        path = self.engine / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said) + "\n")

    def pulls(self) -> list[str]:
        """Return what was pulled, with the options."""
        asked = (self.engine / "asked").read_text().splitlines()
        return [line.removeprefix("pull --quiet ") for line in asked if line.startswith("pull ")]

    def run(self, *words: str, **environment: str) -> tuple[Pin | None, str]:
        """Pin or upgrade the base image; return the pin, if all went well, and standard error."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
            stand_in(patch, self.project.path)
            for name, value in environment.items():
                patch.setenv(name, value)
            work = base_image_pin.upgrade if words == ("upgrade",) else base_image_pin.get
            try:
                return work(load.load()), said.getvalue()
            except console.Failed as problem:
                return None, f"{said.getvalue()}slipway: {problem}\n"

    def get(self, *words: str, **environment: str) -> dict[str, str]:
        """Return what a build starts from, which must go well."""
        pin, said = self.run(*words, **environment)
        assert pin is not None, said
        return {"from": pin.reference, "epoch": str(pin.epoch), "created": pin.date}

    def fail(self, *words: str, **environment: str) -> str:
        """Run it, which must end in one line on standard error."""
        pin, said = self.run(*words, **environment)
        assert pin is None
        assert said.startswith("slipway: ")
        assert said.count("\n") == 1, said
        return said

    def pins(self) -> list[str]:
        """Return the lines of base.lock that are pins."""
        lines = self.lock.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not line.startswith("#")]

    def pin(self, *lines: str) -> None:
        """Write base.lock."""
        self.lock.write_text("".join(f"{line}\n" for line in ("# a comment", "", *lines)))


@pytest.fixture
def pinning(tmp_path: Path) -> Pinning:
    """A project whose base image is pinned nowhere."""
    return Pinning(tmp_path)


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("debian", "debian"),
        ("debian:trixie-slim", "debian"),
        ("team/debian:12", "team/debian"),
        ("h.example:5000/a/b", "h.example:5000/a/b"),
        ("h.example:5000/a/b:1.0", "h.example:5000/a/b"),
        (f"h.example:5000/b@{ONE}", "h.example:5000/b"),
        (f"h.example:5000/b:1.0@{ONE}", "h.example:5000/b"),
    ],
)
def test_a_repository_is_a_name_without_tag_and_digest(name: str, repository: str) -> None:
    """The port of a registry is no tag."""
    assert base_image_pin.repository(name) == repository


@pytest.mark.parametrize(
    ("has", "wanted", "fits"),
    [
        ("linux/amd64", "", True),
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v8", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm", False),
        ("linux/arm/v6", "linux/arm/v7", False),
    ],
)
def test_an_image_fits_its_platform(has: str, wanted: str, fits: bool) -> None:
    """The engine says arm64 where the image says arm64/v8, and the other way round."""
    assert base_image_pin.fits(image(ONE, has), wanted) is fits


def test_an_image_that_is_not_there_fits_nothing() -> None:
    """Not even any platform."""
    assert base_image_pin.fits(None, "") is False


@pytest.mark.parametrize("said", [{}, {"RepoDigests": None}, {"RepoDigests": []}])
def test_an_image_that_no_registry_gave_is_pinned_by_its_id(said: dict[str, object]) -> None:
    """For the platform that it is for."""
    arm64 = {"Id": ONE, "Os": "linux", "Architecture": "arm64"}
    found = base_image_pin.made("false", "mine", {**arm64, **said}, DAY, [])
    assert found == Pin("mine", "linux/arm64", ONE, DAY)
    assert found.reference == "mine"


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        (NAME, "debian"),
        ("h.example:5000/team/debian:1", "h.example:5000/team/debian"),
        ("h.example:5000/debian", "h.example:5000/debian"),
        (f"debian:trixie@{OTHER}", "debian"),
    ],
)
def test_a_digest_is_preferred_to_an_id(name: str, repository: str) -> None:
    """It can be had everywhere; that of another repository which has the same image is none."""
    digests = (f"mirror.example/{repository}@{ONE}", f"{repository}@{OTHER}")
    found = base_image_pin.made("false", name, image(ONE, "linux/amd64", *digests), DAY, [])
    assert found == Pin(name, "any", f"{repository}@{OTHER}", DAY)
    assert found.reference == f"{repository}@{OTHER}"
    foreign = image(ONE, "linux/amd64", digests[0])
    assert base_image_pin.made("false", name, foreign, DAY, []).pin == ONE


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (NAME, f"docker.io/library/debian@{OTHER}"),
        ("docker.io/library/debian:trixie-slim", f"debian@{OTHER}"),
        ("docker.io/team/debian:1", f"team/debian@{OTHER}"),
    ],
    ids=["podman", "docker", "an account's"],
)
def test_a_repository_of_the_hub_is_one_by_its_short_and_its_long_name(
    name: str, digest: str
) -> None:
    """Engines write the one or the other, whatever was asked for."""
    found = base_image_pin.made("false", name, image(ONE, "linux/amd64", digest), DAY, [])
    assert found.pin == digest


def test_a_date_is_that_of_its_seconds() -> None:
    """SOURCE_DATE_EPOCH in whatever time zone the laptop is."""
    assert Pin(NAME, "any", f"debian@{ONE}", "1970-01-02T00:00:01Z").epoch == 86401


def test_the_first_build_pins_what_is_here(pinning: Pinning) -> None:
    """The file says what it is; the line that is printed, what to do with it."""
    pinning.has(image(ONE, "linux/amd64", f"debian@{OTHER}"))
    pin, said = pinning.run()
    reference = f"debian@{OTHER}"
    assert said == f"slipway: wrote deploy/base.lock: {NAME} is {reference}: commit it\n"
    text = pinning.lock.read_text()
    assert text.startswith("# What BASE_IMAGE stands for; `make upgrade` moves it.")
    (line,) = pinning.pins()
    date = line.split()[-1]
    assert line == f"{NAME} any {reference} {date}"
    epoch = Pin(NAME, "any", reference, date).epoch
    again = pinning.get()
    assert again == {"from": reference, "epoch": str(epoch), "created": date}
    assert pinning.run() == (pin, "")
    assert pinning.pulls() == []


def test_an_image_that_is_not_here_is_pulled(pinning: Pinning) -> None:
    """For the engine's own platform."""
    pinning.offers(image(ONE, "linux/amd64", f"debian@{OTHER}"))
    assert pinning.get()["from"] == f"debian@{OTHER}"
    assert pinning.pulls() == [f"--platform linux/amd64 {NAME}"]


def test_the_pinned_image_is_pulled_by_its_digest(pinning: Pinning) -> None:
    """On another laptop, where the name stands for another one by now."""
    pinning.pin(f"{NAME} any debian@{ONE} {DAY}")
    pinning.has(image(OTHER, "linux/amd64", f"debian@{OTHER}"))
    pinning.offers(image(ONE, "linux/amd64", f"debian@{ONE}"), f"debian@{ONE}")
    pinned = pinning.get()
    assert (pinned["from"], pinned["created"]) == (f"debian@{ONE}", DAY)
    assert pinning.pulls() == [f"--platform linux/amd64 debian@{ONE}"]


def test_an_imported_image_of_the_containerd_store_is_pinned_by_its_id(pinning: Pinning) -> None:
    """That store gives each image a digest, which is its ID; the registry does not have it."""
    pinning.has(image(ONE, "linux/amd64", f"debian@{ONE}"))
    assert pinning.get()["from"] == NAME
    assert pinning.pins() == [f"{NAME} linux/amd64 {ONE} {pinning.get()['created']}"]
    pinning.offers(image(ONE, "linux/amd64", f"debian@{ONE}"), f"debian@{ONE}")
    assert pinning.get("upgrade")["from"] == f"debian@{ONE}"
    for path in (pinning.engine / "there").rglob("debian*"):
        path.unlink()
    assert pinning.get("upgrade")["from"] == f"debian@{ONE}", "the registry does not answer"


def test_an_image_for_another_platform_is_pulled_for_this_one(pinning: Pinning) -> None:
    """The same name, and the same digest, has an image for each."""
    pinning.has(image(ONE, "linux/amd64", f"debian@{OTHER}"))
    pinning.offers(image(THIRD, "linux/arm64/v8", f"debian@{OTHER}"), platform="linux/arm64")
    pinning.set("PLATFORM := linux/arm64")
    assert pinning.get()["from"] == f"debian@{OTHER}"
    assert pinning.pulls() == [f"--platform linux/arm64 {NAME}"]
    assert pinning.pins()[0].startswith(f"{NAME} any debian@{OTHER} ")


def test_an_image_for_the_engines_own_platform_is_not_pulled(pinning: Pinning) -> None:
    """An engine on an ARM machine says arm64, Debian's image arm64/v8."""
    (pinning.engine / "platform").write_text("linux/arm64\n")
    pinning.has(image(ONE, "linux/arm64/v8", f"debian@{OTHER}"))
    pinning.get()
    assert pinning.pulls() == []


def test_an_engine_that_does_not_say_its_platform_takes_what_is_here(pinning: Pinning) -> None:
    """That is podman; without an image it pulls its own platform's."""
    (pinning.engine / "platform").unlink()
    pinning.has(image(ONE, "linux/riscv64"))
    assert pinning.get()["from"] == NAME
    (pinning.engine / "here" / NAME).unlink()
    said = pinning.fail()
    assert f"{NAME} is not here and cannot be pulled" in said
    assert "  " not in said
    assert pinning.pulls() == [NAME]


def test_an_image_that_cannot_be_had_is_named_with_the_reason(pinning: Pinning) -> None:
    """And with the setting to change."""
    said = pinning.fail()
    assert f"{NAME} for linux/amd64 is not here and cannot be pulled" in said
    assert f"(Error response from daemon: manifest for {NAME} not found)" in said
    assert "change BASE_IMAGE in deploy/settings.mk" in said
    assert not pinning.lock.exists()


def test_an_image_for_no_such_platform_is_not_taken(pinning: Pinning) -> None:
    """A pull that says nothing and brings another one is no reason to build on that."""
    pinning.has(image(ONE, "linux/amd64"))
    pinning.offers(image(ONE, "linux/amd64"), platform="linux/arm64")
    assert f"{NAME} for linux/arm64 is not here" in pinning.fail(PLATFORM="linux/arm64")


def test_an_engine_that_does_not_answer_is_said_in_a_line(pinning: Pinning) -> None:
    """It is not taken for an image that is not there."""
    stopped = "Cannot connect to the Docker daemon. Is the docker daemon running?"
    stub = shell_script(pinning.engine / "stopped", f"echo '{stopped}' >&2; exit 1")
    assert "the Docker engine does not answer: start it" in pinning.fail(DOCKER=str(stub))


@pytest.mark.parametrize(
    "line", [f"{NAME} any debian@{OTHER} {DAY}", f"{NAME} linux/amd64 {ONE} {DAY}"]
)
def test_a_pin_that_holds_writes_nothing(pinning: Pinning, line: str) -> None:
    """The file is somebody's, with their comments, and in version control."""
    pinning.has(image(ONE, "linux/amd64", f"debian@{OTHER}"))
    pinning.pin(line)
    before = (pinning.lock.read_text(), pinning.lock.stat().st_ino)
    pin, said = pinning.run()
    assert said == ""
    assert pin is not None
    assert pin.date == DAY
    assert (pinning.lock.read_text(), pinning.lock.stat().st_ino) == before


def test_an_imported_image_that_changed_is_refused(pinning: Pinning) -> None:
    """Both are named, and how to take the new one; nothing is written."""
    pinning.has(image(OTHER))
    pinning.pin(f"{NAME} linux/amd64 {ONE} {DAY}")
    before = pinning.lock.read_text()
    assert pinning.fail() == (
        f"slipway: {NAME} here is {OTHER}, but deploy/base.lock pins {ONE}: load the pinned image,"
        " or move the pin with: make upgrade\n"
    )
    assert pinning.lock.read_text() == before
    pinning.get("upgrade")
    assert [line.split()[2] for line in pinning.pins()] == [OTHER]
    pinning.get()


def test_an_imported_image_is_pinned_for_each_platform(pinning: Pinning) -> None:
    """Its ID is another for each; moving one leaves the others."""
    pinning.has(image(ONE))
    arm = f"{NAME} linux/arm64 {OTHER} {ANOTHER_DAY}"
    pinning.pin(arm, f"another:1 linux/amd64 {OTHER} {DAY}")
    assert pinning.get()["from"] == NAME
    lines = pinning.pins()
    assert lines[0] == arm
    # that of another name stays: BASE_IMAGE may be it again
    assert lines[1] == f"another:1 linux/amd64 {OTHER} {DAY}"
    assert lines[2].startswith(f"{NAME} linux/amd64 {ONE} ")
    assert len(lines) == 3
    pinning.has(image(f"sha256:{'3' * 64}"))
    pinning.get("upgrade")
    assert [line.split()[1:3] for line in pinning.pins()] == [
        ["linux/arm64", OTHER],
        ["linux/amd64", OTHER],
        ["linux/amd64", f"sha256:{'3' * 64}"],
    ]


def test_a_digest_takes_the_place_of_ids(pinning: Pinning) -> None:
    """It holds for every platform."""
    pinning.pin(f"{NAME} linux/arm64 {OTHER} {DAY}", f"{NAME} linux/amd64 {ONE} {DAY}")
    pinning.offers(image(ONE, "linux/amd64", f"debian@{OTHER}"))
    pinning.get("upgrade")
    (line,) = pinning.pins()
    assert line.startswith(f"{NAME} any debian@{OTHER} ")


def test_an_id_takes_the_place_of_a_digest(pinning: Pinning) -> None:
    """Somebody imported an image by that name and asked for it with `make upgrade`."""
    pinning.pin(f"{NAME} any debian@{OTHER} {DAY}")
    pinning.has(image(ONE))
    assert pinning.get("upgrade")["from"] == NAME
    assert [line.split()[1:3] for line in pinning.pins()] == [["linux/amd64", ONE]]
    assert pinning.get()["from"] == NAME


def test_the_id_that_podman_gives_is_a_pin(pinning: Pinning) -> None:
    """It has no `sha256:` in front."""
    pinning.has(image("1" * 64))
    first = pinning.get()
    assert pinning.get() == first


@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< HEAD",
        f"{NAME} any debian@{ONE}",
        f"{NAME} any debian@{ONE} {DAY} more",
        f"{NAME} any debian@{ONE[:-1]} {DAY}",
        f"{NAME} any debian {DAY}",
        f"{NAME} any debian@{ONE} 2026-01-02",
        f"{NAME} any debian@{ONE} 2026-13-02T03:04:05Z",
    ],
)
def test_a_line_that_is_no_pin_is_named(pinning: Pinning, line: str) -> None:
    """With its number and what to do; `make upgrade` writes the file anew."""
    pinning.has(image())
    pinning.pin(f"{NAME} linux/arm64 {ONE} {DAY}", line)
    assert "deploy/base.lock, line 4, is not a pin: remove the file, then run make base" in (
        pinning.fail()
    )
    pinning.get("upgrade")
    assert [each.split()[2] for each in pinning.pins()] == [ONE]


def test_a_file_of_pins_that_is_no_text_is_said_in_a_line(pinning: Pinning) -> None:
    """An editor on Windows saved it as UTF-16."""
    pinning.has(image())
    pinning.lock.write_bytes(f"{NAME} linux/amd64 {ONE} {DAY}\n".encode("utf-16"))
    assert "deploy/base.lock" in pinning.fail()


def test_pins_that_an_editor_on_windows_saved_are_read(pinning: Pinning) -> None:
    """A byte order mark and carriage returns are no reason to stop; settings.mk may have them."""
    pinning.has(image())
    line = f"# a comment\r\n{NAME} linux/amd64 {ONE} {DAY}\r\n"
    pinning.lock.write_bytes(b"\xef\xbb\xbf" + line.encode())
    assert pinning.get()["created"] == DAY


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """And nothing is left beside it."""
    path = tmp_path / "base.lock"
    assert base_image_pin.read(path) == []
    pins = [
        Pin("h.example:5000/a/b:1", platform, sum_, date)
        for platform, sum_, date in (("linux/arm/v7", ONE, DAY), ("linux/amd64", OTHER, DAY))
    ]
    for each in pins:
        base_image_pin.write(each, path)
    assert base_image_pin.read(path) == pins
    everywhere = Pin("h.example:5000/a/b:1", "any", f"h.example:5000/a/b@{ONE}", ANOTHER_DAY)
    base_image_pin.write(everywhere, path)
    assert base_image_pin.read(path) == [everywhere]
    assert os.listdir(tmp_path) == ["base.lock"]


def test_a_pin_is_found_by_name_and_platform() -> None:
    """A digest holds for all platforms, an ID for its own."""
    everywhere = Pin(NAME, "any", f"debian@{ONE}", DAY)
    one = Pin("mine", "linux/amd64", ONE, DAY)
    other = Pin("mine", "linux/arm64/v8", OTHER, DAY)
    pins = [everywhere, one, other]
    assert base_image_pin.for_all(NAME, pins) == everywhere
    assert base_image_pin.for_all("mine", pins) is None
    assert base_image_pin.for_one("mine", image(), pins) == one
    assert base_image_pin.for_one("mine", image(OTHER, "linux/arm64/v8"), pins) == other
    assert base_image_pin.for_one("mine", image(OTHER, "linux/riscv64"), pins) is None
    assert base_image_pin.for_one("mine", None, pins) is None


def test_upgrade_pins_the_newest_image_as_of_now(pinning: Pinning) -> None:
    """The newest there is, though an older one is here."""
    pinning.pin(f"{NAME} any debian@{ONE} {DAY}")
    pinning.has(image(ONE, "linux/amd64", f"debian@{ONE}"))
    pinning.offers(image(THIRD, "linux/amd64", f"debian@{OTHER}"))
    _, said = pinning.run("upgrade")
    ((_, _, reference, date),) = (line.split() for line in pinning.pins())
    assert reference == f"debian@{OTHER}"
    assert date > DAY
    assert said == f"slipway: deploy/base.lock: {NAME} is {reference}, as of {date}\n"
    assert pinning.get() == {
        "from": reference,
        "epoch": str(Pin(NAME, "any", reference, date).epoch),
        "created": date,
    }


def test_upgrade_moves_the_date_though_the_image_is_the_newest(pinning: Pinning) -> None:
    """Debian's packages may have moved."""
    pinning.pin(f"{NAME} any debian@{ONE} {DAY}")
    newest = image(ONE, "linux/amd64", f"debian@{ONE}")
    pinning.has(newest)
    pinning.offers(newest)
    assert pinning.get("upgrade")["created"] > DAY


def test_upgrade_says_when_nothing_could_be_pulled(pinning: Pinning) -> None:
    """The image that is here is pinned, with the Debian packages of this moment."""
    pinning.pin(f"{NAME} any debian@{ONE} {DAY}")
    pinning.has(image(THIRD, "linux/amd64", f"debian@{ONE}"))
    _, said = pinning.run("upgrade")
    stays, now = said.splitlines()
    assert stays == (
        f"slipway: {NAME} stays the one that is here"
        f" (Error response from daemon: manifest for {NAME} not found)"
    )
    assert f"{NAME} is debian@{ONE}, as of " in now
    assert pinning.get()["created"] > DAY


def test_upgrade_without_any_image_changes_nothing(pinning: Pinning) -> None:
    """No network, and nothing here."""
    pinning.pin(f"{NAME} any debian@{ONE} {DAY}")
    before = pinning.lock.read_text()
    assert "is not here and cannot be pulled" in pinning.fail("upgrade")
    assert pinning.lock.read_text() == before


def test_upgrade_of_a_digest_in_the_settings_moves_the_date_alone(pinning: Pinning) -> None:
    """There is nothing newer by that name."""
    name = f"debian@{ONE}"
    pinning.set(f"BASE_IMAGE := {name}")
    pinning.pin(f"{name} any {name} {DAY}")
    pinning.has(image(THIRD, "linux/amd64", name))
    upgraded = pinning.get("upgrade")
    assert upgraded["from"] == name
    assert upgraded["created"] > DAY
    assert pinning.pulls() == []


def test_upgrade_pulls_for_the_platform_that_is_built_for(pinning: Pinning) -> None:
    """A server's, which this laptop may not be."""
    pinning.set("PLATFORM := linux/arm64")
    pinning.offers(image(THIRD, "linux/arm64/v8", f"debian@{ONE}"), platform="linux/arm64")
    assert pinning.get("upgrade")["from"] == f"debian@{ONE}"
    assert pinning.pulls() == [f"--platform linux/arm64 {NAME}"]
