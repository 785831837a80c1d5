"""Debian packages from the mirror that this machine uses, unpacked but not installed.

The engine's release may be newer than the machine's. apt works in a folder of its own, so that the
package lists of the machine do not change.
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
        """Whether a container needs certificates to use the mirror."""
        return "https:" in f"{self.main} {self.security}"

    def sources(self, release: str, suites: Iterable[str] | None = None) -> str:
        """Return the deb822 sources of a release, limited to `suites` if given."""
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
            # The mirror may be a snapshot with dates in the past, see the machine's configuration.
            lines += [] if self.check_dates else ["Check-Valid-Until: no"]
            stanzas.append("\n".join(lines) + "\n")
        return "\n".join(stanzas)


def mirror_among(uris: str) -> tuple[str, str | None] | None:
    """Return the main and the security archive in the output of apt-get update --print-uris."""
    found = [
        (match["base"], match["suite"])
        for line in uris.splitlines()
        if (match := INDEX.match(line))
    ]
    updated = {(base, suite.removesuffix("-updates")) for base, suite in found}
    main = [(base, suite) for base, suite in found if suite in RELEASES]
    if not main:
        return None
    # Third parties publish for Debian's releases too. Only the archive itself has the suite of
    # updates, and its address usually ends in /debian.
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
    """Return the archives of this machine.

    Raises HarnessError if it has no apt, or apt has no Debian archive.
    """
    programs = all(map(shutil.which, ("apt-get", "dpkg-deb")))
    found = mirror_among(run("apt", ["apt-get", "update", "--print-uris"])) if programs else None
    if found is None or not KEYRING.exists():
        raise HarnessError(
            "debian: apt has no Debian archive to download Docker and images from."
            " Start a Docker engine with buildx and compose that can pull, then run this again"
        )
    dates = run("apt", ["apt-config", "dump", "Acquire::Check-Valid-Until"])
    return Mirror(*found, check_dates='"false"' not in dates)


@contextmanager
def private_apt(release: str) -> Iterator[Apt]:
    """Provide an apt for one release, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="slipway-apt-") as folder:
        yield Apt(Path(folder), mirror(), release)


class Apt:
    """An apt whose lists, cache and status are in one folder."""

    def __init__(self, folder: Path, archive: Mirror, release: str) -> None:
        """Write the configuration into an empty folder; download nothing."""
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
        """Return the suites of the release that the mirror has; some releases lack some.

        Raises HarnessError if the mirror lacks the release itself.
        """
        failure: HarnessError | None = None
        try:
            run("apt", ["apt-get", *self._options, "--quiet", "update"])
        except HarnessError as error:
            failure = error
        listed = run("apt", ["apt-get", *self._options, "indextargets", "--format", "$(RELEASE)"])
        suites = list(dict.fromkeys(listed.split()))
        if self._release not in suites:
            raise failure or HarnessError(
                f"apt: {self._archive.main} has no release {self._release}"
            )
        return suites

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Download packages, which apt verifies, and unpack them into a folder."""
        self.suites()
        debs = self._folder / "debs"
        debs.mkdir()
        run("apt", ["apt-get", *self._options, "--quiet", "download", *packages], folder=debs)
        into.mkdir(parents=True)
        for package in sorted(debs.iterdir()):
            run("dpkg", ["dpkg-deb", "--extract", package, into])


def install(*packages: str) -> None:
    """Install packages on the machine.

    Raises HarnessError if this account is not root, or apt fails.
    """
    if os.geteuid() != 0:
        raise HarnessError(
            f"apt: packages are missing. As root, run: apt-get install {' '.join(packages)}"
        )
    say("apt", f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    try:
        run("apt", command, environment=environment)
    except HarnessError:
        # Usually the package lists are missing, or older than the mirror.
        run("apt", ["apt-get", "update", "--quiet"], environment=environment)
        run("apt", command, environment=environment)
