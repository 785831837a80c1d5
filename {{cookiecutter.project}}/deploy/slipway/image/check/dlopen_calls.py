"""Find which shared libraries Python code loads by name when it runs: by ctypes, cffi and the like.

Such a library is in no list of the file format, and an import may well not load it. So the sources
are read, where they call something like find_library, CDLL, dlopen or LoadLibrary: with a name in
quotes, or with a variable that the same file gives names to.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator

CALLS = re.compile(r"(find|load|locate|open)\w*lib|dll$|dlopen", re.I)
# One of these is in every file with such a call; to look for them costs nothing, and parsing does.
LIKELY = (b"_library(", b"LoadLibrary(", b"dlopen(", b"DLL(", b"dll(", b"_lib(", b"load_dll")
SELDOM = 100  # of so many files one that loads a library is for what few use
NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*")
# What has strings in it that are no whole name, or a name of something else.
PARTS = (ast.JoinedStr, ast.BinOp, ast.Attribute, ast.Subscript, ast.Compare, ast.Dict)
DEPTH = 3  # of names that stand for names


def texts_in(node: ast.AST, names: dict[str, list[ast.AST]], depth: int = DEPTH) -> Iterator[str]:
    """Give the strings that an expression may come to, through the names that a file gives."""
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
    """Give the name that a call calls."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def given(tree: ast.AST) -> dict[str, list[ast.AST]]:
    """Give what each name of a file is given: by assignment and by loops."""
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
    """Give, of each call in a file that loads a library, the names that it may load it by."""
    if not any(word in source for word in LIKELY):
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    names = given(tree)
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
    """Give what the sources of each distribution load, in the order of their files."""
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
    """Read a file; nothing when that cannot be done."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
