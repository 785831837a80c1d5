"""The store of wheels and source distributions that were downloaded or built before.

It is one folder in the builder's cache, which all projects on this machine share:

    files/<sha256>/<file name>     files of the package index, by the SHA-256 in the lock
    choices/<digest>               the file of the package index for a pin on a system
    answers/<digest>               the additional requirements that a back end reported
    built/<digest>/<wheel>         wheels built from source, by all inputs of the build
    bytecode/<digest>              bytecode of a back end's wheels (bytecode.py)

No file is changed in place. A new file is written elsewhere and then renamed, so that parallel or
killed builds leave only complete files. The folder can be removed at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from slipway.shared.files import sha256, write


class Answer:
    """A list of strings that is kept in a file; `known` is None until it is there."""

    def __init__(self, place: Path) -> None:
        """Read the file if it exists."""
        self._place = place
        self.known: list[str] | None = None
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.known = json.loads(place.read_text(encoding="utf-8"))

    def remember(self, words: list[str]) -> None:
        """Write the list to the file."""
        write(self._place, json.dumps(words))
        self.known = words


class Store:
    """Files by their content, below one folder, which is made with the first file."""

    def __init__(self, root: Path) -> None:
        """Remove files that killed builds left more than a day ago."""
        self.root = root
        for left in (*root.glob(".new-*"), *root.glob("*/.new-*")):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def file(self, sum_: str) -> Path | None:
        """Return the file with a SHA-256; None if it is missing or damaged."""
        found = self._only(self.root / "files" / sum_)
        if found is not None and sha256(found) != sum_:
            shutil.rmtree(found.parent, ignore_errors=True)
            return None
        return found

    def built(self, key: str) -> Path | None:
        """Return the wheel that was built from the inputs with this key; None if there is none."""
        found = self._only(self.root / "built" / key)
        if found is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            if found.with_name("sha256").read_text(encoding="utf-8") == sha256(found):
                return found
        shutil.rmtree(found.parent, ignore_errors=True)
        return None

    def is_built(self, wheel: Path) -> bool:
        """Return whether a wheel of this store was built here, and not downloaded."""
        return self.root / "built" in wheel.parents

    def add_built(self, key: str, wheel: Path) -> Path:
        """Add the wheel that was built from the inputs with this key, and return its path."""
        with self._new(self.root / "built" / key) as folder:
            shutil.copy(wheel, folder / wheel.name)
            (folder / "sha256").write_text(sha256(wheel), encoding="utf-8")
        return self.root / "built" / key / wheel.name

    def add_file(self, name: str, sums: Collection[str], fill: Callable[[Path], None]) -> Path:
        """Add the file that `fill` writes; ValueError if its SHA-256 is none of `sums`."""
        with tempfile.TemporaryDirectory(dir=self._made(), prefix=".new-") as scratch:
            fill(Path(scratch, name))
            sum_ = sha256(Path(scratch, name))
            if sum_ not in sums:
                raise ValueError(f"{name} has the SHA-256 {sum_}, which is not in the lock")
            with self._new(self.root / "files" / sum_) as folder:
                Path(scratch, name).rename(folder / name)
        return self.root / "files" / sum_ / name

    def _made(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root

    def choice(self, key: str) -> str:
        """Return the SHA-256 of the file that was chosen for a key; empty if none was."""
        with contextlib.suppress(FileNotFoundError):
            return (self.root / "choices" / key).read_text(encoding="utf-8")
        return ""

    def add_choice(self, key: str, sum_: str) -> None:
        """Record which file was chosen for a key."""
        write(self.root / "choices" / key, sum_)

    def answer(self, key: str) -> Answer:
        """Return a back end's answer to the question with this key."""
        return Answer(self.root / "answers" / key)

    @staticmethod
    def _only(folder: Path) -> Path | None:
        if not folder.is_dir():
            return None
        found = [path for path in folder.iterdir() if path.name != "sha256"]
        return found[0] if len(found) == 1 else None

    @contextlib.contextmanager
    def _new(self, place: Path) -> Iterator[Path]:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            yield new
            try:
                new.rename(place)
            except OSError:
                # another build was faster, or a part of an older folder is there
                if not place.is_dir():
                    raise
                if set(os.listdir(place)) != set(os.listdir(new)):
                    shutil.rmtree(place)
                    new.rename(place)
