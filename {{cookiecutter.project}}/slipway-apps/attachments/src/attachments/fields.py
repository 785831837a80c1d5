"""Fields of HTTP messages: RFC 6266, 9110 and 9530.

werkzeug's helpers are not used: `parse_date` raises OverflowError for a year of 20 digits,
`parse_options_header` takes any text for a `filename*`, and `dump_options_header` writes no plain
name for old clients. It has no digests (RFC 9530).
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import format_datetime
from urllib.parse import quote, unquote_to_bytes

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
MEDIA_TYPE = re.compile(rf"\s*({TOKEN}/{TOKEN})\s*(?:;.*)?", re.S)
PARAMETER = re.compile(rf';\s*({TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s"]+)')
# No two parts match the same white space next to each other: that would take quadratic time.
ENTITY_TAG = re.compile(r'\s*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*)?(?:,|$)')
DIGEST = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):(?:\s*;[^,]*)?\s*")
DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")

UNKNOWN = "application/octet-stream"
# The type that clients send by default, when they do not know the type.
BY_DEFAULT = "application/x-www-form-urlencoded"
NAMELESS = "unnamed"
LONGEST_NAME = 255  # bytes in UTF-8, as in most file systems
LONGEST_TYPE = 127  # characters of each of its halves, RFC 6838
# Characters that reorder the text around them: "gpj.exe" must not look like "exe.jpg".
REORDERING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Malformed(ValueError):
    """A field that cannot be read; the message shows it."""


def media_type(value: str) -> str:
    """Return `type/subtype` in lower case and without parameters; UNKNOWN if it is invalid."""
    match = MEDIA_TYPE.fullmatch(value)
    if not match or max(map(len, match[1].split("/"))) > LONGEST_TYPE:
        return UNKNOWN
    found = match[1].lower()
    return UNKNOWN if found == BY_DEFAULT else found


def parameters(value: str) -> dict[str, str]:
    """Return the parameters of a field such as `form-data; name="x"`, without their quotes."""
    found: dict[str, str] = {}
    for name, text in PARAMETER.findall(value):
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.S)
        found.setdefault(name.lower(), text)
    return found


def file_name(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition; None if it has none."""
    found = parameters(disposition)
    charset, _, rest = found.get("filename*", "").partition("'")
    if charset.lower() in ("utf-8", "iso-8859-1") and "'" in rest:
        return unquote_to_bytes(rest.partition("'")[2]).decode(charset, "replace")
    name = found.get("filename")
    if name is None:
        return None
    try:  # headers are decoded as Latin-1, and most clients send UTF-8
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


def clean_name(name: str) -> str:
    """Return the part of a name that is safe to show and to save: one line, no folders."""
    name = re.split(r"[/\\]", name)[-1]
    cleaned = "".join(each for each in name if _is_shown(each)).strip()
    if len(cleaned.encode()) > LONGEST_NAME:
        stem, dot, ending = cleaned.rpartition(".")
        if not stem or len(ending) > 16:
            stem, dot, ending = cleaned, "", ""
        room = LONGEST_NAME - len((dot + ending).encode())
        cleaned = stem.encode()[:room].decode("utf-8", "ignore") + dot + ending
    return NAMELESS if cleaned in ("", ".", "..") else cleaned


def _is_shown(character: str) -> bool:
    controls = ("Cc", "Cs", "Zl", "Zp")
    return character not in REORDERING and unicodedata.category(character) not in controls


def content_disposition(kind: str, name: str) -> str:
    """Return `inline` or `attachment` with a file name that every client reads, RFC 6266."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'[^ -~]|["\\%]', "_", plain).strip() or NAMELESS
    text = f'{kind}; filename="{plain}"'
    if plain != name:
        text += "; filename*=UTF-8''" + quote(name, safe="!#$&+-.^_`|~")
    return text


def entity_tags(value: str) -> list[tuple[bool, str]]:
    """Return (weak, opaque text with its quotes) for each tag; raise Malformed."""
    found, position = [], 0
    while position < len(value):
        match = ENTITY_TAG.match(value, position)
        if not match:
            raise Malformed(f"{value!r} is not a list of entity tags")
        if match[2]:
            found.append((bool(match[1]), match[2]))
        position = match.end()
    return found


def http_date(value: str) -> datetime | None:
    """Return a date in one of the three formats of RFC 9110; None for any other text."""
    for pattern in DATES:
        try:
            return datetime.strptime(value.strip(), pattern).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    return None


def format_date(moment: datetime) -> str:
    """Return a date in the format of HTTP, to the second."""
    return format_datetime(moment.astimezone(timezone.utc).replace(microsecond=0), usegmt=True)


def digests(value: str) -> dict[str, bytes]:
    """Return the digests in Content-Digest or Repr-Digest, RFC 9530; raise Malformed."""
    return dict(_digests(value)) if value.strip() else {}


def _digests(value: str) -> Iterator[tuple[str, bytes]]:
    for member in value.split(","):
        match = DIGEST.fullmatch(member)
        try:
            if not match:
                raise ValueError
            yield match[1], base64.b64decode(match[2], validate=True)
        except (ValueError, binascii.Error):
            raise Malformed(f"{value!r} is not a digest such as sha-256=:…:") from None


def format_digest(algorithm: str, digest: bytes) -> str:
    """Return a digest as in Content-Digest or Repr-Digest."""
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"
