"""Commands for the database of DATABASE_URL: write its files to an archive, read them back, check.

python -m blobfiles dump [--table NAME]… [FILE]       to standard output without FILE
python -m blobfiles restore [--table NAME]… [FILE]    into an empty database
python -m blobfiles verify                            reads and checks every file
python -m blobfiles collect [--older-than SECONDS]    frees the space of deleted files
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO

import blobfiles


@contextlib.contextmanager
def output(name: str) -> Iterator[IO[bytes]]:
    """Open standard output, or a file that gets its name only when it is complete."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = Path(f"{name}.part")
    with part.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(name)


def run(given: argparse.Namespace, connection: blobfiles.Connection) -> str:
    """Run one command; return a sentence with its result."""
    if given.command == "dump":
        with output(given.file) as target:
            count = blobfiles.dump(connection, target, given.table)
        return f"dumped {count} files"
    if given.command == "restore":
        with contextlib.ExitStack() as stack:
            source: IO[bytes] = sys.stdin.buffer
            if given.file != "-":
                source = stack.enter_context(Path(given.file).open("rb"))
            return f"restored {blobfiles.restore(connection, source, given.table)} files"
    if given.command == "verify":
        count = 0
        for blob in blobfiles.list(connection):
            blobfiles.verify(connection, blob.id)
            count += 1
        return f"{count} files are intact"
    older_than = timedelta(seconds=given.older_than)
    return (
        f"removed {blobfiles.collect(connection, older_than)} files that were deleted or abandoned"
    )


def main() -> None:
    """Read the command line; a failure is a line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m blobfiles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("dump", "restore"):
        command = commands.add_parser(name)
        command.add_argument("--table", action="append", default=[], metavar="NAME")
        command.add_argument("file", nargs="?", default="-", metavar="FILE")
    commands.add_parser("verify")
    collect = commands.add_parser("collect")
    collect.add_argument("--older-than", type=float, default=3600, metavar="SECONDS")
    given = parser.parse_args()
    try:
        url = os.environ["DATABASE_URL"]
    except KeyError:
        sys.exit("blobfiles: set DATABASE_URL, as in DATABASE_URL=sqlite:///files.db")
    try:
        connection = blobfiles.connect(url)
    except Exception as error:  # each driver has its own
        sys.exit(f"blobfiles: cannot connect to DATABASE_URL: {error}")
    try:
        blobfiles.migrate(connection)
        print(f"blobfiles: {run(given, connection)}", file=sys.stderr)
    except (blobfiles.BlobError, tarfile.TarError, OSError) as error:
        sys.exit(f"blobfiles: {error}")
    connection.close()


if __name__ == "__main__":
    main()
