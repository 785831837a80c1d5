"""The import rules of deploy/slipway: where code runs decides what it may import.

The rules are those of the tables in deploy/README.md and of the folders' docstrings.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

SLIPWAY = ROOT / "{{cookiecutter.project}}" / "deploy" / "slipway"
MODULES = {
    ".".join(path.relative_to(SLIPWAY.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SLIPWAY.rglob("*.py"))
}

# What every room of the laptop may import.
BASICS = ("laptop.console", "laptop.paths", "shared")
# Each room, and the rooms or modules that it may import beside itself. The longest name counts.
MAY_IMPORT = {
    "__main__": ("laptop", "shared"),
    "laptop.paths": (),
    "laptop.command_table": (),
    "laptop.console": ("laptop.paths", "shared"),
    "laptop.settings": BASICS,
    "laptop.docker": ("laptop.settings", *BASICS),
    "laptop.building": ("laptop.docker", "laptop.settings", *BASICS),
    "laptop.servers": ("laptop.docker", "laptop.settings", *BASICS),
    # the record has the digest of the pushed image
    "laptop.deploy": (
        *("laptop.servers", "laptop.docker", "laptop.settings", "laptop.building.record", *BASICS),
    ),
    "laptop.deploy_venv": (
        *("laptop.servers", "laptop.docker", "laptop.settings", "laptop.building", *BASICS),
    ),
    "laptop.adopt": ("laptop.settings", "vendor", *BASICS),
    "laptop.commands": ("laptop", "shared", "vendor"),
    # the builder installs back ends as the run image installs the application
    "builder": ("image.run.wheel_installer", "image.base", "shared", "vendor"),
    # these folders are copied or mounted alone
    "image.base": (),
    "image.check": (),
    "image.run": ("image.base", "shared"),
    "server.systemd": ("image.run", "image.base", "shared"),
    "shared": ("vendor",),
    "vendor": (),
}
# The libraries that a room may import beside the standard library.
LIBRARIES = {
    "builder": {"build", "installer", "packaging", "pip", "piptools", "wheel"},
    "image.run": {"installer", "packaging"},
    # pins_here, which only the builder calls
    "shared.lockfile": {"packaging"},
    # usual_bundle, for a Python whose certificates are those of pip
    "shared.network": {"pip"},
}


def imports(name: str) -> Iterator[str]:
    """Yield the full names of the modules that a module imports, wherever in its text."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            inner = [f"{base}.{each.name}" for each in node.names]
            yield from ((each if each in MODULES else base) for each in inner)


def room_of(name: str) -> str:
    """Return the entry of MAY_IMPORT that applies to a module of the package."""
    inner = name.removeprefix("slipway.")
    found = [room for room in MAY_IMPORT if is_in(inner, room)]
    return max(found, key=len) if found else ""


def is_in(name: str, room: str) -> bool:
    """Return whether a module is a room or in it."""
    return name == room or name.startswith(f"{room}.")


def is_empty(name: str) -> bool:
    """Return whether a module is only a folder's docstring, which belongs to no room."""
    body = ast.parse(MODULES[name].read_text(encoding="utf-8")).body
    return MODULES[name].name == "__init__.py" and len(body) == 1


def violations(name: str) -> Iterator[str]:
    """Yield the imports of a module that its room may not have."""
    room = room_of(name)
    for imported in imports(name):
        inner = imported.removeprefix("slipway.")
        if imported.partition(".")[0] != "slipway":
            top = imported.partition(".")[0]
            libraries = [LIBRARIES[each] for each in LIBRARIES if is_in(name[8:], each)]
            if top not in sys.stdlib_module_names and not any(top in each for each in libraries):
                yield f"{name} imports the library {imported}"
        elif imported not in MODULES:
            yield f"{name} imports {imported}, which does not exist"
        elif not is_in(inner, room) and not any(is_in(inner, each) for each in MAY_IMPORT[room]):
            yield f"{name} imports {imported}"


def test_every_module_is_in_a_room() -> None:
    """A new folder needs a rule; folders that only group rooms contain no code."""
    assert [name for name in MODULES if not room_of(name) and not is_empty(name)] == []


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_what_it_may(room: str) -> None:
    """The message lists every import that breaks the rule."""
    names = [name for name in MODULES if room_of(name) == room]
    assert names or room == "__main__"
    assert [line for name in names for line in violations(name)] == []


def test_commands_are_imported_by_the_command_line_alone() -> None:
    """Code that two commands share belongs into another room."""
    found = [
        f"{name} imports {imported}"
        for name in MODULES
        if name != "slipway.__main__"
        for imported in imports(name)
        if is_in(imported, "slipway.laptop.commands")
    ]
    assert found == []


def test_modules_are_imported_in_no_circle() -> None:
    """A circle would have no first module to read."""
    waiting = {name: {each for each in imports(name) if each in MODULES} for name in MODULES}
    while free := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert waiting == {}
