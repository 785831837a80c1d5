"""Find the shared libraries that Python code loads by name at run time, with ctypes or cffi.

No ELF file lists such a library, and an import does not always load it. Therefore the sources are
searched for calls such as find_library, CDLL, dlopen or LoadLibrary. Their argument must be a
literal, or a variable that has a literal value in the same file.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator

CALLS = re.compile(r"(find|load|locate|open)\w*lib|dll$|dlopen", re.I)
# Every file with such a call contains one of these. Searching for them avoids most of the parsing.
LIKELY = (b"_library(", b"LoadLibrary(", b"dlopen(", b"DLL(", b"dll(", b"_lib(", b"load_dll")
SELDOM = 100  # a library loaded by one of so many files is for a feature that few people use
NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*")
# In these expressions, strings are parts of a name, or names of something else.
PARTS = (ast.JoinedStr, ast.BinOp, ast.Attribute, ast.Subscript, ast.Compare, ast.Dict)
DEPTH = 3  # how often a variable may refer to another variable


def texts_in(node: ast.AST, names: dict[str, list[ast.AST]], depth: int = DEPTH) -> Iterator[str]:
    """Return the strings that an expression may evaluate to, given the file's assignments."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, ()) if depth else ():
            yield from texts_in(value, names, depth - 1)
    elif isinstance(node, PARTS):
        return
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_in(child, names, depth)


def called(node: ast.Call) -> str:
    """Return the name of the called function."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def values_in(tree: ast.AST) -> dict[str, list[ast.AST]]:
    """Return the values that each variable of a file gets, by assignments and by loops."""
    names: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        targets: Iterable[ast.AST] = ()
        value: ast.AST | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, (ast.For, ast.comprehension)):
            targets, value = [node.target], node.iter
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                names.setdefault(target.id, []).append(value)
    return names


def in_source(source: bytes) -> list[list[str]]:
    """Return the possible names of the library for each call that loads one."""
    if not any(word in source for word in LIKELY):
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    names = values_in(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and CALLS.search(called(node)):
            texts = (text for argument in node.args for text in texts_in(argument, names))
            listed = [text.rpartition("/")[2] for text in texts]
            listed = [text for text in dict.fromkeys(listed) if NAME.fullmatch(text)]
            if listed and listed not in found:
                found.append(listed)
    return found


def report(distributions: dict[str, list[str]], site_packages: str) -> dict[str, list[list[str]]]:
    """Return the groups of names (in_source) of each distribution, in the order of its files."""
    found: dict[str, list[list[str]]] = {}
    for name, files in distributions.items():
        sources = [os.path.join(site_packages, path) for path in files if path.endswith(".py")]
        groups = [in_source(read(path)) for path in sources]
        if sum(map(bool, groups)) * SELDOM >= len(sources):
            listed = [group for each in groups for group in each]
            if listed:
                found[name] = listed
    return found


def read(path: str) -> bytes:
    """Read a file; return nothing if that fails."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
