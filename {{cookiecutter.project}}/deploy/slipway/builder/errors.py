"""The exceptions that end a build."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.shared.native.build_errors import Diagnosis


class Failure(Exception):
    """A step that cannot be done; the message says what to change.

    Attributes:
        output: all lines that a tool printed, if they have not been shown yet.
        add: library names that would help, if they were in NATIVE.
        find: files that are missing and whose Debian package is not known.
    """

    def __init__(
        self,
        message: str,
        output: Sequence[str] = (),
        add: Sequence[str] = (),
        find: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.output = list(output)
        self.add = list(add)
        self.find = list(find)

    @classmethod
    def diagnosed(cls, diagnosis: Diagnosis) -> Failure:
        """Return the failure for a diagnosis, which replaces the output that led to it."""
        return cls(diagnosis.message, add=diagnosis.add, find=diagnosis.find)


class NeedsCompiler(Exception):
    """A package may need a compiler to be built, and there is none."""


class NeedsLock(Exception):
    """There is no lock for this interpreter; the message gives the reason."""
