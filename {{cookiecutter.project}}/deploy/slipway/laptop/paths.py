"""Where this copy of deploy/ and the application above it are."""

from __future__ import annotations

from pathlib import Path

SLIPWAY = Path(__file__).resolve().parents[1]
DEPLOY = SLIPWAY.parent
ROOT = DEPLOY.parent


def make_own_folder(folder: Path) -> Path:
    """Make a folder that the make targets own and that git ignores; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# made by make; `make clean` removes it\n*\n", encoding="utf-8")
    return folder
