"""The command line: `python3 deploy/slipway COMMAND`. Each make target runs one command."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.version_info < (3, 9):  # noqa: UP036 (the laptop's own Python may be any)
    sys.exit("slipway: this needs Python 3.9 or later: install it, or put it first on the PATH")
# Started as a folder: its modules are imported by the package's name.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from slipway.laptop import console
from slipway.laptop.command_table import COMMANDS, HIDDEN
from slipway.laptop.paths import ROOT, make_own_folder

# Beside the steps of a build, of which one command does several.
TAKES_ARGUMENTS = ("exec", "help")


def point_out_own_targets() -> None:
    """Print once which plain names are targets of the Makefile; deploy.mk lists them in DEPLOY_OWN.

    What was printed is kept in .deploy/own-targets, so that it is printed again when it changes.
    """
    own = os.environ.get("DEPLOY_OWN", "").split()
    record = ROOT / ".deploy" / "own-targets"
    before = record.read_text(encoding="utf-8") if record.is_file() else ""
    # A target above another one moves its line: only the names are compared.
    names = [each.partition("@")[0] for each in own]
    if names == before.split():
        return
    if own:
        theirs = " ".join(f"{name} ({where})" for name, _, where in (o.partition("@") for o in own))
        ours = " ".join(f"slipway-{name}" for name in names)
        console.warn(
            f"your Makefile's own targets keep their names: {theirs}; slipway's are: {ours}"
        )
    with contextlib.suppress(OSError):  # a folder that cannot be written to: it is printed again
        make_own_folder(record.parent)
        record.write_text(" ".join(names) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status; errors are one line on standard error."""
    name, *rest = arguments or ["help"]
    if name in ("-h", "--help"):
        name, rest = "help", []
    command = next((each for each in (*COMMANDS, *HIDDEN) if each.name == name), None)
    if command is None:
        console.warn(f"there is no command {name!r}: see python3 deploy/slipway --help")
        return 2
    if rest and rest[0] in ("-h", "--help"):
        name, rest, command = "help", [name], COMMANDS[-1]
    if rest and name not in TAKES_ARGUMENTS and command.module != "build":
        usage = f"see python3 deploy/slipway {name} --help"
        console.warn(f"{name} has no argument {rest[0]!r}: {usage}")
        return 2
    # Programs that this one started, and files that it made, are removed then as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _: sys.exit(128 + number))
    try:
        if "DEPLOY_OWN" in os.environ and not os.environ.get("DRY_RUN"):
            point_out_own_targets()
        module = importlib.import_module(f"slipway.laptop.commands.{command.module}")
        status: int = module.run(name, rest)
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `make help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (console.Failed, ValueError, OSError) as problem:
        if os.environ.get("DEPLOY_DEBUG"):
            raise
        for line in str(problem).splitlines():
            console.warn(line)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
