"""Import the top-level modules of installed distributions, and report the failures.

A child process imports one module after another. If a module ends or crashes the process, the next
child process continues with the module after it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

SECONDS = 120  # limit for one module
# Modules that wheels contain in addition to those for their users.
OTHERS = {
    "test",
    "tests",
    "testing",
    "doc",
    "docs",
    "example",
    "examples",
    "benchmark",
    "benchmarks",
}
OTHERS |= {"setup", "conftest", "scripts", "tools", "__pycache__"}


def modules_of(files: Iterable[str]) -> list[str]:
    """Return the modules and packages that a distribution provides, from its list of files.

    For packages without an __init__.py, their sub-packages are returned: `zope.interface`, not
    `zope`.
    """
    listed = set(files)
    found = set()
    for path in listed:
        *folders, name = path.split("/")
        if not path.endswith((".py", ".so")) or any(
            "." in each or each == "__pycache__" for each in folders
        ):
            continue
        at = next(
            (
                n
                for n in range(1, len(folders) + 1)
                if "/".join((*folders[:n], "__init__.py")) in listed
            ),
            None,
        )
        dotted = folders[:at] if at else [*folders, name.partition(".")[0]]
        compiled = name.endswith(".so")
        if OTHERS.intersection(dotted) or not all(part.isidentifier() for part in dotted):
            continue
        # Other modules import the private ones, but compiled ones are the purpose of this check.
        if at is None and len(folders) > 1:
            continue
        if not dotted[0].startswith("_") or (compiled and len(dotted) == 1):
            found.add(".".join(dotted))
    return sorted(found)


def chain_of(problem: BaseException) -> list[str]:
    """Return a line for an exception, and one for each exception that led to it."""
    lines: list[str] = []
    each: BaseException | None = problem
    while each is not None and len(lines) < 8:
        lines.append(
            f"{type(each).__mro__[-3 if isinstance(each, OSError) else 0].__name__}: {each}"
        )
        each = each.__cause__ or each.__context__
    return lines


def attempt(name: str) -> dict[str, Any]:
    """Import one module; return its name, and the kind and messages of a failure."""
    try:
        importlib.import_module(name)
    except BaseException as problem:  # a module may call sys.exit
        kinds = [
            base
            for base in ("ModuleNotFoundError", "ImportError", "OSError")
            if any(each.__name__ == base for each in type(problem).__mro__)
        ]
        missing = getattr(problem, "name", None) if "ModuleNotFoundError" in kinds else None
        return {
            "module": name,
            "kind": (kinds or ["other"])[0],
            "said": chain_of(problem),
            "lacks": missing,
        }
    return {"module": name}


def attempts(names: list[str]) -> list[dict[str, Any]]:
    """Import modules; return one entry (attempt) for each."""
    found: list[dict[str, Any]] = []
    while len(found) < len(names):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            with os.fdopen(writing, "w", encoding="utf-8") as out:
                for name in names[len(found) :]:
                    signal.alarm(SECONDS)
                    json.dump(attempt(name), out)
                    out.write("\n")
                    out.flush()
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as lines:
            found += [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        if len(found) < len(names):
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an exit"
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
                ended = f"a limit of {SECONDS} seconds"
            found.append(
                {"module": names[len(found)], "kind": "crash", "said": [f"ended by {ended}"]}
            )
    return found


def report(distributions: dict[str, list[str]]) -> dict[str, list[dict[str, Any]]]:
    """Import the modules of each distribution; return the failures by distribution."""
    of = {module: name for name, files in distributions.items() for module in modules_of(files)}
    names = sorted(of)
    sys.stdout.flush()
    problems: dict[str, list[dict[str, Any]]] = {}
    for result in attempts(names):
        if "kind" in result:
            problems.setdefault(of[result["module"]], []).append(result)
    return problems
