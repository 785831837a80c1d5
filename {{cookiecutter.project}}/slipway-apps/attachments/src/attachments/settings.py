"""The settings, all from environment variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

# The volume of a container (VOLUMES in deploy/settings.mk); elsewhere it does not exist.
VOLUME = Path("/files")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class SettingsError(Exception):
    """A variable with an invalid value; the message states what to write."""


@dataclass(frozen=True)
class Settings:
    """One field for each variable of the same name in capitals.

    Numbers are whole; sizes are in bytes, and may be written as 512M or 5G. Times are in seconds.
    """

    # postgresql://user:password@host/name, mysql://… or sqlite:////absolute/path.db. The default is
    # SQLite, in the volume if there is one, otherwise in the current folder.
    database_url: str = f"sqlite:///{VOLUME if VOLUME.is_dir() else '.'}/attachments.db"
    # how many threads, each with a connection of its own, work for all clients
    database_connections: int = 4
    # what a client must send to write; empty: everybody may write; the server needs one of the two
    write_token: str = ""
    # names of this server, with blanks between them; IP addresses and names without dots always are
    allowed_hosts: str = ""
    max_file_size: int = 10 << 30
    max_files: int = 100_000
    max_total_size: int = 1 << 40
    max_connections: int = 1000
    # of one client's address; behind a proxy all clients have the same one
    max_connections_per_address: int = 250
    # for all headers of a request, from the first byte
    header_seconds: int = 10
    # between the requests of a connection
    idle_seconds: int = 30
    # the total time that a client may be slower than the rate
    stall_seconds: int = 60
    min_bytes_per_second: int = 1000
    # between two collections of deleted or abandoned files, and how long these are kept
    collect_seconds: int = 300
    keep_seconds: int = 3600
    port: int = 0  # any that is free

    @property
    def hosts(self) -> frozenset[str]:
        """The names in allowed_hosts."""
        return frozenset(self.allowed_hosts.lower().replace(",", " ").split())

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Settings:
        """Read the environment; raise SettingsError for an invalid variable."""
        values: dict[str, str | int] = {}
        for field in fields(cls):
            name = field.name.upper()
            text = environment.get(name, "").strip()
            if text:
                values[field.name] = _number(name, text) if field.type == "int" else text
        return cls(**values)  # type: ignore[arg-type]


def _number(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)i?B?", text, re.IGNORECASE)
    if not match or (int(match[1]) == 0 and name != "PORT"):
        raise SettingsError(f"{name} is {text!r}: write a whole number, as 512 or 512M")
    return int(match[1]) * UNITS[match[2].upper()]
