"""Checksums, and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path


def sha256(path: Path) -> str:
    """Give a file's SHA-256 as hexadecimal digits."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()


def digest(*parts: object) -> str:
    """Give one SHA-256 over several values that JSON can write."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write(place: Path, text: str, mode: int = 0o644) -> None:
    """Write a text file, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=place.parent, prefix=".new-")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(new, mode)
    os.replace(new, place)


EPOCH = 315532800  # 1980-01-01, the earliest time that a zip archive can state
