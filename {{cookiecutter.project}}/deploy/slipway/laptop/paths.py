"""Where this copy of deploy/ and the application above it are."""

from __future__ import annotations

from pathlib import Path

SLIPWAY = Path(__file__).resolve().parents[1]
DEPLOY = SLIPWAY.parent
ROOT = DEPLOY.parent
