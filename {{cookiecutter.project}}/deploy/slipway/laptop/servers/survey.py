"""Basic facts of a server, and the lines in which a survey states them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar

from slipway.laptop.console import Failed
from slipway.laptop.servers.ssh import ConnectionFailed

LEAST_FREE = 50_000_000  # bytes that a server needs in addition to an image
# A fact is parsed only up to this size, because JSON takes twenty times its length in memory.
LARGEST_FACT = 500_000  # characters
LONGEST_TEXT = 500  # characters of a value that is kept
LOG_LINES = 20

# What a name of a release, a package or an architecture may consist of.
NAME = re.compile(r"[\w.+:~-]{0,200}", re.ASCII)

Facts = TypeVar("Facts")


class Nonsense(ValueError):
    """A value of a survey that no server has; the message names the fact."""


class NotReady(Failed):
    """There is nothing to deploy; the message says what to run first."""


def refuse(host: str, *problems: str) -> None:
    """Raise ConnectionFailed for the first problem that is not empty."""
    for problem in filter(None, problems):
        raise ConnectionFailed(f"{host}: {problem}")


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
        """Read one line of a survey; ignore unknown keys. Raise Nonsense if no server has it."""
        if key == "gzip":
            self.has_gzip = True
        elif key == "free":
            columns = value.split()
            # https://pubs.opengroup.org/onlinepubs/9699919799/utilities/df.html, in kilobytes
            free = columns[3] if len(columns) > 3 else ""
            self.free = number(free, 10**15) * 1024 if free.isdecimal() else None
        elif key == "listens":  # an address as the kernel writes it
            port = value.rpartition(":")[2]
            self.listening.add(int(checked(port, re.compile("[0-9A-Fa-f]{4}")), 16))
        elif key == "lock":
            # The first living entry holds the lock; entries of dead processes may come before it.
            state, _, entry = value[:LONGEST_TEXT].partition(" ")
            if not self.lock_is_alive:
                self.lock_is_alive = state == "alive"
                self.lock = entry if self.lock_is_alive else self.lock or entry
            if self.lock_is_alive:
                number(self.lock.partition(" ")[0])
        elif key == "log":
            self.log = [*self.log, value[:LONGEST_TEXT]][-LOG_LINES:]
        elif key in ("locked", "full"):
            setattr(self, key, value[:LONGEST_TEXT])


def number(text: str, most: int = 10**9) -> int:
    """Return a number of decimal digits; raise Nonsense if the text is anything else."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) > most:
        raise Nonsense(f"the number {text[:20]}")
    return int(text)


def checked(text: str, pattern: re.Pattern[str] = NAME) -> str:
    """Return a text; raise Nonsense if the pattern does not fit all of it."""
    if not pattern.fullmatch(text):
        raise Nonsense(f"the value {text[:40]}")
    return text


def read_json(text: str, kind: type[Facts]) -> Facts:
    """Return the value of a line of JSON; raise Nonsense if it is not of that type."""
    try:
        value: Any = json.loads(text, parse_int=lambda digits: int(digits[:18]))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise Nonsense(f"the JSON {text[:40]}")
    return value


def facts(output: str) -> Iterator[tuple[str, str, int]]:
    """Return the facts in a survey's output: key, value, and where the next line begins.

    Lines of login scripts are skipped.
    """
    start = 0
    while start < len(output):
        end = output.find("\n", start)
        end = len(output) if end < 0 else end
        if output.startswith("slipway ", start):
            key, _, value = output[start + 8 : end].rstrip("\r").partition(" ")
            if len(value) > LARGEST_FACT:
                raise Nonsense(f"the fact {key[:20]} of {len(value)} characters")
            yield key, value, end + 1
        start = end + 1


def parsed(host: str, parse: Callable[[str], Facts], output: str) -> Facts:
    """Return the facts in a survey's output; raise ConnectionFailed if they make no sense."""
    try:
        return parse(output)
    except Nonsense as problem:
        raise ConnectionFailed(
            f"{host}: its answer to the survey makes no sense: {problem}. Check what is installed"
            " there as docker, python and ssh. Nothing was changed."
        ) from None


def lock_entry_name(lock: str) -> str:
    """Return the name of an entry of the lock: a link's name, and the end of a volume's name."""
    return ".".join(lock.split(" ")[:3])


def describe_lock(lock: str) -> str:
    """Return who holds a lock, since when and what for; see server/lock.sh for its text."""
    process, _start, _boot, _account, by, since, purpose = (lock.split(" ", 6) + 7 * ["?"])[:7]
    return f"{by}, since {since}, for {purpose} (process {process} on the server)"
