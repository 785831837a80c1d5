"""Basic facts of a server, and the lines in which a survey states them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from slipway.laptop.console import Failed

LEAST_FREE = 50_000_000  # bytes that a server needs in addition to an image


class NotReady(Failed):
    """There is nothing to deploy; the message says what to run first."""


def megabytes(number: int) -> str:
    """Return a number of bytes for people."""
    return f"{number / 1e3:.0f} kB" if number < 1e6 else f"{number / 1e6:.1f} MB"


@dataclass
class Machine:
    """The facts that depend neither on Docker nor on systemd; see server/survey.sh."""

    has_gzip: bool = False
    free: int | None = None  # bytes on the disk of the releases
    listening: set[int] = field(default_factory=set)  # TCP ports
    lock: str = ""
    lock_is_alive: bool = False
    log: list[str] = field(default_factory=list)
    locked: str = ""  # a folder that a deploy needs and in which the account may not write
    full: str = ""  # a disk that a deploy needs and that has no room

    @property
    def storage_problem(self) -> str:
        """Why the account cannot write what a deploy needs, and what to do; empty if it can."""
        if self.full:
            return f"its disk {self.full} is full. Run: sudo du -xh {self.full} | sort -h | tail"
        if not self.locked:
            return ""
        return (
            f"this account may not write in {self.locked} there, and a deploy needs ~/.slipway."
            " Give the account a home directory of its own."
        )

    def read(self, key: str, value: str) -> None:
        """Read one line of a survey; ignore unknown keys."""
        if key == "gzip":
            self.has_gzip = True
        elif key == "free":
            columns = value.split()
            # https://pubs.opengroup.org/onlinepubs/9699919799/utilities/df.html, in kilobytes
            free = columns[3] if len(columns) > 3 else ""
            self.free = int(free) * 1024 if free.isdigit() else None
        elif key == "listens":  # an address as the kernel writes it
            self.listening.add(int(value.rpartition(":")[2], 16))
        elif key == "lock":
            # The first living entry holds the lock; entries of dead processes may come before it.
            state, _, entry = value.partition(" ")
            if not self.lock_is_alive:
                self.lock_is_alive = state == "alive"
                self.lock = entry if self.lock_is_alive else self.lock or entry
        elif key == "log":
            self.log.append(value)
        elif key in ("locked", "full"):
            setattr(self, key, value)


def facts(output: str) -> Iterator[tuple[str, str, str]]:
    """Return the facts in a survey's output: key, value, and the text in the lines below it.

    Lines of login scripts are skipped.
    """
    lines = output.splitlines()
    for number, line in enumerate(lines):
        sign, _, rest = line.partition(" ")
        if sign == "slipway":
            key, _, value = rest.partition(" ")
            yield key, value, "\n".join(lines[number + 1 :])


def lock_entry_name(lock: str) -> str:
    """Return the name of a lock's entry, which ends the name of its volume or is that of its link."""
    return ".".join(lock.split(" ")[:3])


def describe_lock(lock: str) -> str:
    """Return who holds a lock, since when and what for; see server/lock.sh for its text."""
    process, _start, _boot, _account, by, since, purpose = (lock.split(" ", 6) + 7 * ["?"])[:7]
    return f"{by}, since {since}, for {purpose} (process {process} on the server)"
