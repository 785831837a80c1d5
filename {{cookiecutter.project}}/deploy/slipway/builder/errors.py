"""What a build fails with."""

from __future__ import annotations

from collections.abc import Sequence


class Failure(Exception):
    """A step that cannot be done; the message says what to change.

    The output is what a tool said of it, all lines, when that is not shown yet.
    """

    def __init__(self, message: str, output: Sequence[str] = ()) -> None:
        """Take both."""
        super().__init__(message)
        self.output = list(output)


class NeedsCompiler(Exception):
    """What has to be built may need a compiler, and there is none."""
