"""Run the builder's tools, and show their output only if they fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from slipway.builder.errors import Failure
from slipway.shared import network

T = TypeVar("T")
TAIL = 60  # lines of a failed tool's output
KEPT = 2 << 20  # bytes of its beginning, and of its end


def say(message: str) -> None:
    """Print one line for people; standard output is for events and locks (events.py)."""
    print(f"builder: {message}", file=sys.stderr, flush=True)


def results(tasks: Iterable[Future[T]]) -> list[T]:
    """Return the results of tasks; raise one Failure for all tasks that failed.

    An exception that is none of the expected ones is raised as it is, with its traceback.
    """
    listed = list(tasks)
    problems = [problem for problem in (task.exception() for task in listed) if problem]
    for problem in problems:
        if not isinstance(problem, (Failure, ValueError, OSError)):
            raise problem
    if problems:
        failures = [each for each in problems if isinstance(each, Failure)]
        raise Failure(
            "\n".join(str(problem) for problem in problems),
            [line for each in failures for line in relevant_lines(each.output)],
            list(dict.fromkeys(name for each in failures for name in each.add)),
            list(dict.fromkeys(name for each in failures for name in each.find)),
        )
    return [task.result() for task in listed]


def relevant_lines(lines: list[str]) -> list[str]:
    """Return the lines that explain a failure: the end, and the first error if it is further up."""
    if len(lines) <= TAIL:
        return lines
    first = next(
        (n for n, line in enumerate(lines) if re.match(r"\W*(error|fatal)\b", line, re.I)), 0
    )
    half = TAIL // 2
    if not 0 < first < len(lines) - TAIL:
        return lines[-TAIL:]
    return [*lines[first : first + half], "…\n", *lines[-half:]]


def run_quietly(
    command: Sequence[str], environment: Mapping[str, str], cwd: str | Path | None = None
) -> tuple[int, list[str]]:
    """Run a command; return its exit status, and its output if it failed.

    With VERBOSE=1 the output is shown at once.
    """
    quiet = not os.environ.get("VERBOSE")
    with tempfile.TemporaryFile() as log:
        status = subprocess.call(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log if quiet else sys.stderr.fileno(),
            stderr=log if quiet else None,
            # all files of this process are closed in others anyway; looking for them takes longer
            close_fds=False,
        )
        if not status:
            return 0, []
        size = log.seek(0, os.SEEK_END)
        log.seek(0)
        data = log.read(2 * KEPT)
        if size > 2 * KEPT:
            log.seek(-KEPT, os.SEEK_END)
            data = data[:KEPT] + "\n…\n".encode() + log.read(KEPT)
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        output = text.splitlines(keepends=True)
        if any("CERTIFICATE_VERIFY_FAILED" in line for line in output):
            output.append(f"builder: {network.UNTRUSTED}\n")
        return status, output


def run(
    tool: str, *arguments: str, environment: Mapping[str, str], cwd: Path | None = None
) -> None:
    """Run a module of this interpreter as a program; raise Failure if it fails."""
    status, output = run_quietly([sys.executable, "-m", tool, *arguments], environment, cwd)
    if status:
        raise Failure(f"{tool} {arguments[0]} failed with status {status}; see above", output)


def compile_lock(
    folder: str | Path,
    wanted: Sequence[str],
    output: Path,
    environment: Mapping[str, str],
    *options: str,
) -> None:
    """Run pip-compile, which writes the lock of some requirement files with hashes."""
    run(
        *("piptools", "compile", "--verbose", "--generate-hashes"),
        *("--strip-extras", "--allow-unsafe", "--no-header", "--no-emit-index-url"),
        *("--no-emit-trusted-host", "--no-emit-find-links", "--resolver", "backtracking"),
        *("--output-file", str(output), *options, *wanted),
        environment=environment,
        cwd=Path(folder),
    )
