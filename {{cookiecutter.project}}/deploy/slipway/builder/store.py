"""Wheels and source distributions that were fetched or built before, kept by content.

One folder in the builder's cache, which every project on this machine shares:

    files/<sha256>/<file name>     what the index gave, by the sum that the lock states
    choices/<digest>               which file of the index a pin takes on a system
    answers/<digest>               what a back end says that it needs besides
    built/<digest>/<wheel>         what was built from source, by all that goes into the build

Nothing is ever changed in place: a file is written beside its place and renamed, so that builds at
the same time, or one that is killed, leave only whole files. All of it can be removed at any time.
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
    """A list of words that is remembered in a file."""

    def __init__(self, place: Path) -> None:
        """Read it, if it is there."""
        self._place = place
        self.known: list[str] | None = None
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.known = json.loads(place.read_text(encoding="utf-8"))

    def remember(self, words: list[str]) -> None:
        """Keep it for the next time."""
        write(self._place, json.dumps(words))
        self.known = words


class Store:
    """Files by content, below one folder."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it is made when something is put there.

        What builds that were killed have left is removed after a day.
        """
        self.root = root
        for left in (*root.glob(".new-*"), *root.glob("*/.new-*")):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def file(self, sum_: str) -> Path | None:
        """Give the file with this SHA-256; None when it is not here, or not what it was."""
        found = self._only(self.root / "files" / sum_)
        if found is not None and sha256(found) != sum_:
            shutil.rmtree(found.parent, ignore_errors=True)
            return None
        return found

    def built(self, key: str) -> Path | None:
        """Give the wheel that was built from what key stands for; None when there is none."""
        found = self._only(self.root / "built" / key)
        if found is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            if found.with_name("sha256").read_text(encoding="utf-8") == sha256(found):
                return found
        shutil.rmtree(found.parent, ignore_errors=True)
        return None

    def is_built(self, wheel: Path) -> bool:
        """Say whether a wheel of this store was built here, and not fetched."""
        return self.root / "built" in wheel.parents

    def add_built(self, key: str, wheel: Path) -> Path:
        """Keep a wheel as what is built from what key stands for."""
        with self._new(self.root / "built" / key) as folder:
            shutil.copy(wheel, folder / wheel.name)
            (folder / "sha256").write_text(sha256(wheel), encoding="utf-8")
        return self.root / "built" / key / wheel.name

    def add_file(self, name: str, sums: Collection[str], fill: Callable[[Path], None]) -> Path:
        """Keep the file that fill writes; ValueError when its SHA-256 is none of sums."""
        with tempfile.TemporaryDirectory(dir=self._made(), prefix=".new-") as scratch:
            fill(Path(scratch, name))
            sum_ = sha256(Path(scratch, name))
            if sum_ not in sums:
                raise ValueError(f"{name} has the sum sha256:{sum_}, which the lock does not state")
            with self._new(self.root / "files" / sum_) as folder:
                Path(scratch, name).rename(folder / name)
        return self.root / "files" / sum_ / name

    def _made(self) -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root

    def choice(self, key: str) -> str:
        """Give the SHA-256 of the file that was chosen for key; empty when that was not asked."""
        with contextlib.suppress(FileNotFoundError):
            return (self.root / "choices" / key).read_text(encoding="utf-8")
        return ""

    def add_choice(self, key: str, sum_: str) -> None:
        """Remember which file was chosen for key."""
        write(self.root / "choices" / key, sum_)

    def answer(self, key: str) -> Answer:
        """Give what a back end answered to the question that key stands for."""
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
                # somebody else's is there, which is the same, or what is left of one
                if not place.is_dir():
                    raise
                if set(os.listdir(place)) != set(os.listdir(new)):
                    shutil.rmtree(place)
                    new.rename(place)
