"""A server that keeps files in its database."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

NO_TOKEN = (
    "WRITE_TOKEN is not set: write WRITE_TOKEN=… to deploy/run.env, with the token that clients"
    " need to write, or WRITE_TOKEN= to let everybody write"
)


def main() -> None:
    """Run the server until it gets a signal, or run the job `backup` or `restore`."""
    _tame_collector()
    from .settings import Settings, SettingsError

    port = os.environ.get("PORT", "8081")
    try:
        settings = Settings.load({**os.environ, "PORT": port})
    except SettingsError as problem:
        sys.exit(str(problem))
    if sys.argv[1:] == ["backup"]:
        _backup(settings)
    elif sys.argv[1:] == ["restore"]:
        _restore(settings)
    elif len(sys.argv) > 1:
        sys.exit("there is no such job: use backup, restore, or nothing to serve")
    elif "WRITE_TOKEN" not in os.environ:
        sys.exit(NO_TOKEN)
    else:
        from .server import serve

        serve(settings)


def _backup(settings: Settings) -> None:
    import blobfiles

    from .files import TABLES
    from .server import prepared, say

    with prepared(settings) as connection:
        say(f"backup: {blobfiles.dump(connection, sys.stdout.buffer, TABLES)} files")


def _restore(settings: Settings) -> None:
    import tarfile

    import blobfiles

    from .files import TABLES
    from .server import prepared, say

    with prepared(settings) as connection:
        try:
            say(f"restore: {blobfiles.restore(connection, sys.stdin.buffer, TABLES)} files")
        except (blobfiles.BlobError, tarfile.TarError) as problem:
            sys.exit(f"restore: nothing is restored: {problem}")


def _tame_collector() -> None:
    """Restart PyPy with a garbage collection every 8 MiB, which saves 60 MiB of memory.

    PyPy reads this setting from its environment, when it starts.
    """
    name = "PYPY_GC_MAX_DELTA"
    if sys.implementation.name == "pypy" and name not in os.environ:
        os.environ[name] = "8MB"
        os.execv(sys.executable, [sys.executable, *sys.argv])
