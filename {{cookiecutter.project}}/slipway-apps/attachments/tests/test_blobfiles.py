"""Tests of the public interface of blobfiles: on SQLite, or on DATABASE_URL."""

from __future__ import annotations

import array
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import blobfiles
from blobfiles.writer import CHUNK_SIZE

NOW = timedelta(0)
SIZES = (0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, 3 * CHUNK_SIZE + 7)


def content(size: int) -> bytes:
    """Return bytes that differ in every chunk."""
    return random.Random(size).randbytes(size)


class DatabaseTest(unittest.TestCase):
    """A test with a migrated database."""

    def setUp(self) -> None:
        """Connect to an empty database."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.url = os.environ.get("DATABASE_URL") or f"sqlite:///{self.folder}/files.db"
        self.connection = self.connect()
        blobfiles.migrate(self.connection)
        self.run_sql("DELETE FROM blobfiles_chunk")
        self.run_sql("DELETE FROM blobfiles_blob")

    def connect(self) -> Any:
        """Return one more connection."""
        connection = blobfiles.connect(self.url)
        self.addCleanup(connection.close)
        return connection

    def run_sql(self, statement: str) -> list[Any]:
        """Run a statement without the package, and return its rows."""
        cursor = self.connection.cursor()
        cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        cursor.close()
        return rows

    def store(self, data: bytes, staged: bool = False, **named: Any) -> str:
        """Store and publish a file."""
        named = {"name": "a.txt", "media_type": "text/plain", **named}
        if staged:
            with blobfiles.create(self.connection, staged=True, **named) as writer:
                writer.write(data)
            with blobfiles.transaction(self.connection):
                writer.publish(self.connection)
        else:
            with (
                blobfiles.transaction(self.connection),
                blobfiles.create(self.connection, **named) as writer,
            ):
                writer.write(data)
        return str(writer.id)

    def load(self, id: str) -> bytes:
        """Read a whole file."""
        with blobfiles.open(self.connection, id) as reader:
            return bytes(reader.read())

    def left_overs(self) -> list[Any]:
        """Return the rows that belong to no published file."""
        return self.run_sql("SELECT id, state FROM blobfiles_blob WHERE state <> 'published'") + (
            self.run_sql(
                "SELECT blob_id, number FROM blobfiles_chunk WHERE blob_id NOT IN"
                " (SELECT id FROM blobfiles_blob WHERE state = 'published')"
            )
        )


class WriterTest(DatabaseTest):
    """Both ways to write."""

    def test_every_size_comes_back(self) -> None:
        """Files around the size of a chunk are read as they were written, joined and staged."""
        for size in SIZES:
            for staged in (False, True):
                with self.subTest(size=size, staged=staged):
                    data = content(size)
                    id = self.store(data, staged)
                    self.assertEqual(self.load(id), data)
                    blob = blobfiles.stat(self.connection, id)
                    self.assertEqual(blob.size, size)
                    self.assertEqual(blob.sha256, hashlib.sha256(data).digest())
                    blobfiles.verify(self.connection, id)
        self.assertEqual(self.left_overs(), [])

    def test_any_buffer_of_any_size_is_taken(self) -> None:
        """Pieces of all sizes and kinds of buffers make one file."""
        data = content(2 * CHUNK_SIZE + 99)
        dice = random.Random(1)
        with blobfiles.create(self.connection, name="a", media_type="b", staged=True) as writer:
            at = 0
            while at < len(data):
                piece = data[at : at + dice.choice((1, 7, 4096, 100_000, CHUNK_SIZE))]
                kind = dice.choice((bytes, bytearray, memoryview))
                self.assertEqual(writer.write(kind(piece)), len(piece))
                at += len(piece)
            writer.write(memoryview(b"0a1b")[1::2])
            writer.write(array.array("H", [0x6363, 0x6464]))
        with blobfiles.transaction(self.connection):
            writer.publish(self.connection)
        self.assertEqual(self.load(writer.id), data + b"abccdd")

    def test_name_and_type_are_kept(self) -> None:
        """Names are any text; an apostrophe, a path or an emoji changes nothing."""
        for name in ("", "it's.txt", "../../etc/passwd", "日本 🙂.png", "a\\b%s?:x", "x" * 1000):
            with self.subTest(name=name):
                blob = blobfiles.stat(self.connection, self.store(b"1", name=name))
                self.assertEqual((blob.name, blob.media_type), (name, "text/plain"))

    def test_name_that_some_database_cannot_store_is_refused(self) -> None:
        """At once, and everywhere."""
        for name in ("a\0b", "\udcff.txt"):
            with self.subTest(name), self.assertRaises(ValueError):
                blobfiles.create(self.connection, name=name, media_type="b")

    def test_joined_file_comes_and_goes_with_the_transaction(self) -> None:
        """A rollback leaves nothing, and others see nothing before the commit."""
        other = self.connect()
        data = content(2 * CHUNK_SIZE + 1)
        with self.assertRaises(ZeroDivisionError), blobfiles.transaction(self.connection):
            with blobfiles.create(self.connection, name="a", media_type="b") as writer:
                writer.write(data)
            self.assertEqual(self.load(writer.id), data)
            self.assertEqual(list(blobfiles.list(other)), [])
            raise ZeroDivisionError
        with self.assertRaises(blobfiles.NotFound):
            blobfiles.stat(self.connection, writer.id)
        self.assertEqual(self.left_overs(), [])

    def test_error_inside_with_discards_the_file_alone(self) -> None:
        """The caller's transaction can go on without the file."""
        for size in (10, 2 * CHUNK_SIZE):
            with blobfiles.transaction(self.connection):
                kept = blobfiles.create(self.connection, name="kept", media_type="b")
                kept.write(b"1")
                kept.close()
                with (
                    self.assertRaises(ZeroDivisionError),
                    blobfiles.create(self.connection, name="a", media_type="b") as writer,
                ):
                    writer.write(content(size))
                    raise ZeroDivisionError
            self.assertEqual(self.load(kept.id), b"1")
            with self.assertRaises(blobfiles.NotFound):
                self.load(writer.id)
            self.assertEqual(self.left_overs(), [])

    def test_staged_file_is_not_seen_before_it_is_published(self) -> None:
        """Neither its first chunks nor the closed file, and no transaction is left open."""
        other = self.connect()
        writer = blobfiles.create(self.connection, name="a", media_type="b", staged=True)
        writer.write(content(CHUNK_SIZE))
        writer.write(b"more")
        with blobfiles.transaction(other):  # SQLite has one writer: nobody else holds the lock
            blobfiles.create(other, name="other", media_type="b").close()
        with self.assertRaises(blobfiles.NotFound):
            self.load(writer.id)
        writer.close()
        with self.assertRaises(blobfiles.NotFound):
            blobfiles.open(other, writer.id)
        with blobfiles.transaction(other):
            writer.publish(other)
        names = {blob.name for blob in blobfiles.list(other)}
        self.assertEqual(names, {"a", "other"})
        self.assertEqual(self.load(writer.id), content(CHUNK_SIZE) + b"more")

    def test_staged_writing_leaves_an_open_transaction_alone(self) -> None:
        """It would commit what the caller did not."""
        with blobfiles.transaction(self.connection):
            kept = blobfiles.create(self.connection, name="a", media_type="b")
            kept.close()
            writer = blobfiles.create(self.connection, name="a", media_type="b", staged=True)
            with self.assertRaises(blobfiles.BlobError):
                writer.write(bytes(CHUNK_SIZE + 1))
        self.assertEqual([blob.id for blob in blobfiles.list(self.connection)], [kept.id])

    def test_publishing_goes_with_the_callers_row(self) -> None:
        """A rollback takes both back, and both can be done again."""
        writer = blobfiles.create(self.connection, name="a", media_type="b", staged=True)
        writer.write(b"1")
        writer.close()
        with self.assertRaises(ZeroDivisionError), blobfiles.transaction(self.connection):
            writer.publish(self.connection)
            raise ZeroDivisionError
        with self.assertRaises(blobfiles.NotFound):
            self.load(writer.id)
        with blobfiles.transaction(self.connection):
            writer.publish(self.connection)
        self.assertEqual(self.load(writer.id), b"1")

    def test_only_a_closed_staged_file_can_be_published(self) -> None:
        """Publishing any other file raises an error."""
        writer = blobfiles.create(self.connection, name="a", media_type="b", staged=True)
        with self.assertRaises(ValueError):
            writer.publish(self.connection)
        writer.discard()
        with self.assertRaises(blobfiles.NotFound):
            writer.publish(self.connection)

    def test_too_large_leaves_nothing(self) -> None:
        """One byte too many is refused, whether in one piece or in many."""
        for staged in (False, True):
            for piece in (1000, CHUNK_SIZE):
                writer = blobfiles.create(
                    self.connection, name="a", media_type="b", staged=staged, max_size=CHUNK_SIZE
                )
                with self.assertRaises(blobfiles.TooLarge), writer:
                    for _ in range(CHUNK_SIZE // piece + 1):
                        writer.write(bytes(piece))
                blobfiles.collect(self.connection, NOW)
                self.assertEqual(self.left_overs(), [])
        exact = self.store(bytes(CHUNK_SIZE), max_size=CHUNK_SIZE)
        self.assertEqual(len(self.load(exact)), CHUNK_SIZE)

    def test_failed_write_cannot_be_closed_into_a_file(self) -> None:
        """After an error the writer refuses more bytes, and close() publishes nothing."""
        writer = blobfiles.create(self.connection, name="a", media_type="b", max_size=1)
        with self.assertRaises(blobfiles.TooLarge):
            writer.write(b"12")
        with self.assertRaises(ValueError):
            writer.write(b"1")
        writer.close()
        with self.assertRaises(blobfiles.NotFound):
            self.load(writer.id)

    def test_forgotten_writer_publishes_nothing(self) -> None:
        """Garbage collection is no close()."""
        writer = blobfiles.create(self.connection, name="a", media_type="b")
        writer.write(b"1")
        writer.__del__()
        del writer
        self.assertEqual(list(blobfiles.list(self.connection)), [])

    def test_standard_library_writes_to_it(self) -> None:
        """zipfile, tarfile, shutil and a BufferedWriter accept the writer as a file."""
        with (
            blobfiles.transaction(self.connection),
            blobfiles.create(self.connection, name="a.zip", media_type="b") as writer,
            zipfile.ZipFile(writer, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.writestr("one", content(CHUNK_SIZE))
            archive.writestr("two", b"2")
        with (
            blobfiles.open(self.connection, writer.id) as reader,
            zipfile.ZipFile(reader) as archive,
        ):
            self.assertIsNone(archive.testzip())
            self.assertEqual(archive.read("two"), b"2")
        with (
            blobfiles.transaction(self.connection),
            blobfiles.create(self.connection, name="a.tar.gz", media_type="b") as writer,
            tarfile.open(fileobj=writer, mode="w|gz") as tar,
        ):
            member = tarfile.TarInfo("one")
            member.size = CHUNK_SIZE
            tar.addfile(member, io.BytesIO(content(CHUNK_SIZE)))
        with (
            blobfiles.open(self.connection, writer.id) as reader,
            tarfile.open(fileobj=reader) as tar,
        ):
            extracted = tar.extractfile("one")
            assert extracted
            self.assertEqual(extracted.read(), content(CHUNK_SIZE))
        with (
            blobfiles.transaction(self.connection),
            blobfiles.create(self.connection, name="a", media_type="b") as writer,
            io.BufferedWriter(writer) as buffered,
        ):
            shutil.copyfileobj(io.BytesIO(content(CHUNK_SIZE + 1)), buffered, 1000)
        self.assertEqual(self.load(writer.id), content(CHUNK_SIZE + 1))


class ReaderTest(DatabaseTest):
    """A published file as a file object."""

    def test_reads_as_a_file_of_the_same_bytes_does(self) -> None:
        """Any sequence of seeks and reads has the same results as with io.BytesIO."""
        data = content(2 * CHUNK_SIZE + 1000)
        model = io.BytesIO(data)
        dice = random.Random(2)
        with blobfiles.open(self.connection, self.store(data)) as reader:
            for _ in range(300):
                place = dice.choice((0, CHUNK_SIZE - 1, CHUNK_SIZE, len(data), len(data) + 5))
                length = dice.choice((0, 1, 500, CHUNK_SIZE, len(data), -1))
                if dice.random() < 0.5:
                    self.assertEqual(reader.seek(place), model.seek(place))
                if dice.random() < 0.5:
                    self.assertEqual(reader.read(length), model.read(length))
                else:
                    one, other = bytearray(abs(length)), array.array("b", bytes(abs(length)))
                    self.assertEqual(model.readinto(one), reader.readinto(other))
                    self.assertEqual(one, other.tobytes())
                self.assertEqual(reader.tell(), model.tell())

    def test_buffered_reader_reads_lines(self) -> None:
        """io.BufferedReader and io.TextIOWrapper work on top."""
        lines = [f"line {number}\n" for number in range(40_000)]
        id = self.store("".join(lines).encode())
        with io.TextIOWrapper(io.BufferedReader(blobfiles.open(self.connection, id))) as text:
            self.assertEqual(list(text), lines)

    def test_closed_reader_says_so(self) -> None:
        """A closed reader raises ValueError, as every file does."""
        reader = blobfiles.open(self.connection, self.store(b"1"))
        reader.close()
        for use in (reader.read, reader.tell, reader.readall, lambda: reader.seek(0)):
            with self.assertRaises(ValueError):
                use()

    def test_reader_is_not_written(self) -> None:
        """Published files are immutable."""
        with blobfiles.open(self.connection, self.store(b"1")) as reader:
            self.assertFalse(reader.writable())
            with self.assertRaises(io.UnsupportedOperation):
                reader.write(b"2")

    def test_many_threads_read_at_once(self) -> None:
        """Each on a connection of its own, while another file is written."""
        data = content(3 * CHUNK_SIZE)
        id = self.store(data)
        wrong: list[object] = []

        def read(connection: Any) -> None:
            for _ in range(5):
                with blobfiles.open(connection, id) as reader:
                    if reader.read() != data:
                        wrong.append(id)

        threads = [threading.Thread(target=read, args=[self.connect()]) for _ in range(4)]
        for thread in threads:
            thread.start()
        self.store(data, staged=True)
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_what_is_corrupt_is_found(self) -> None:
        """A flipped byte, a missing chunk or an additional one raises Corrupt."""
        damages = {
            "flipped": "UPDATE blobfiles_chunk SET data = {flipped} WHERE number = 1",
            "missing": "DELETE FROM blobfiles_chunk WHERE number = 1",
            "short": "UPDATE blobfiles_blob SET size = size + 1",
        }
        for name, statement in damages.items():
            with self.subTest(name):
                self.run_sql("DELETE FROM blobfiles_chunk")
                data = content(2 * CHUNK_SIZE)
                id = self.store(data)
                flipped = bytearray(data[CHUNK_SIZE:])
                flipped[77] ^= 4
                self.run_sql(statement.format(flipped=self.literal(bytes(flipped))))
                with self.assertRaises(blobfiles.Corrupt):
                    blobfiles.verify(self.connection, id)
                with (
                    self.assertRaises(blobfiles.Corrupt),
                    blobfiles.open(self.connection, id, check=True) as reader,
                ):
                    reader.read()

    def test_verify_finds_what_a_chunks_own_sum_does_not(self) -> None:
        """Chunks in another order, or an additional one, are found by SHA-256 and count."""
        id = self.store(content(CHUNK_SIZE) + content(CHUNK_SIZE + 1)[:CHUNK_SIZE])
        for number, other in ((0, 7), (1, 0), (7, 1)):
            self.run_sql(f"UPDATE blobfiles_chunk SET number = {other} WHERE number = {number}")
        with self.assertRaises(blobfiles.Corrupt):
            blobfiles.verify(self.connection, id)
        self.run_sql("DELETE FROM blobfiles_chunk")
        id = self.store(content(10))
        self.run_sql(
            "INSERT INTO blobfiles_chunk (blob_id, number, crc32, data)"
            " SELECT blob_id, 1, crc32, data FROM blobfiles_chunk"
        )
        with self.assertRaises(blobfiles.Corrupt):
            blobfiles.verify(self.connection, id)

    def literal(self, data: bytes) -> str:
        """Write bytes in the database's SQL."""
        if self.url.startswith("postgres"):
            return f"'\\x{data.hex()}'::bytea"
        return f"X'{data.hex()}'"


class KeepingTest(DatabaseTest):
    """Stored files: find, list, delete, collect, migrate."""

    def test_list_is_newest_first_and_in_pages(self) -> None:
        """Every file is listed once, with any page size."""
        ids = [self.store(b"x") for _ in range(7)][::-1]
        self.assertEqual([blob.id for blob in blobfiles.list(self.connection)], ids)
        self.assertEqual([blob.id for blob in blobfiles.list(self.connection, limit=3)], ids[:3])
        after = [blob.id for blob in blobfiles.list(self.connection, after=ids[2], limit=2)]
        self.assertEqual(after, ids[3:5])
        blobfiles.delete(self.connection, ids[2])
        after = [blob.id for blob in blobfiles.list(self.connection, after=ids[2])]
        self.assertEqual(after, ids[3:])
        self.assertEqual(list(blobfiles.list(self.connection, limit=0)), [])

    def test_list_has_no_limit_of_its_own(self) -> None:
        """More files than are fetched at once."""
        with blobfiles.transaction(self.connection):
            for _ in range(250):
                blobfiles.create(self.connection, name="a", media_type="b").close()
        self.assertEqual(len({blob.id for blob in blobfiles.list(self.connection)}), 250)
        self.assertEqual(len(list(blobfiles.list(self.connection, limit=120))), 120)

    def test_deleted_file_is_gone_and_collected(self) -> None:
        """A deleted file is not found, open readers continue, and collect frees the space."""
        data = content(2 * CHUNK_SIZE)
        id = self.store(data)
        reader = blobfiles.open(self.connection, id)
        blobfiles.delete(self.connection, id)
        for use in (blobfiles.stat, blobfiles.open, blobfiles.delete, blobfiles.verify):
            with self.assertRaises(blobfiles.NotFound):
                use(self.connection, id)
        self.assertEqual(list(blobfiles.list(self.connection)), [])
        self.assertEqual(reader.read(), data)
        self.assertEqual(blobfiles.collect(self.connection), 0)
        self.assertEqual(blobfiles.collect(self.connection, NOW), 1)
        self.assertEqual(self.left_overs(), [])
        reader.seek(0)
        with self.assertRaises(blobfiles.NotFound):
            reader.read()

    def test_delete_is_the_callers_transaction(self) -> None:
        """A rollback keeps the file."""
        id = self.store(b"1")
        with self.assertRaises(ZeroDivisionError), blobfiles.transaction(self.connection):
            blobfiles.delete(self.connection, id)
            raise ZeroDivisionError
        self.assertEqual(self.load(id), b"1")

    def test_collect_takes_what_was_given_up_and_nothing_else(self) -> None:
        """A staged file is left alone for as long as somebody writes to it."""
        kept = self.store(content(CHUNK_SIZE))
        writer = blobfiles.create(self.connection, name="a", media_type="b", staged=True)
        writer.write(content(40 * CHUNK_SIZE))
        self.assertEqual(blobfiles.collect(self.connection), 0)
        writer.write(content(CHUNK_SIZE))
        self.assertEqual(blobfiles.collect(self.connection, NOW), 1)
        self.assertEqual(self.left_overs(), [])
        with self.assertRaises(blobfiles.NotFound), writer:
            writer.write(content(CHUNK_SIZE))
        self.assertEqual(self.left_overs(), [])
        blobfiles.verify(self.connection, kept)

    def test_nothing_is_found_under_odd_identifiers(self) -> None:
        """A text that is no identifier raises NotFound, and is not run as SQL."""
        id = self.store(b"1")
        for odd in ("", "x", id.upper(), f"{id} ", f"{id}' OR 1=1 --", "é", "x" * 5000):
            with self.subTest(odd), self.assertRaises(blobfiles.NotFound):
                blobfiles.open(self.connection, odd)

    def test_migrations_are_applied_once_and_in_order(self) -> None:
        """Also when several processes start at once, and for an application's own folder."""
        folder = self.folder / "application"
        folder.mkdir()
        (folder / "0002_more.sql").write_text("INSERT INTO migrated VALUES (2);\n")
        (folder / "0001_table.sql").write_text(
            "-- a comment; with a semicolon\nCREATE TABLE migrated (a INTEGER);\n"
            "INSERT INTO migrated VALUES (1);\nINSERT INTO migrated VALUES (11);\n"
        )
        for database in ("sqlite", "postgresql", "mysql"):
            script = f"INSERT INTO migrated VALUES (3); -- {database}\n"
            (folder / f"0003_own.{database}.sql").write_text(script)
        self.addCleanup(self.run_sql, "DROP TABLE migrated")
        space = f"application {random.random()}"
        threads = [
            threading.Thread(target=blobfiles.migrate, args=[self.connect(), folder, space])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = sorted(a for (a,) in self.run_sql("SELECT a FROM migrated"))
        self.assertEqual(rows, [1, 2, 3, 11])
        self.assertEqual(blobfiles.migrate(self.connection, folder, space), [])

    def test_misnamed_migration_is_refused(self) -> None:
        """A misnamed file raises an error and is not ignored."""
        (self.folder / "1_short.sql").write_text("")
        with self.assertRaisesRegex(ValueError, "0001_"):
            blobfiles.migrate(self.connection, self.folder)

    def test_dump_comes_back_with_the_same_hashes(self) -> None:
        """Files, identifiers, times and the application's rows, into an emptied database."""
        self.run_sql("CREATE TABLE papers (blob_id CHAR(26), seal VARCHAR(9), pages INTEGER)")
        self.addCleanup(self.run_sql, "DROP TABLE papers")
        names = ("", "it's", "日本 🙂", "a\nb=c", "x" * 500, "f", "g")
        for number, size in enumerate(SIZES):
            id = self.store(content(size), name=names[number])
            self.run_sql(f"INSERT INTO papers VALUES ('{id}', 'é\"', {size})")
        before = list(blobfiles.list(self.connection))
        rows = sorted(self.run_sql("SELECT blob_id, seal, pages FROM papers"))
        archive = io.BytesIO()
        self.assertEqual(blobfiles.dump(self.connection, archive, ["papers"]), len(SIZES))

        with self.assertRaisesRegex(blobfiles.BlobError, "already"):
            blobfiles.restore(self.connection, io.BytesIO(archive.getvalue()), ["papers"])
        for blob in before:
            blobfiles.delete(self.connection, blob.id)
        self.run_sql("DELETE FROM papers")
        with self.assertRaisesRegex(blobfiles.BlobError, "papers"):
            blobfiles.restore(self.connection, io.BytesIO(archive.getvalue()))
        self.assertEqual(list(blobfiles.list(self.connection)), [])

        again = io.BytesIO(archive.getvalue())
        self.assertEqual(blobfiles.restore(self.connection, again, ["papers"]), len(SIZES))
        self.assertEqual(list(blobfiles.list(self.connection)), before)
        self.assertEqual(sorted(self.run_sql("SELECT blob_id, seal, pages FROM papers")), rows)
        for blob in before:
            blobfiles.verify(self.connection, blob.id)

    def test_damaged_dump_restores_nothing(self) -> None:
        """A flipped byte is found by the hash, and a cut archive by tar."""
        data = content(2 * CHUNK_SIZE)
        id = self.store(data)
        archive = io.BytesIO()
        blobfiles.dump(self.connection, archive)
        blobfiles.delete(self.connection, id)
        whole = archive.getvalue()
        flipped = bytearray(whole)
        flipped[whole.index(data[-100:])] ^= 1
        for damaged in (bytes(flipped), whole[: len(whole) // 2], whole.replace(b"name", b"mane")):
            with self.assertRaises((blobfiles.Corrupt, tarfile.ReadError)):
                blobfiles.restore(self.connection, io.BytesIO(damaged))
            self.assertEqual(list(blobfiles.list(self.connection)), [])

    def test_command_line_dumps_restores_and_verifies(self) -> None:
        """One command each; a failure is a line that says what to change."""
        self.store(content(CHUNK_SIZE + 1))
        file = self.folder / "a dump.tar"
        self.assertEqual(self.run_command("dump", str(file)), (0, "blobfiles: dumped 1 files\n"))
        status, said = self.run_command("restore", str(file))
        self.assertEqual(status, 1)
        self.assertIn("restore into an empty one", said)
        for blob in blobfiles.list(self.connection):
            blobfiles.delete(self.connection, blob.id)
        self.assertEqual(self.run_command("collect", "--older-than", "0")[0], 0)
        self.assertEqual(self.left_overs(), [])
        status, said = self.run_command("restore", str(self.folder / "none.tar"))
        self.assertEqual((status, said.count("\n")), (1, 1), said)
        self.assertEqual(self.run_command("restore", str(file))[0], 0)
        self.assertIn("1 files are intact", self.run_command("verify")[1])

    def run_command(self, *words: str) -> tuple[int, str]:
        """Run `python -m blobfiles`; return its status and messages."""
        done = subprocess.run(
            [sys.executable, "-m", "blobfiles", *words],
            env={
                **os.environ,
                "DATABASE_URL": self.url,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        return done.returncode, done.stderr

    def test_unknown_url_is_refused(self) -> None:
        """The error names valid URLs."""
        for url in ("oracle://x", "files.db", "sqlite://", "sqlite:///"):
            with self.subTest(url), self.assertRaisesRegex(ValueError, "sqlite:///"):
                blobfiles.connect(url)


if __name__ == "__main__":
    unittest.main()
