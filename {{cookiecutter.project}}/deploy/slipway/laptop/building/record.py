"""The record of what each step was made from and what it produced: .deploy/state.json."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from slipway.laptop.paths import ROOT, make_own_folder


class Record:
    """One dictionary for each step, written as a whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Read the record at path; a broken or missing one is empty."""
        self.path = path
        self.steps: dict[str, dict[str, Any]] = {}
        # Whatever cannot be understood means that nothing is known: every step is checked again.
        with contextlib.suppress(FileNotFoundError, ValueError):
            read = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(read, dict) and all(isinstance(step, dict) for step in read.values()):
                self.steps = read

    @classmethod
    def load(cls) -> Record:
        """Read this project's record."""
        return cls(ROOT / ".deploy" / "state.json")

    def get(self, step: str, key: str) -> str:
        """Return a recorded value, or an empty text."""
        return str(self.steps.get(step, {}).get(key, ""))

    def write(self, step: str, **values: Any) -> None:
        """Record what a step produced."""
        self.steps[step] = values
        make_own_folder(self.path.parent)
        new = self.path.with_name(f".state.{os.getpid()}")
        new.write_text(json.dumps(self.steps, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)
