"""The pinned base image: a tag moves, and everything here starts from it.

The pins are in deploy/base.lock, which belongs into version control. If a registry provided the
image, the pin is its digest there. The pin of an imported image is its ID. The date stands for the
Debian packages of that moment: base images are of that date, and a newer date installs them anew.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from slipway.laptop import console
from slipway.laptop.docker import engine
from slipway.laptop.paths import DEPLOY

BASE_LOCK = DEPLOY / "base.lock"
DAY = "%Y-%m-%dT00:00:00Z"
TIME = "%Y-%m-%dT%H:%M:%SZ"
HEADER = "# What BASE_IMAGE stands for; `make upgrade` moves it. Belongs into version control.\n"
LINE = re.compile(
    r"(?P<name>\S+) (?P<platform>\S+) (?P<pin>\S*sha256:[0-9a-f]{64})"
    r" (?P<date>\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3])(?::[0-5]\d){2}Z)",
    re.ASCII,
)
ANY = "any"  # platform: the digest of an index names the image of each


class PinError(console.Failed):
    """The pinned base image is not available; the message says what to do."""


class Pin(NamedTuple):
    """What a name stood for on a day: `repository@sha256:…`, or the ID of an imported image."""

    name: str
    platform: str
    pin: str
    date: str

    @property
    def reference(self) -> str:
        """The name that a dockerfile's FROM takes."""
        return self.pin if "@" in self.pin else self.name

    @property
    def epoch(self) -> int:
        """The date in seconds since 1970, for SOURCE_DATE_EPOCH."""
        from calendar import timegm  # slow, and not needed where all is done

        return timegm(time.strptime(self.date, TIME))


def read(path: Path = BASE_LOCK) -> list[Pin]:
    """Read the pins; PinError names a line that is not one."""
    if not path.is_file():
        return []
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise PinError(
            "deploy/base.lock is not UTF-8 text: remove the file, then run make base"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise PinError(
                f"deploy/base.lock, line {number}, is not a pin: remove the file, then run make"
                " base"
            )
        found.append(Pin(**match.groupdict()))
    return found


def readable(path: Path = BASE_LOCK) -> list[Pin]:
    """Read the pins; none of a file that is not one of pins, and will be replaced."""
    with contextlib.suppress(PinError):
        return read(path)
    return []


def for_all(name: str, pins: list[Pin]) -> Pin | None:
    """Return the pin of an image by its digest, which holds for every platform."""
    return next((pin for pin in pins if pin.name == name and pin.platform == ANY), None)


def for_one(name: str, image: dict[str, Any] | None, pins: list[Pin]) -> Pin | None:
    """Return the pin of an imported image by its ID, which holds for one platform."""
    platform = platform_of(image or {})
    return next((p for p in pins if p.name == name and same_platform(p.platform, platform)), None)


def same_platform(one: str, other: str) -> bool:
    """Return whether two platforms are the same: arm64 is arm64/v8."""
    return one.removesuffix("/v8") == other.removesuffix("/v8")


def id_of(image: dict[str, Any]) -> str:
    """Return an image's ID as docker writes it; podman leaves out the kind of checksum."""
    found = str(image["Id"])
    return found if found.startswith("sha256:") else f"sha256:{found}"


def replaces(new: Pin, old: Pin) -> bool:
    """Return whether a pin replaces another one of the same name."""
    return ANY in (new.platform, old.platform) or same_platform(new.platform, old.platform)


def write(pin: Pin, path: Path = BASE_LOCK) -> None:
    """Write a pin; pins of other names, and of other platforms, stay."""
    others = [p for p in readable(path) if p.name != pin.name or not replaces(pin, p)]
    lines = (f"{p.name} {p.platform} {p.pin} {p.date}\n" for p in (*others, pin))
    new = path.with_name(".base.lock.new")
    new.write_text(HEADER + "".join(lines), encoding="utf-8")
    new.replace(path)


def repository(name: str) -> str:
    """Return an image's shortest name, without its tag or digest."""
    name = name.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    for prefix in ("docker.io/", "library/"):  # as the hub's short names are written at length
        name = name[len(prefix) :] if name.startswith(prefix) else name
    return name


def platform_of(image: dict[str, Any]) -> str:
    """Return the platform of an image, in the form of PLATFORM."""
    words = (image.get("Os"), image.get("Architecture"), image.get("Variant"))
    return "/".join(str(word) for word in words if word)


def fits(image: dict[str, Any] | None, platform: str) -> bool:
    """Return whether an image is there and fits a platform; an empty platform is any."""
    if image is None:
        return False
    return not platform or same_platform(platform_of(image), platform)


def pull(docker: str, reference: str, platform: str) -> str:
    """Pull an image; return the engine's error message, empty on success."""
    chosen = ("--platform", platform) if platform else ()
    try:
        engine.ask(docker, "pull", "--quiet", *chosen, reference)
    except engine.EngineError as problem:
        return str(problem)
    return ""


def made(docker: str, name: str, image: dict[str, Any], date: str, pins: list[Pin]) -> Pin:
    """Return a pin of an image as it is here: by its digest if a registry has that, or by its ID.

    The containerd image store gives every image a digest, which is also its ID. A build that starts
    from a digest asks the registry. So does this, unless there was such a pin before.
    """
    for digest in image.get("RepoDigests") or []:
        if repository(digest) != repository(name):
            continue
        is_known = not digest.endswith(id_of(image)) or digest in (name, *(p.pin for p in pins))
        if is_known or not pull(docker, digest, platform_of(image)):
            return Pin(name, ANY, digest, date)
    return Pin(name, platform_of(image), id_of(image), date)


def get(settings: dict[str, str]) -> Pin:
    """Return the pin of the base image, which is here afterwards; an image without a pin is pinned.

    Raises PinError when the image is not available.
    """
    docker, name = settings["DOCKER"], settings["BASE_IMAGE"]
    platform = settings["PLATFORM"] or engine.platform(docker)
    pins = read()
    pinned = for_all(name, pins)
    image = have(docker, pinned.reference if pinned else name, platform)
    pinned = pinned or for_one(name, image, pins)
    if pinned is None:
        # the projects of one day share a base
        pinned = made(docker, name, image, today(), pins)
        write(pinned)
        console.warn(f"wrote deploy/base.lock: {name} is {pinned.pin}: commit it")
    elif pinned.platform != ANY and id_of(image) != pinned.pin:
        raise PinError(
            f"{name} here is {id_of(image)}, but deploy/base.lock pins {pinned.pin}: load the"
            " pinned image, or move the pin with: make upgrade"
        )
    return pinned


def today() -> str:
    """Return the date of a new pin."""
    return time.strftime(DAY, time.gmtime())


def have(docker: str, reference: str, platform: str) -> dict[str, Any]:
    """Return an image for a platform, pulled if it is not here; PinError when that fails."""
    (image,) = engine.inspect_images(docker, [reference])
    if image is not None and fits(image, platform):
        return image
    complaint = pull(docker, reference, platform)
    (image,) = engine.inspect_images(docker, [reference])
    if image is not None and fits(image, platform):
        return image
    wanted = f"{reference} for {platform}" if platform else reference
    raise PinError(
        f"{wanted} is not here and cannot be pulled ({complaint or 'no reason'}):"
        " change BASE_IMAGE in deploy/settings.mk"
    )


def upgrade(settings: dict[str, str]) -> Pin:
    """Pin the newest BASE_IMAGE, and the Debian packages of this moment."""
    docker, name = settings["DOCKER"], settings["BASE_IMAGE"]
    platform = settings["PLATFORM"] or engine.platform(docker)
    complaint = "" if "@" in name else pull(docker, name, platform)
    image = have(docker, name, platform)
    if complaint:
        console.warn(f"{name} stays the one that is here ({complaint})")
    pinned = made(docker, name, image, time.strftime(TIME, time.gmtime()), readable())
    write(pinned)
    console.warn(f"deploy/base.lock: {name} is {pinned.pin}, as of {pinned.date}")
    return pinned
