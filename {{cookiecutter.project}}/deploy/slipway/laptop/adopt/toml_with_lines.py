"""Read TOML and INI files with the line that each value stands on.

Standard Python has no TOML parser before 3.11, and none that says where a value is. Texts, arrays
and tables are read; numbers, dates and truth values stay as they are written.
"""

from __future__ import annotations

import codecs
import configparser
import re
from typing import Any, NamedTuple

SPACE = re.compile(r"(?:[ \t]|#[^\n]*)*")
SPACES = re.compile(r"(?:\s|#[^\n]*)*")
KEY = re.compile(r"[A-Za-z0-9_-]+")
TEXT = re.compile(
    r'"""(?P<long>(?:\\.|[^\\])*?"{0,2})"""|\'\'\'(?P<longraw>.*?\'{0,2})\'\'\''
    r"|\"(?P<one>(?:\\.|[^\"\\\n])*)\"|'(?P<raw>[^'\n]*)'",
    re.S,
)
BARE = re.compile(r"[^\s,\]}#]+")
ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|\r?\n\s*|.)", re.S)


class Entry(NamedTuple):
    """A value and the number of its line, from 1."""

    value: Any
    line: int


class NotTables(ValueError):
    """A file that cannot be understood; the message names the line."""


def toml(text: str) -> dict[tuple[str, ...], Entry]:
    """Read a TOML text into {("project", "name"): Entry}; of arrays of tables the last one counts.

    NotTables names the line that cannot be understood.
    """
    text = text.lstrip("\ufeff")
    return _Toml(text).read()


class _Toml:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def read(self) -> dict[tuple[str, ...], Entry]:
        found: dict[tuple[str, ...], Entry] = {}
        table: tuple[str, ...] = ()
        while True:
            self.skip(SPACES)
            if self.at >= len(self.text):
                return found
            line = self.line()
            if self.text[self.at] == "[":
                double = self.text.startswith("[[", self.at)
                self.at += 2 if double else 1
                table = self.key()
                self.expect("]]" if double else "]")
                found[table] = Entry({}, line)
            else:
                key = self.key()
                self.expect("=")
                self.put(found, (*table, *key), self.value(), line)
            self.skip(SPACE)
            if not re.compile(r"\r?\n|\Z").match(self.text, self.at):
                raise self.wrong()

    def put(
        self, found: dict[tuple[str, ...], Entry], key: tuple[str, ...], value: Any, line: int
    ) -> None:
        found[key] = Entry(value, line)
        if isinstance(value, dict):
            for name, inner in value.items():
                self.put(found, (*key, *name.split("\0")), inner, line)

    def value(self) -> Any:
        self.skip(SPACE)
        start = self.text[self.at : self.at + 1]
        if start in ("'", '"'):
            return self.string()
        if start == "[":
            return self.items("]", SPACES, self.value)
        if start == "{":
            return dict(self.items("}", SPACES, self.pair))
        match = BARE.match(self.text, self.at)
        if not match:
            raise self.wrong()
        self.at = match.end()
        return match.group()

    def items(self, end: str, between: re.Pattern[str], read: Any) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while True:
            self.skip(between)
            if self.text.startswith(end, self.at):
                self.at += 1
                return found
            found.append(read())
            self.skip(between)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith(end, self.at):
                raise self.wrong()

    def pair(self) -> tuple[str, Any]:
        key = self.key()
        self.expect("=")
        return "\0".join(key), self.value()

    def key(self) -> tuple[str, ...]:
        names = []
        while True:
            self.skip(SPACE)
            if self.text[self.at : self.at + 1] in ("'", '"'):
                names.append(self.string())
            else:
                match = KEY.match(self.text, self.at)
                if not match:
                    raise self.wrong()
                names.append(match.group())
                self.at = match.end()
            self.skip(SPACE)
            if not self.text.startswith(".", self.at):
                return tuple(names)
            self.at += 1

    def string(self) -> str:
        match = TEXT.match(self.text, self.at)
        if not match:
            raise self.wrong()
        self.at = match.end()
        for name in ("longraw", "raw"):
            if match.group(name) is not None:
                return match.group(name).removeprefix("\n") if name == "longraw" else match[name]
        return ESCAPE.sub(_escaped, (match.group("long") or match.group("one") or "").lstrip("\n"))

    def expect(self, what: str) -> None:
        self.skip(SPACE)
        if not self.text.startswith(what, self.at):
            raise self.wrong()
        self.at += len(what)

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def wrong(self) -> NotTables:
        return NotTables(f"line {self.line()} is no TOML")


def _escaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "uU":
        return chr(int(code[1:], 16))
    if code.isspace():
        return ""
    return {'"': '"', "\\": "\\", "e": "\x1b"}.get(code) or codecs.decode(
        "\\" + code, "unicode_escape"
    )


def ini(text: str) -> dict[tuple[str, ...], Entry]:
    """Read an INI text, such as setup.cfg, into {("metadata", "name"): Entry}.

    NotTables names the line that cannot be understood.
    """
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as problem:
        line = re.search(r"line:?\s+(\d+)", str(problem))
        raise NotTables(f"line {line.group(1) if line else 1} is no INI") from None
    found: dict[tuple[str, ...], Entry] = {}
    lines = text.splitlines()
    for section in parser.sections():
        for name, value in parser.items(section):
            pattern = re.compile(rf"\s*{re.escape(name)}\s*[=:]", re.I)
            begins = next((n for n, each in enumerate(lines) if each.strip() == f"[{section}]"), 0)
            near = (n for n, each in enumerate(lines) if n > begins and pattern.match(each))
            found[section, name] = Entry(value, next(near, 0) + 1)
    return found
