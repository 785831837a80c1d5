"""Run the attachments application's tests of HTTP's rules on werkzeug's helpers instead.

    python -m measure.attachments.werkzeug_helpers

Needs werkzeug, which nothing else here does. Prints one line for each helper: how many cases have
another result than the hand-written function, the first of them, and the longest time for 32 kB of
nonsense. Prints the cost of the import at the end.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import time
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from testbed.projects import BLOBFILES

Reader = Callable[..., Any]


def memory() -> float:
    """Return the resident memory of this process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) / 1024


sys.path[:0] = [str(BLOBFILES), str(BLOBFILES.parent / "tests")]
test_semantics: Any = importlib.import_module("test_semantics")
import uvicorn.protocols.http.h11_impl  # noqa: E402, F401  # has loaded what both need

from attachments import fields  # noqa: E402
from attachments.semantics import Unsatisfiable, Validators  # noqa: E402

BEFORE = memory(), time.process_time()
from werkzeug import http  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
from werkzeug.sansio.http import (  # type: ignore[import-not-found, unused-ignore]  # noqa: E402
    is_resource_modified,
)

AFTER = memory(), time.process_time()


def precondition(method: str, given: Mapping[str, str], current: Validators | None) -> int | None:
    """Return what werkzeug's Response.make_conditional answers; writes get 412 in its place."""
    modified = is_resource_modified(
        http_if_modified_since=given.get("if-modified-since"),
        http_if_none_match=given.get("if-none-match"),
        http_if_match=given.get("if-match"),
        etag=current.etag if current else None,
        last_modified=current.modified if current else None,
    )
    if modified:
        return None
    reads = method in ("GET", "HEAD") and not http.parse_etags(given.get("if-match"))
    return 304 if reads else 412


def selected_range(
    given: Mapping[str, str], current: Validators, size: int
) -> tuple[int, int] | None:
    """Return the range that werkzeug's helpers select, in the way of its Response."""
    if_range = http.parse_if_range_header(given.get("if-range"))
    if "if-range" in given and if_range.etag != http.unquote_etag(current.etag)[0]:
        return None
    parsed = http.parse_range_header(given.get("range"))
    if parsed is None or len(parsed.ranges) != 1:
        return None
    found: tuple[int, int] | None = parsed.range_for_length(size)
    if found is None:
        raise Unsatisfiable
    return found


def file_name(value: str) -> str | None:
    """Return the parameter that werkzeug finds; headers are decoded as Latin-1, most are UTF-8."""
    name: str | None = http.parse_options_header(value)[1].get("filename")
    with contextlib.suppress(UnicodeError):
        return name and name.encode("latin-1").decode()
    return name


def media_type(value: str) -> str:
    """Return the type that werkzeug finds, unless it is the one that clients send by default."""
    found = str(http.parse_options_header(value)[0].lower())
    return fields.UNKNOWN if found in ("", fields.BY_DEFAULT) else found


def content_disposition(kind: str, name: str) -> str:
    """Return werkzeug's field."""
    return str(http.dump_options_header(kind, {"filename": name}))


class DateTest(unittest.TestCase):
    """Dates that clients send, and some that attackers send."""

    def test_dates(self) -> None:
        """An invalid date is ignored."""
        for value in (
            *("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"),
            *("Sun Nov  6 08:49:37 1994", "yesterday", ""),
            *("Sun, 06 Nov 1994 08:49:37 +0100", "6 Nov 1994 08:49"),
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
        ):
            with self.subTest(value):
                assert fields.http_date(value) == HTTP_DATE(value)

    def test_writing(self) -> None:
        """Seconds, in UTC."""
        with self.subTest("write"):
            moment = test_semantics.MODIFIED
            assert fields.format_date(moment) == FORMAT_DATE(moment)


HTTP_DATE, FORMAT_DATE = fields.http_date, fields.format_date
PRECONDITIONS = unittest.defaultTestLoader.loadTestsFromTestCase(test_semantics.PreconditionTest)
RANGES = unittest.defaultTestLoader.loadTestsFromTestCase(test_semantics.RangeTest)


def conditional(value: str) -> None:
    """Read a value as every conditional field."""
    for name in ("if-match", "if-none-match", "if-modified-since"):
        precondition("GET", {name: value}, test_semantics.CURRENT)


# What stands for which function: its place, the stand-in, the tests, and how it reads nonsense.
HELPERS: dict[
    str, tuple[Any, str, Callable[..., Any], unittest.TestSuite, Callable[[str], Any]]
] = {
    "is_resource_modified, parse_etags": (
        *(test_semantics, "precondition", precondition),
        *(PRECONDITIONS, conditional),
    ),
    "parse_range_header, parse_if_range_header": (
        *(test_semantics, "selected_range", selected_range, RANGES),
        lambda value: selected_range({"range": value}, test_semantics.CURRENT, 10),
    ),
    "parse_options_header, file name": (
        *(fields, "file_name", file_name),
        unittest.TestSuite([test_semantics.FieldsTest("test_names_that_clients_send")]),
        file_name,
    ),
    "parse_options_header, media type": (
        *(fields, "media_type", media_type),
        *(unittest.TestSuite([test_semantics.FieldsTest("test_media_types")]), media_type),
    ),
    "dump_options_header": (
        *(fields, "content_disposition", content_disposition),
        unittest.TestSuite([test_semantics.FieldsTest("test_any_name_is_one_safe_field")]),
        lambda value: content_disposition("inline", value),
    ),
    "parse_date": (
        *(fields, "http_date", http.parse_date),
        *(unittest.TestSuite([DateTest("test_dates")]), http.parse_date),
    ),
    "http_date": (
        *(fields, "format_date", http.http_date),
        *(unittest.TestSuite([DateTest("test_writing")]), lambda _: None),
    ),
}


class Cases(unittest.TestResult):
    """Counts cases rather than tests: most of them are subtests."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.cases = 0
        self.wrong: list[str] = []

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        """Count one case."""
        self.cases += 1
        if err is not None:
            self.wrong.append(subtest._subDescription())  # type: ignore[attr-defined]

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        """Count a test that has no subtests."""
        self.cases += 1
        self.wrong.append(test.id().rpartition(".")[2])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        """Count a test that has no subtests."""
        self.addFailure(test, err)


def slowest(read: Callable[[str], Any]) -> float:
    """Return the longest processor time, in seconds, that nonsense of 32 kB takes."""
    longest = 0.0
    for value in test_semantics.NONSENSE:
        began = time.process_time()
        with contextlib.suppress(ValueError, OverflowError, Unsatisfiable):
            read(value)
        longest = max(longest, time.process_time() - began)
    return longest


def main() -> None:
    """Print a line for each helper, and what the import costs."""
    for name, (place, function, stand_in, tests, read) in HELPERS.items():
        result = Cases()
        with mock.patch.object(place, function, stand_in):
            tests.run(result)
        first = f"; first: {result.wrong[0]}" if result.wrong else ""
        wrong = f"{len(result.wrong)} of {result.cases} cases differ"
        print(f"{name}: {wrong}, at most {slowest(read) * 1000:.0f} ms{first}")
    megabytes, seconds = (after - before for before, after in zip(BEFORE, AFTER, strict=True))
    print(f"import: {megabytes:.1f} MiB, {seconds * 1000:.0f} ms of processor")


if __name__ == "__main__":
    main()
