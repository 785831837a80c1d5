"""Basic facts of a server, and the lines in which a survey states them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from slipway.laptop.paths import SLIPWAY
from slipway.laptop.servers.ssh import without_comments

LEAST_FREE = 50_000_000  # bytes that a server needs beside an image


class NotReady(Exception):
    """There is nothing to deploy; the message says what to run first."""


def megabytes(number: int) -> str:
    """Write a number of bytes for people."""
    return f"{number / 1e3:.0f} kB" if number < 1e6 else f"{number / 1e6:.1f} MB"


@dataclass
class Machine:
    """What a survey has found that does not depend on Docker; see survey_machine there."""

    has_gzip: bool = False
    free: int | None = None  # bytes where releases are kept
    listening: set[int] = field(default_factory=set)  # TCP ports
    lock: str = ""
    lock_is_alive: bool = False
    log: list[str] = field(default_factory=list)
    locked: str = ""  # a folder that a deploy needs, where the account may not write
    full: str = ""  # the same, of a disk that has no room

    @property
    def closed(self) -> str:
        """Say what to do about these; empty when there is none."""
        if self.full:
            return (
                f"the disk of {self.full} is full there: sudo du -xh {self.full} | sort -h | tail"
            )
        if not self.locked:
            return ""
        if self.locked == "/tmp":
            return "this account may not write in /tmp there: sudo chmod 1777 /tmp"
        return (
            f"this account may not write in {self.locked} there, and a deploy keeps what it needs"
            " in ~/.slipway: give it a home directory of its own"
        )

    def take(self, word: str, value: str) -> None:
        """Take one line of a survey; what it does not know is nothing."""
        if word == "gzip":
            self.has_gzip = True
        elif word == "free":
            columns = value.split()
            # https://pubs.opengroup.org/onlinepubs/9699919799/utilities/df.html, in kilobytes
            free = columns[3] if len(columns) > 3 else ""
            self.free = int(free) * 1024 if free.isdigit() else None
        elif word == "listens":  # an address as the kernel writes it
            self.listening.add(int(value.rpartition(":")[2], 16))
        elif word == "lock":
            state, _, self.lock = value.partition(" ")
            self.lock_is_alive = state == "alive"
        elif word == "log":
            self.log.append(value)
        elif word in ("locked", "full"):
            setattr(self, word, value)


def script(*names: str) -> str:
    """Give parts of what is sent to a server, in one."""
    return without_comments(
        "\n".join((SLIPWAY / "server" / name).read_text("utf-8") for name in names)
    )


def told(said: str) -> Iterator[tuple[str, str, str]]:
    """Give what a survey says: a word, its value, and what comes in the lines after it.

    Lines of login scripts are none of it.
    """
    lines = said.splitlines()
    for number, line in enumerate(lines):
        sign, _, rest = line.partition(" ")
        if sign == "slipway":
            word, _, value = rest.partition(" ")
            yield word, value, "\n".join(lines[number + 1 :])


def describe_lock(lock: str) -> str:
    """Say who holds a lock, since when and what for, from its text; see server-lock.sh."""
    process, _birth, _boot, by, since, what = (lock.split(" ") + 6 * ["?"])[:6]
    return f"{by}, since {since}, for {what} (process {process} on the server)"
