"""Read text files, compute checksums, and write files completely or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

EPOCH = 315532800  # 1980-01-01, the earliest time that a zip archive can store


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text without a byte order mark; ValueError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text: save it as UTF-8") from None


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def digest(*parts: object) -> str:
    """Return one SHA-256 over several values that JSON can represent."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write(place: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file completely or not at all, so that a killed program leaves the old one."""
    import tempfile  # slow, and most commands write no file

    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=place.parent, prefix=".new-")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(new, mode)
    os.replace(new, place)
