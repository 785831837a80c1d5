"""Start, show and stop the engine of the testbed: `python3 -m testbed up|env|status|down`."""

from __future__ import annotations

import argparse
import sys

from testbed import engine, folders, images, servers
from testbed.console import HarnessError, say
from testbed.daemon import Daemon
from testbed.leases import Leases

NONE = "engine: none is running. Start one: python3 -m testbed up"


def up(options: argparse.Namespace) -> None:
    """Start an engine with the base image and the registry's image."""
    found = engine.up(options.lease)
    for image in dict.fromkeys([*images.USUAL, *options.image]):
        images.provide(found, image)
    if found.ours:
        say("engine", 'ready. To use it, type: eval "$(python3 -m testbed env)"')
        say("engine", f"to stop it: python3 -m testbed down --lease {options.lease}")
    else:
        say("engine", "ready; this machine's own engine is used")


def down(options: argparse.Namespace) -> None:
    """Drop the lease; stop the engine if it was the last one."""
    if found := engine.running():
        servers.remove_kept(found, options.lease)
        if not found.ours:
            say("engine", "this machine's own engine is not stopped")
    engine.down(options.lease)


def env(_: argparse.Namespace) -> None:
    """Print shell commands that make a terminal use the engine."""
    found = engine.running()
    if found is None:
        raise HarnessError(NONE)
    print(engine.exports(found))


def status(_: argparse.Namespace) -> None:
    """Show the engine, its leases and its images."""
    found = engine.running()
    if found is None:
        print(NONE, file=sys.stderr)
        return
    if not found.ours:
        say("engine", "this machine's own")
        return
    state = folders.state()
    say("engine", f"running in {state}, its log is {Daemon(state).log}")
    say("leases", ", ".join(Leases(state / "leases").held()) or "none")
    for image in sorted(found.run("docker", "images", "--format", images.LINE).splitlines()):
        say("image", image)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m testbed", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="up|down|env|status")
    for command in (up, down, env, status):
        each = commands.add_parser(command.__name__, help=command.__doc__)
        each.set_defaults(command=command)
        each.add_argument(
            "--lease", default="developer", help="name of the engine's user (%(default)s)"
        )
        if command is up:
            each.add_argument(
                "image", nargs="*", help="further images, for example debian:bookworm-slim"
            )
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
