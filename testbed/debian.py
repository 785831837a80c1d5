"""Packages from the mirror that this machine already uses, unpacked beside the system.

The engine comes from a newer release than the machine may run, so it is unpacked and not
installed; apt gets a private root for that, and the machine's own lists stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.console import HarnessError, run, say

RELEASES = ("bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
INDEX = re.compile(r"^'(?P<base>https?://\S+?)/dists/(?P<suite>\S+)/InRelease'")


@dataclass(frozen=True)
class Mirror:
    """The archives that this machine's apt is configured for."""

    main: str
    security: str | None
    check_dates: bool = True

    @property
    def encrypted(self) -> bool:
        """Whether a container needs certificates to use it."""
        return "https:" in f"{self.main} {self.security}"

    def sources(self, release: str, suites: Iterable[str] | None = None) -> str:
        """The deb822 sources of a release, limited to `suites` when given."""
        wanted = [
            (self.main, release),
            (self.main, f"{release}-updates"),
            *([(self.security, f"{release}-security")] if self.security else []),
        ]
        if suites is not None:
            allowed = set(suites)
            wanted = [(base, suite) for base, suite in wanted if suite in allowed]
        stanzas = []
        for base in dict.fromkeys(base for base, _ in wanted):
            lines = [
                "Types: deb",
                f"URIs: {base}",
                f"Suites: {' '.join(suite for each, suite in wanted if each == base)}",
                "Components: main",
                f"Signed-By: {KEYRING}",
            ]
            # A mirror that is a snapshot has dates in the past, which the machine was told of.
            lines += [] if self.check_dates else ["Check-Valid-Until: no"]
            stanzas.append("\n".join(lines) + "\n")
        return "\n".join(stanzas)


def mirror_among(uris: str) -> tuple[str, str | None] | None:
    """The main and the security archive among what `apt-get update --print-uris` prints."""
    found = [
        (match["base"], match["suite"])
        for line in uris.splitlines()
        if (match := INDEX.match(line))
    ]
    updated = {(base, suite.removesuffix("-updates")) for base, suite in found}
    main = [(base, suite) for base, suite in found if suite in RELEASES]
    if not main:
        return None
    # Others publish for Debian's releases too; the archive itself has the updates suite as well,
    # and by custom ends in /debian.
    base, release = max(
        main,
        key=lambda each: (
            (each[0], f"{each[1]}-updates") in found and each in updated,
            each[0].endswith("/debian"),
        ),
    )
    security = next((each for each, suite in found if suite == f"{release}-security"), None)
    return base, security


def mirror() -> Mirror:
    """The archives of this machine.

    Raises HarnessError when it has no apt, or apt knows no Debian archive.
    """
    programs = all(map(shutil.which, ("apt-get", "dpkg-deb")))
    found = mirror_among(run("apt", ["apt-get", "update", "--print-uris"])) if programs else None
    if found is None or not KEYRING.exists():
        raise HarnessError(
            "debian: apt has no Debian archive to bring Docker and images from;"
            " start a Docker that has buildx and compose and can pull, and try again"
        )
    dates = run("apt", ["apt-config", "dump", "Acquire::Check-Valid-Until"])
    return Mirror(*found, check_dates='"false"' not in dates)


@contextmanager
def private_apt(release: str) -> Iterator[Apt]:
    """An apt that knows only that release, in a folder of its own that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="slipway-apt-") as folder:
        yield Apt(Path(folder), mirror(), release)


class Apt:
    """An apt whose every list, cache and status is below one folder."""

    def __init__(self, folder: Path, archive: Mirror, release: str) -> None:
        """Write the configuration into an empty folder; nothing is downloaded."""
        self._folder = folder
        self._archive = archive
        self._release = release
        for each in ("lists/partial", "cache/archives/partial", "sources"):
            (folder / each).mkdir(parents=True)
        (folder / "sources" / "debian.sources").write_text(archive.sources(release))
        self._options = [
            f"--option={name}={value}"
            for name, value in {
                "Dir::Etc::sourcelist": "/dev/null",
                "Dir::Etc::sourceparts": folder / "sources",
                "Dir::Etc::preferences": "/dev/null",
                "Dir::Etc::preferencesparts": "/dev/null",
                "Dir::State::lists": folder / "lists",
                "Dir::State::status": "/dev/null",
                "Dir::Cache": folder / "cache",
                "APT::Sandbox::User": "root",
                "APT::Update::Post-Invoke-Success": "",
            }.items()
        ]

    def suites(self) -> list[str]:
        """The suites of the release that the mirror has: not every release has them all.

        Raises HarnessError when it does not even have the release itself.
        """
        failure: HarnessError | None = None
        try:
            run("apt", ["apt-get", *self._options, "--quiet", "update"])
        except HarnessError as error:
            failure = error
        listed = run("apt", ["apt-get", *self._options, "indextargets", "--format", "$(RELEASE)"])
        suites = list(dict.fromkeys(listed.split()))
        if self._release not in suites:
            raise failure or HarnessError(f"apt: {self._archive.main} has no {self._release}")
        return suites

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Download packages, checked by apt, and unpack them into a folder."""
        self.suites()
        debs = self._folder / "debs"
        debs.mkdir()
        run("apt", ["apt-get", *self._options, "--quiet", "download", *packages], folder=debs)
        into.mkdir(parents=True)
        for package in sorted(debs.iterdir()):
            run("dpkg", ["dpkg-deb", "--extract", package, into])


def install(*packages: str) -> None:
    """Install what is missing of the machine's own packages.

    Raises HarnessError when this account may not, or apt fails.
    """
    if os.geteuid() != 0:
        raise HarnessError(f"apt: as root, run: apt-get install {' '.join(packages)}")
    say("apt", f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    try:
        run("apt", command, environment=environment)
    except HarnessError:
        # The usual reason: no lists, or lists older than the mirror.
        run("apt", ["apt-get", "update", "--quiet"], environment=environment)
        run("apt", command, environment=environment)
