"""The record of what each step was made from and what it produced."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from slipway.laptop.paths import ROOT

STATE = ROOT / ".deploy" / "state.json"


class State:
    """What was made from what: one dictionary a step, written whole or not at all."""

    def __init__(self, path: Path = STATE) -> None:
        self.path = path
        self.steps: dict[str, dict[str, Any]] = {}
        # what cannot be understood is as good as not there: everything is looked at again
        with contextlib.suppress(FileNotFoundError, ValueError):
            read = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(read, dict) and all(isinstance(step, dict) for step in read.values()):
                self.steps = read

    def get(self, step: str, key: str) -> str:
        """Give what was recorded, or an empty text."""
        return str(self.steps.get(step, {}).get(key, ""))

    def record(self, step: str, **values: Any) -> None:
        """Record what a step made."""
        self.steps[step] = values
        folder = self.path.parent
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# made by make; `make clean` removes it\n*\n", encoding="utf-8")
        new = folder / f".state.{os.getpid()}"
        new.write_text(json.dumps(self.steps, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path)
