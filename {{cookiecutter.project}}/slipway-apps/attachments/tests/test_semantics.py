"""Tests of HTTP's rules without a server: conditions, ranges, fields, names."""

from __future__ import annotations

import asyncio
import contextlib
import time
import unittest
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from itertools import product
from types import SimpleNamespace
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from attachments import fields, messages
from attachments.application import address
from attachments.files import Space, Totals
from attachments.semantics import (
    Unsatisfiable,
    Validators,
    is_known_host,
    precondition,
    same_site,
    selected_range,
)
from attachments.uploads import Receiving

MODIFIED = datetime(2026, 3, 4, 5, 6, 7, 800_000, tzinfo=timezone.utc)
CURRENT = Validators('"a"', MODIFIED)
SAME_SECOND = "Wed, 04 Mar 2026 05:06:07 GMT"
BEFORE, AFTER = "Wed, 04 Mar 2026 05:06:06 GMT", "Wednesday, 04-Mar-26 05:06:08 GMT"

# The parts of nonsense that every parser reads: a beginning, a part that is repeated, and an end.
STARTS = ("", '"a"', "bytes=", "x;", 'x;a="', "x;filename*=UTF-8''", "sha-256=:", "after=", "[")
PARTS = (
    *(" ", ",", ";", '"', "\\", "9", "a", ".", "0-0,", '"a",', ";a=b", "%41", "a=:YQ==:,", "a=b&"),
    *("\r\n", "\r\n--x", "--x\r\n", 'a: b;c="', "x\r\n\r\n"),
)
ENDS = ("", "x")
# As much as a request's fields may have, and less of the same.
LONG, SHORT = 32_000, 4_000
# Linear time grows by 8, and quadratic time by 64. A shorter time than the tick, in seconds, is not
# measured well.
MOST_GROWTH = 24
TICK = 50e-6


# The beginning of a form, up to the bytes of its file.
FORM_HEAD = '--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'


def nonsense(start: str, part: str, end: str, length: int) -> str:
    """Return a text of about a length."""
    return start + part * (length // len(part)) + end


def is_linear(read: Callable[[str], object], start: str, part: str, end: str) -> bool:
    """Return whether the time to read grows no more than its text; the best of some attempts."""
    texts = {length: nonsense(start, part, end, length) for length in (SHORT, LONG)}
    best = dict.fromkeys(texts, float("inf"))
    for _ in range(6):
        for length, text in texts.items():
            began = time.process_time()
            with contextlib.suppress(fields.Malformed, Unsatisfiable, HTTPException):
                read(text)
            best[length] = min(best[length], time.process_time() - began)
        if best[LONG] <= MOST_GROWTH * max(best[SHORT], TICK):
            return True
    return False


class NoLane:
    """A lane whose work needs no database: all bytes of a file are forgotten."""

    async def run(self, *_: Any) -> Any:
        """Return a writer without any file."""
        return SimpleNamespace(id="a")


def read_form(content_type: str, body: str) -> None:
    """Receive a form as a request sends it, in one piece."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body.encode("latin-1")

    async def receive() -> None:
        async with Receiving(NoLane(), 1 << 20, Space(Totals(1000, 1 << 30))) as receiving:  # type: ignore[arg-type]
            await receiving.receive_form(content_type, pieces(), lambda _: None)

    asyncio.run(receive())


class PreconditionTest(unittest.TestCase):
    """RFC 9110, section 13."""

    def check(
        self, method: str, current: Validators | None, *cases: tuple[int | None, str]
    ) -> None:
        """Evaluate `field: value` lines."""
        for expected, text in cases:
            given = dict(line.split(": ", 1) for line in text.splitlines())
            with self.subTest(method=method, fields=given):
                self.assertEqual(precondition(method, given, current), expected)

    def test_reading_what_is_there(self) -> None:
        """304 for a state that the client has, 412 for a state that it does not want."""
        self.check(
            *("GET", CURRENT),
            *((None, 'if-match: "a"'), (None, 'if-match: "b", "a"'), (None, "if-match: *")),
            *((412, 'if-match: "b"'), (412, 'if-match: W/"a"'), (412, "if-match: a")),
            *(
                (304, 'if-none-match: "a"'),
                (304, 'if-none-match: W/"a"'),
                (304, "if-none-match: *"),
            ),
            *((None, 'if-none-match: "b"'), (None, "if-none-match: a"), (None, "if-none-match: ")),
            *((304, 'if-none-match: ,"b", , W/"a",'), (None, 'if-none-match: "a')),
            *((304, f"if-modified-since: {SAME_SECOND}"), (304, f"if-modified-since: {AFTER}")),
            *((None, f"if-modified-since: {BEFORE}"), (None, "if-modified-since: yesterday")),
            *((412, f"if-unmodified-since: {BEFORE}"), (None, f"if-unmodified-since: {AFTER}")),
            (None, f"if-unmodified-since: {SAME_SECOND}"),
        )

    def test_the_tag_counts_and_not_the_date(self) -> None:
        """The date is ignored if both are sent."""
        self.check(
            *("GET", CURRENT),
            (None, f'if-none-match: "b"\nif-modified-since: {AFTER}'),
            (None, f'if-match: "a"\nif-unmodified-since: {BEFORE}'),
            (412, 'if-match: "b"\nif-none-match: "a"'),
            (304, 'if-match: "a"\nif-none-match: "a"'),
        )

    def test_writing(self) -> None:
        """A write replaces only a state that the client knows, or only creates."""
        self.check(
            *("PUT", CURRENT),
            *((None, 'if-match: "a"'), (412, 'if-match: "b"'), (412, "if-none-match: *")),
            *((412, 'if-none-match: "a"'), (None, 'if-none-match: "b"')),
            (None, f"if-modified-since: {AFTER}"),
        )
        self.check(
            *("PUT", None),
            *((412, "if-match: *"), (412, 'if-match: "a"'), (None, "if-none-match: *")),
            (None, f"if-unmodified-since: {BEFORE}"),
        )

    def test_a_list_of_tags_that_cannot_be_read_stops_a_write(self) -> None:
        """A condition that protects a file must not be ignored."""
        for name in ("if-match", "if-none-match"):
            with self.assertRaises(fields.Malformed):
                precondition("PUT", {name: '"a'}, CURRENT)


class RangeTest(unittest.TestCase):
    """RFC 9110, section 14."""

    def test_ranges(self) -> None:
        """Of ten bytes."""
        for text, expected in {
            "bytes=0-0": (0, 1),
            "bytes=2-5": (2, 6),
            "BYTES = 2-5": (2, 6),
            "bytes=9-": (9, 10),
            "bytes=0-": (0, 10),
            "bytes=-1": (9, 10),
            "bytes=-99": (0, 10),
            "bytes=5-99999999999999999999999": (5, 10),
            "bytes=0-1,2-3": (0, 4),
            "bytes= 4-5 , 1-4,": (1, 6),
            "bytes=0-1,50-": (0, 2),
            # answered with the whole file
            "bytes=0-1,5-6": None,
            "bytes=5-2": None,
            "bytes=-": None,
            "bytes=": None,
            "bytes=,": None,
            "bytes=a-b": None,
            "bytes=1-2-3": None,
            "items=0-1": None,
            "": None,
        }.items():
            with self.subTest(text):
                self.assertEqual(selected_range({"range": text}, CURRENT, 10), expected)

    def test_ranges_behind_the_end(self) -> None:
        """A range after the end is answered with 416."""
        for text in ("bytes=10-", "bytes=-0", "bytes=99999999999999999999-", "bytes=10-,11-12"):
            with self.subTest(text), self.assertRaises(Unsatisfiable):
                selected_range({"range": text}, CURRENT, 10)

    def test_an_empty_file(self) -> None:
        """Its last bytes are all of it; its first one is not there."""
        self.assertIsNone(selected_range({"range": "bytes=-5"}, CURRENT, 0))
        with self.assertRaises(Unsatisfiable):
            selected_range({"range": "bytes=0-"}, CURRENT, 0)

    def test_if_range(self) -> None:
        """The whole file is sent if its state has changed."""
        for value, expected in {
            '"a"': (0, 1),
            '"b"': None,
            'W/"a"': None,
            "a": None,
            SAME_SECOND: None,
        }.items():
            given = {"range": "bytes=0-0", "if-range": value}
            with self.subTest(value):
                self.assertEqual(selected_range(given, CURRENT, 10), expected)


class FieldsTest(unittest.TestCase):
    """Names, types and digests."""

    def test_any_name_is_one_safe_field(self) -> None:
        """Quotes, line ends and other alphabets end neither the field nor the name."""
        for name, plain in {
            "a.txt": "a.txt",
            'a"b\\c.txt': "a_b_c.txt",
            "naïve ☃.txt": "naive .txt",
            "☃": "unnamed",
            "a;b=c.txt": "a;b=c.txt",
            "100%.txt": "100_.txt",
        }.items():
            with self.subTest(name):
                text = fields.content_disposition("attachment", name)
                self.assertTrue(text.isascii() and text.isprintable())
                self.assertIn(f'filename="{plain}"', text)
                self.assertEqual(fields.file_name(text), name)

    def test_names_that_clients_send(self) -> None:
        """Plain, quoted, in raw UTF-8, and as in RFC 8187."""
        for text, expected in {
            "attachment; filename=a.txt": "a.txt",
            r'attachment; filename="a\"b; c.txt"': 'a"b; c.txt',
            "attachment; filename=\"x\"; filename*=UTF-8''%e2%98%83.txt": "☃.txt",
            "attachment; filename*=iso-8859-1'en'%E4.txt": "ä.txt",
            'attachment; filename="☃.txt"'.encode().decode("latin-1"): "☃.txt",
            'attachment; filename="\xe4.txt"': "ä.txt",
            "attachment; filename*=nonsense": None,
            "attachment": None,
            "": None,
        }.items():
            with self.subTest(text):
                self.assertEqual(fields.file_name(text), expected)

    def test_names_are_no_paths_and_no_tricks(self) -> None:
        """Folders, control and reordering characters are removed; other names stay."""
        for name, expected in {
            "a b  c.tar.gz": "a b  c.tar.gz",
            "../../etc/passwd": "passwd",
            "C:\\fakepath\\x.png": "x.png",
            "a\r\nSet-Cookie: x\0.txt": "aSet-Cookie: x.txt",
            "gpj\u202eexe.txt": "gpjexe.txt",
            "\ud800.txt": ".txt",
            "👩‍👧.png": "👩‍👧.png",
            "..": "unnamed",
            " ": "unnamed",
            "": "unnamed",
        }.items():
            with self.subTest(name):
                self.assertEqual(fields.clean_name(name), expected)
        long = fields.clean_name("☃" * 300 + ".txt")
        self.assertTrue(long.endswith("☃.txt") and len(long.encode()) <= 255)
        self.assertLessEqual(len(fields.clean_name("." + "x" * 999)), 255)

    def test_media_types(self) -> None:
        """An invalid type is unknown, and so is the type that clients send by default."""
        for value, expected in {
            "image/PNG": "image/png",
            " text/html; charset=utf-8": "text/html",
            "application/x-www-form-urlencoded": fields.UNKNOWN,
            "text/html, image/png": fields.UNKNOWN,
            "image/png\r\nx: y": fields.UNKNOWN,
            "x/" + "y" * 128: fields.UNKNOWN,
            "image": fields.UNKNOWN,
            "": fields.UNKNOWN,
        }.items():
            with self.subTest(value):
                self.assertEqual(fields.media_type(value), expected)

    def test_digests(self) -> None:
        """Those of RFC 9530, in the notation of RFC 8941."""
        self.assertEqual(
            fields.digests("sha-256=:YQ==:, md5=:Yg==:;x=1"), {"sha-256": b"a", "md5": b"b"}
        )
        self.assertEqual(fields.digests(" "), {})
        self.assertEqual(
            fields.digests(fields.format_digest("sha-256", b"\xff")), {"sha-256": b"\xff"}
        )
        for text in ("sha-256=YQ==", "sha-256=:Y:", "sha-256", "=:YQ==:", "sha-256=:YQ==:,"):
            with self.subTest(text), self.assertRaises(fields.Malformed):
                fields.digests(text)

    def test_nonsense_is_read_in_linear_time(self) -> None:
        """No field that a client sends keeps the server busy."""
        readers: list[Callable[[str], object]] = [
            lambda value: precondition("GET", {"if-match": value}, CURRENT),
            lambda value: precondition("GET", {"if-none-match": value}, CURRENT),
            lambda value: precondition("GET", {"if-modified-since": value}, CURRENT),
            lambda value: selected_range({"range": value}, CURRENT, 10),
            lambda value: selected_range({"range": "bytes=0-", "if-range": value}, CURRENT, 10),
            lambda value: same_site({"origin": value, "host": value}),
            *(fields.file_name, fields.media_type, fields.parameters, fields.clean_name),
            *(fields.digests, fields.http_date),
            lambda value: is_known_host(value, frozenset()),
            lambda value: messages.parameters_of(value.encode()),
            lambda value: address(messages.target_of({"raw_path": value.encode()})),
            lambda value: address("/files/" + value),
            lambda value: messages.joined(Headers(raw=[(b"a", b"b")] * (len(value) // 4))),
            lambda value: read_form("multipart/form-data; boundary=" + value, value),
            lambda value: read_form("multipart/form-data; boundary=x", value),
            lambda value: read_form("multipart/form-data; boundary=x", "--x\r\n" + value),
            lambda value: read_form("multipart/form-data; boundary=x", FORM_HEAD + value),
        ]
        for (number, read), start, part, end in product(enumerate(readers), STARTS, PARTS, ENDS):
            self.assertTrue(is_linear(read, start, part, end), (number, start, part, end))

    def test_names_that_no_other_site_can_have(self) -> None:
        """Addresses, names without dots, and the names of the settings."""
        known = ("127.0.0.1:8081", "[::1]:8081", "[fe80::1]", "server", "localhost:1", "LOCALHOST.")
        for host in (*known, "files.example", "Files.Example:443"):
            with self.subTest(host):
                self.assertTrue(is_known_host(host, frozenset({"files.example"})))
        others = (
            "evil.example",
            "a.files.example",
            "1.2.3.4.evil.example",
            "",
            "[evil]",
            "a b",
            "1.2",
        )
        for host in (*others, "files.example@evil.example", "127.0.0.1:x", "\xe4.example", "x\n"):
            with self.subTest(host):
                self.assertFalse(is_known_host(host, frozenset({"files.example"})))
        self.assertTrue(is_known_host("anything.example", frozenset("*")))

    def test_other_sites_are_told_from_ours(self) -> None:
        """Browsers name the site of the page; programs do not."""
        for given, expected in [
            ({}, True),
            ({"origin": "http://here:1", "host": "here:1"}, True),
            ({"origin": "https://here", "host": "here", "sec-fetch-site": "same-origin"}, True),
            ({"origin": "http://there", "host": "here"}, False),
            ({"origin": "null", "host": "here"}, False),
            ({"sec-fetch-site": "cross-site", "host": "here"}, False),
            ({"sec-fetch-site": "same-site", "host": "here"}, False),
            ({"origin": "https://here", "host": "app:1", "sec-fetch-site": "same-origin"}, True),
            ({"sec-fetch-site": "none", "host": "here"}, True),
        ]:
            with self.subTest(given):
                self.assertEqual(same_site(given), expected)


if __name__ == "__main__":
    unittest.main()
