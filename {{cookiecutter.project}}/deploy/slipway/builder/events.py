"""The builder's standard output: JSON lines for the laptop, or the text of a lock for people.

With --events, each line is one JSON object, and nothing else is written to standard output:

    {"event": "sources", "names": ["a"]}      pins that are source distributions
    {"event": "built", "sums": {"a": "…"}}    the SHA-256 of the wheels that were built of them
    {"event": "sandbox"}                 code of others is about to run: start the sandbox
    {"event": "dependencies"}            the dependencies are new, and the application comes next
    {"event": "lock", "text": "…"}       the text of the new lock
    {"event": "result", "outcome": "failed", "add": ["libpq"], "find": ["foo.h"]}    the last line

`add` lists library names for NATIVE. `find` lists files whose Debian package is to be looked up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

DONE, FAILED = "done", "failed"
NEEDS_LOCK, NEEDS_COMPILER = "needs-lock", "needs-compiler"


class Output:
    """Standard output, for one of the two readers."""

    def __init__(self, as_events: bool) -> None:
        """Keep the present standard output."""
        self.as_events = as_events
        self._stream = sys.stdout

    def sandbox(self) -> None:
        """Report that code of others is about to run, for which the sandbox is needed."""
        self._event("sandbox")

    def dependencies(self) -> None:
        """Report that the dependencies are new and that the application comes next."""
        self._event("dependencies")

    def sources(self, names: Sequence[str]) -> None:
        """Report the pins that are source distributions."""
        self._event("sources", names=list(names))

    def built(self, sums: Mapping[str, str]) -> None:
        """Report the SHA-256 of each wheel that was built from a source distribution, by name."""
        self._event("built", sums=dict(sums))

    def lock(self, text: str) -> None:
        """Report the text of a new lock."""
        if self.as_events:
            self._event("lock", text=text)
        else:
            self._stream.write(text)

    def result(self, outcome: str, add: Sequence[str] = (), find: Sequence[str] = ()) -> int:
        """Report the outcome as the last line, and return the exit status."""
        self._event("result", outcome=outcome, add=list(add), find=list(find))
        return 0 if outcome == DONE else 1

    def _event(self, name: str, **values: object) -> None:
        if self.as_events:
            # flushed at once: the laptop starts the next step when it reads the line
            print(json.dumps({"event": name, **values}), file=self._stream, flush=True)
