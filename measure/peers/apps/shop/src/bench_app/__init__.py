"""Serves the shop under gunicorn."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Become gunicorn, listening on PORT."""
    from gunicorn.app.wsgiapp import run

    port = os.environ.get("PORT", "8081")
    sys.argv = ["gunicorn", "--bind", f"0.0.0.0:{port}", "bench_app.site:application"]
    run()
