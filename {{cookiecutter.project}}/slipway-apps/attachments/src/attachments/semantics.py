"""The rules of RFC 9110 for conditional requests and ranges.

werkzeug's helpers are not used: they do not refuse a write with an unreadable If-Match, a tag
without quotes matches, `bytes=-0` is ignored, and ranges that join are not joined.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .fields import Malformed, entity_tags, http_date

RANGES = re.compile(r"\s*bytes\s*=(.*)", re.I | re.S)
RANGE = re.compile(r"\s*(\d*)-(\d*)\s*")
# An IPv6 address in brackets, or a name; and a port.
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::\d*)?")
# Larger than every file; longer numbers are not converted.
ENDLESS = 10**18
# A part of a Range that begins after the end.
NOWHERE = (ENDLESS, ENDLESS)


@dataclass(frozen=True)
class Validators:
    """The properties that tell one state of a resource from another."""

    etag: str  # strong, with its quotes
    modified: datetime | None


class Unsatisfiable(Exception):
    """A Range that begins after the end: status 416."""


def precondition(method: str, fields: Mapping[str, str], current: Validators | None) -> int | None:
    """Return 304, 412 or None for the conditional fields, in the order of section 13.2.2.

    `current` is None if the resource does not exist yet. A list of tags that cannot be read matches
    nothing in a request to read. In a request to write it raises Malformed.
    """
    reads = method in ("GET", "HEAD")
    if "if-match" in fields:
        if not _matches(fields["if-match"], current, weakly=False, lenient=reads):
            return 412
    elif (age := _compared(fields.get("if-unmodified-since"), current)) is not None and age > 0:
        return 412
    if "if-none-match" in fields:
        if _matches(fields["if-none-match"], current, weakly=True, lenient=reads):
            return 304 if reads else 412
    elif reads and (age := _compared(fields.get("if-modified-since"), current)) is not None:
        return 304 if age <= 0 else None
    return None


def _compared(value: str | None, current: Validators | None) -> float | None:
    """Return the seconds from a date to the last change; None if one of the two is missing."""
    date = http_date(value) if value else None
    if date is None or current is None or current.modified is None:
        return None
    return (current.modified.replace(microsecond=0) - date).total_seconds()


def _matches(value: str, current: Validators | None, weakly: bool, lenient: bool) -> bool:
    if value.strip() == "*":
        return current is not None
    try:
        tags = entity_tags(value)
    except Malformed:
        if not lenient:
            raise
        return False
    return current is not None and any(
        tag == current.etag and (weakly or not weak) for weak, tag in tags
    )


def selected_range(
    fields: Mapping[str, str], current: Validators, size: int
) -> tuple[int, int] | None:
    """Return the first byte of a requested range, and the byte after its last; None for the whole.

    As in the RFC, the whole answers a Range that cannot be read, a Range whose If-Range names
    another state, and a Range of several parts that do not join. Raise Unsatisfiable.
    """
    match = RANGES.fullmatch(fields.get("range", ""))
    if not match or not _if_range(fields.get("if-range"), current):
        return None
    parts = []
    for text in match[1].split(","):
        if not text.strip():
            continue
        part = _part(text, size)
        if part is None:
            return None
        parts.append(part)
    if not parts:
        return None
    wanted = sorted(part for part in parts if part[0] < part[1])
    if not wanted:
        if (0, 0) in parts:
            return None  # the last bytes of an empty file: no Content-Range can express them
        raise Unsatisfiable
    first, end = wanted[0]
    for begins, ends in wanted[1:]:
        if begins > end:
            return None
        end = max(end, ends)
    return first, end


def _if_range(value: str | None, current: Validators) -> bool:
    if value is None:
        return True
    try:
        # A date is never strong enough here: two states may be from the same second.
        return entity_tags(value) == [(False, current.etag)]
    except Malformed:
        return False


def _part(text: str, size: int) -> tuple[int, int] | None:
    """Return the bytes that one part of a Range selects; NOWHERE after the end, None if invalid."""
    match = RANGE.fullmatch(text)
    if not match or not (match[1] or match[2]):
        return None
    first, last = (_number(digits) for digits in match.groups())
    if not match[1]:
        return (max(0, size - last), size) if last else NOWHERE
    if match[2] and last < first:
        return None
    end = min(last + 1, size) if match[2] else size
    return (first, end) if first < size else NOWHERE


def _number(digits: str) -> int:
    return int(digits or "0") if len(digits) < 19 else ENDLESS


def is_known_host(host: str, allowed: frozenset[str]) -> bool:
    """Return whether a Host field is an IP address, a name without dots, or one that is allowed.

    The page of another site can have its own name lead to this server (DNS rebinding), and would
    then be taken for a page of this server. No public name is without dots.
    """
    match = HOST.fullmatch(host)
    if not match:
        return False
    name = (match[1] or match[2]).lower().rstrip(".")
    if match[1] is None and "." not in name:
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name in allowed or "*" in allowed


def same_site(fields: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of this server, or from no browser."""
    site = fields.get("sec-fetch-site")
    if site is not None:  # Sent over TLS; correct even if a proxy has changed Host.
        return site in ("same-origin", "none")
    origin = fields.get("origin")
    return origin is None or origin.partition("://")[2] == fields.get("host", "")
