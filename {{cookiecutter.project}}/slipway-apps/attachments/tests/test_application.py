"""Tests of the installed command over HTTP, with SQLite."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = Path(sysconfig.get_path("scripts"), "{{ cookiecutter.command }}")
TOKEN = "sesame ä"
LIMITS = {
    "MAX_FILE_SIZE": "1M",
    "MAX_FILES": "20",
    "MAX_TOTAL_SIZE": "8M",
    "HEADER_SECONDS": "1",
    "STALL_SECONDS": "1",
    "MIN_BYTES_PER_SECOND": "1000",
}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


class Server:
    """One server, on a port that the system chooses."""

    def __init__(self, folder: str, **environment: str) -> None:
        """Start the server and read its address from its log."""
        self.process = subprocess.Popen(
            [COMMAND],
            cwd=folder,
            env={**os.environ, "PORT": "0", "WRITE_TOKEN": "", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.search(r"running on http://0.0.0.0:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"{COMMAND} ended with status {self.process.wait()}")

    def stop(self) -> None:
        """End the server at once."""
        self.process.kill()
        self.process.communicate()

    def connect(self) -> socket.socket:
        """Connect to the server, to send what no HTTP library would send."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def raw(self, text: str) -> str:
        """Send bytes unchanged; return the answer until the server closes the connection."""
        with self.connect() as connection:
            connection.sendall(text.encode("latin-1"))
            return connection.makefile("rb").read().decode("latin-1")

    def ask(self, method: str, target: str, body: Any = None, **fields: Any) -> Reply:
        """Send one request; fields have _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        try:
            connection.request(method, target, body, headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()


def job(folder: str, name: str) -> bytes:
    """Return the output of a job of the command."""
    return subprocess.run([COMMAND, name], cwd=folder, capture_output=True, check=True).stdout


def job_says(folder: str, archive: bytes, fails: bool = False) -> str:
    """Restore an archive; return the messages."""
    done = subprocess.run(
        [COMMAND, "restore"], cwd=folder, input=archive, capture_output=True, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr.decode()


class Reply:
    """An answer that was read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        """Read the response."""
        self.status = response.status
        self.fields = response.headers
        self.body = response.read()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class ApplicationTest(unittest.TestCase):
    """One server with small limits and no token for all of these tests; each empties it."""

    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server."""
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(folder.name, **LIMITS)
        cls.addClassCleanup(cls.server.stop)

    def tearDown(self) -> None:
        """Delete the files of the test."""
        for file in self.ask("GET", "/files").json()["files"]:
            self.ask("DELETE", file["url"])

    def ask(self, method: str, target: str, body: Any = None, **fields: str) -> Reply:
        """Send one request."""
        return self.server.ask(method, target, body, **fields)

    def put(self, target: str = "/files/a.txt", body: Any = b"hello", **fields: str) -> Reply:
        """Upload a file, which must succeed."""
        reply = self.ask("PUT", target, body, **fields)
        self.assertIn(reply.status, (201, 204), reply.body)
        return reply

    def refused(self, status: int, *request: Any, **fields: str) -> Reply:
        """Send a request that must be refused, with one line that states the reason."""
        reply = self.ask(*request, **fields)
        self.assertEqual(reply.status, status, reply.body)
        if request[0] != "HEAD":
            self.assertRegex(reply.body.decode(), r"\A.+\n\Z")
        return reply

    def test_a_file_comes_back_as_it_went(self) -> None:
        """Bytes, name, size and hash are the same at the address in the upload's answer."""
        body = os.urandom(700_000)
        made = self.ask("POST", "/files", body, content_disposition="attachment; filename=b.bin")
        self.assertEqual(made.status, 201)
        got = self.ask("GET", made.fields["location"])
        self.assertEqual((got.status, got.body), (200, body))
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        for name, value in {
            "content-length": str(len(body)),
            "content-type": "application/octet-stream",
            "content-disposition": 'attachment; filename="b.bin"',
            "etag": made.fields["etag"],
            "repr-digest": f"sha-256=:{digest}:",
            "content-digest": f"sha-256=:{digest}:",
            "accept-ranges": "bytes",
            "x-content-type-options": "nosniff",
        }.items():
            self.assertEqual(got.fields[name], value)
        [listed] = self.ask("GET", "/files").json()["files"]
        self.assertEqual(listed, made.json())
        self.assertEqual(listed["sha256"], hashlib.sha256(body).hexdigest())

    def test_a_name_that_the_client_chooses(self) -> None:
        """PUT creates a file and then replaces it; the encoding of the name does not matter."""
        first = self.put("/files/%61%20%E2%98%83.txt")
        self.assertEqual(
            (first.status, first.fields["location"]), (201, "/files/a%20%E2%98%83.txt")
        )
        again = self.put("/files/a%20%e2%98%83.txt", b"other")
        self.assertEqual((again.status, again.body), (204, b""))
        self.assertNotEqual(again.fields["etag"], first.fields["etag"])
        self.assertEqual(self.ask("GET", "/files/a%20%E2%98%83.txt").body, b"other")
        self.assertEqual(self.ask("GET", "/files").json()["total"], {"files": 1, "bytes": 5})

    def test_names_that_are_no_files(self) -> None:
        """No path leads anywhere else."""
        for target in (
            "/files/..",
            "/files/.",
            "/files/a/b",
            "/files/a%2Fb",
            "/files/%FF",
            "/x",
            "//",
        ):
            with self.subTest(target):
                self.refused(404, "PUT" if "files" in target else "GET", target, b"x")
        self.refused(404, "GET", "/files/nothing")
        self.refused(404, "DELETE", "/files/nothing")
        self.refused(404, "PUT", "/files/" + "x" * 766, b"x")

    def test_head_is_get_without_the_body(self) -> None:
        """The same fields, for a file as for the page."""
        self.put()
        for target in ("/files/a.txt", "/", "/files", "/page.js", "/health"):
            got, head = self.ask("GET", target), self.ask("HEAD", target)
            for reply in (got, head):
                del reply.fields["date"]
            self.assertEqual((head.status, head.body), (got.status, b""))
            self.assertEqual(head.fields.items(), got.fields.items())

    def test_ranges(self) -> None:
        """206 with the range, 416 after the end, and the whole file if it has changed."""
        etag = self.put(body=bytes(range(256)) * 2000).fields["etag"]
        target = "/files/a.txt"
        part = self.ask("GET", target, range="bytes=262140-262150")
        self.assertEqual((part.status, len(part.body)), (206, 11))
        self.assertEqual(part.body, (bytes(range(256)) * 2000)[262140:262151])
        self.assertEqual(part.fields["content-range"], "bytes 262140-262150/512000")
        self.assertEqual(self.ask("GET", target, range="bytes=-1", if_range=etag).status, 206)
        self.assertEqual(self.ask("GET", target, range="bytes=-1", if_range='"x"').status, 200)
        self.assertEqual(self.ask("HEAD", target, range="bytes=-1").status, 200)
        behind = self.refused(416, "GET", target, range="bytes=512000-")
        self.assertEqual(behind.fields["content-range"], "bytes */512000")

    def test_conditions(self) -> None:
        """A known state is not sent again, and an unknown state is not replaced."""
        target, etag = "/files/a.txt", self.put().fields["etag"]
        unchanged = self.ask("GET", target, if_none_match=etag)
        self.assertEqual((unchanged.status, unchanged.body), (304, b""))
        self.assertEqual(unchanged.fields["etag"], etag)
        self.refused(412, "GET", target, if_match='"x"')
        self.refused(412, "PUT", target, b"x", if_none_match="*")
        self.refused(412, "PUT", "/files/b.txt", b"x", if_match="*")
        self.refused(400, "PUT", target, b"x", if_match='"x')
        self.refused(412, "DELETE", target, if_match='"x"')
        newer = self.put(target, b"newer", if_match=etag).fields["etag"]
        self.refused(412, "DELETE", target, if_match=etag)
        self.assertEqual(self.ask("DELETE", target, if_match=newer).status, 204)
        self.refused(404, "GET", target)

    def test_of_several_that_make_the_same_file_one_wins(self) -> None:
        """If-None-Match is checked again after the bytes have arrived."""
        connections = []
        head = "PUT /files/a HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 2\r\n\r\n1"
        for _ in range(3):
            connections.append(self.server.connect())
            connections[-1].sendall(head.encode())
        statuses = []
        for connection in connections:
            with connection:
                connection.sendall(b"2")
                statuses.append(int(connection.makefile("rb").readline().split()[1]))
        self.assertEqual(sorted(statuses), [201, 412, 412])

    def test_digests_are_compared(self) -> None:
        """422 for bytes with another digest; nothing is stored."""
        good = base64.b64encode(hashlib.sha512(b"hello").digest()).decode()
        self.put(content_digest=f"md5=:AA==:, sha-512=:{good}:")
        for name in ("content_digest", "repr_digest"):
            self.refused(422, "PUT", "/files/b", b"hullo", **{name: f"sha-512=:{good}:"})
        self.refused(400, "PUT", "/files/b", b"hello", content_digest="sha-512=abc")
        self.refused(404, "GET", "/files/b")

    def test_chunks(self) -> None:
        """A body of unknown length."""
        self.put("/files/c", iter([b"one", b"", b"two" * 100_000]))
        self.assertEqual(self.ask("GET", "/files/c").body, b"one" + b"two" * 100_000)
        self.put("/files/empty", b"")
        self.assertEqual(self.ask("GET", "/files/empty").body, b"")

    def test_bodies_that_are_refused(self) -> None:
        """No length, too large, encoded, partial, or with an unknown expectation."""
        no_length = self.server.raw("PUT /files/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertIn("411 Length Required", no_length)
        self.refused(413, "PUT", "/files/a", b"x" * (2 << 20))
        self.refused(413, "PUT", "/files/a", iter([b"x" * 65536] * 17))
        self.refused(415, "PUT", "/files/a", b"x", content_encoding="gzip")
        self.refused(400, "PUT", "/files/a", b"x", content_range="bytes 0-0/5")
        self.refused(417, "PUT", "/files/a", b"x", expect="200-ok")
        self.refused(404, "GET", "/files/a")

    def test_a_body_that_is_refused_is_not_asked_for(self) -> None:
        """With Expect, the answer comes in place of 100 Continue."""
        head = (
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
        )
        with self.server.connect() as connection:
            connection.sendall(head.format(9 << 20).encode())
            self.assertIn(b"413", connection.recv(1000))
        with self.server.connect() as connection:
            connection.sendall(head.format(5).encode())
            self.assertEqual(connection.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(b"hello")
            self.assertIn(b"201 Created", connection.recv(1000))

    def test_there_is_room_for_so_many(self) -> None:
        """Files and bytes are counted, also those of uploads that end at the same time."""
        for number in range(7):
            self.put(f"/files/{number}", b"x" * (1 << 20))
        self.put("/files/7", b"x" * 1_000_000)
        self.refused(507, "PUT", "/files/8", b"x" * 100_000)
        self.refused(507, "PUT", "/files/8", iter([b"x" * 100_000]))
        self.put("/files/7", b"small")
        for number in range(8, 20):
            self.put(f"/files/{number}")
        self.refused(507, "PUT", "/files/20", b"x")

    def test_a_form(self) -> None:
        """A page without a script sends all files at once, and goes back to the list."""
        parts = [
            b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n\r\n',
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a%22\xe2\x98\x83.png"'
            b"\r\nContent-Type: image/png\r\n\r\n" + PNG + b"\r\n",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="b"\r\n\r\n\r\n',
            b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n',
            b"--x--\r\n",
        ]
        kind = "multipart/form-data; boundary=x"
        said = self.ask("POST", "/files", b"".join(parts), content_type=kind).json()
        self.assertEqual([each["name"] for each in said], ['a"☃.png', "b"])
        picture = self.ask("GET", said[0]["url"])
        self.assertEqual((picture.fields["content-type"], picture.body), ("image/png", PNG))
        self.assertRegex(picture.fields["content-disposition"], "^inline;")
        back = self.ask(
            "POST", "/files", b"".join(parts), content_type=kind, accept="text/html,*/*"
        )
        self.assertEqual((back.status, back.fields["location"]), (303, "/"))
        for broken in (b"".join(parts[:-1]), b"".join(parts[1:])[:-40], b"--y--", b"", parts[-1]):
            self.refused(400, "POST", "/files", broken, content_type=kind)
        self.assertEqual(self.ask("GET", "/files").json()["total"]["files"], 4)

    def test_media_types_are_not_believed(self) -> None:
        """A file that could run in this origin is a download of unknown type, and sandboxed."""
        for kind in ("text/html", "image/svg+xml", "text/javascript", "application/pdf"):
            self.put("/files/page", b"<script>", content_type=kind)
            got = self.ask("GET", "/files/page")
            self.assertEqual(got.fields["content-type"], "application/octet-stream")
            self.assertRegex(got.fields["content-disposition"], "^attachment;")
            self.assertIn("sandbox", got.fields["content-security-policy"])
            self.assertEqual(self.ask("GET", "/files").json()["files"][0]["media_type"], kind)

    def test_parameters_that_nobody_needs(self) -> None:
        """A query of many parameters is refused; a few unknown ones are ignored."""
        many = "&".join(f"a{number}=1" for number in range(60))
        self.refused(400, "GET", f"/files?{many}")
        self.assertEqual(self.ask("GET", "/files?a=1&b=2").status, 200)

    def test_names_of_others(self) -> None:
        """The page of a site that lets its name lead here can neither read nor write."""
        for method in ("GET", "POST"):
            evil = {"host": "evil.example", "origin": "http://evil.example"}
            refused = self.refused(421, method, "/files", b"x", **evil)
            self.assertIn(b"ALLOWED_HOSTS", refused.body)
        self.assertEqual(self.ask("GET", "/files", host=f"server:{self.server.port}").status, 200)

    def test_a_body_of_two_lengths(self) -> None:
        """A request that a proxy may have read in another way is refused, and the last one."""
        both = "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
        answer = self.server.raw("PUT /files/a HTTP/1.1\r\nHost: x\r\n" + both)
        self.assertEqual(answer.count("HTTP/1.1 "), 1)
        self.assertTrue(answer.startswith("HTTP/1.1 400 "), answer)
        self.assertIn("connection: close\r\n", answer)

    def test_pages_of_others_may_not_write(self) -> None:
        """A browser reports which site's page sent the request."""
        self.refused(403, "POST", "/files", b"x", origin="http://evil.example")
        self.refused(403, "DELETE", "/files/x", sec_fetch_site="cross-site")

    def test_methods(self) -> None:
        """405 and OPTIONS name the methods of an address."""
        refused = self.refused(405, "POST", "/files/a", b"x")
        self.assertEqual(refused.fields["allow"], "DELETE, GET, HEAD, OPTIONS, PUT")
        self.refused(405, "TRACE", "/")
        options = self.ask("OPTIONS", "/files")
        self.assertEqual(
            (options.status, options.fields["allow"]), (204, "GET, HEAD, OPTIONS, POST")
        )
        whole = "GET http://x/files/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        self.assertIn("404 Not Found", self.server.raw(whole))

    def test_the_list_has_pages(self) -> None:
        """The newest first, and the next page where the last one ended."""
        urls = [self.put(f"/files/{number}", b"x").fields["location"] for number in range(15)]
        listed = self.ask("GET", "/files").json()
        self.assertEqual([file["url"] for file in listed["files"]], urls[::-1])
        self.assertIsNone(listed["next"])
        for nonsense in ("x", "1%20", "-1%20x", "9" * 99 + "%20x", "%00"):
            self.assertEqual(self.ask("GET", f"/files?after={nonsense}").status, 200)

    def test_the_page(self) -> None:
        """The page may run its own script, and has the elements that the script needs."""
        page = self.ask("GET", "/")
        self.assertEqual(page.fields["content-type"], "text/html; charset=utf-8")
        self.assertIn("script-src 'self'", page.fields["content-security-policy"])
        self.assertEqual(self.ask("GET", "/", if_none_match=page.fields["etag"]).status, 304)
        script = self.ask("GET", "/page.js").body.decode()
        for name in re.findall(r'element\("([^"]+)"\)', script):
            self.assertIn(f'id="{name}"', page.body.decode())

    def test_clients_that_do_not_get_on(self) -> None:
        """Headers that do not end, and a body that arrives very slowly."""
        self.assertIn("408 Request Timeout", self.server.raw("GET / HTTP/1.1\r\nHost: x\r\n"))
        drops = "PUT /files/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx"
        self.assertIn("408 Request Timeout", self.server.raw(drops))
        self.assertEqual(
            self.server.raw(""),
            "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )

    def test_a_client_may_close_its_side_first(self) -> None:
        """The client gets the answer to its request."""
        for more in (b"", b"Connection: close\r\n"):
            with self.server.connect() as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").read()
                self.assertRegex(answer, rb"\AHTTP/1.1 200 OK\r\n[^\0]*healthy\n\Z")

    def test_what_is_no_http_is_answered_as_such(self) -> None:
        """Also in the middle of a body."""
        for text in (
            "\0\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nx" + "y" * 99999,
        ):
            self.assertIn("400 Bad Request", self.server.raw(text))
        chunked = (
            "PUT /files/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        )
        self.assertIn("400 Bad Request", self.server.raw(chunked))
        self.refused(404, "GET", "/files/a")


class UploadsTogetherTest(unittest.TestCase):
    """Uploads count while they arrive, whether their length is known or not."""

    def setUp(self) -> None:
        """Start a server with room for 4 MiB."""
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.server = Server(self.folder.name, MAX_TOTAL_SIZE="4M", MAX_FILE_SIZE="100M")
        self.addCleanup(self.server.stop)

    def begin(self, target: str, size: int) -> socket.socket:
        """Send the first bytes of an upload in chunks."""
        connection = self.server.connect()
        self.addCleanup(connection.close)
        head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"%x\r\n" % size + bytes(size) + b"\r\n")
        return connection

    def stored(self) -> int:
        """Return the size of the database in bytes, without its log."""
        return Path(self.folder.name, "attachments.db").stat().st_size

    def test_one_upload(self) -> None:
        """It is refused before it has filled the disk, and leaves nothing."""
        for _ in range(3):
            connection = self.begin("/files/a", 1000)
            for _ in range(60):
                connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            self.assertIn(b" 507 ", connection.recv(1000))
            self.assertLess(self.stored(), 16 << 20)
        self.assertEqual(self.server.ask("PUT", "/files/a", bytes(3 << 20)).status, 201)

    def test_many_uploads(self) -> None:
        """Three halves are too many, until one of them is given up."""
        uploads = [self.begin(f"/files/{number}", 1900 << 10) for number in range(3)]
        [refused], _, _ = select.select(uploads, [], [], 30)
        self.assertIn(b" 507 ", refused.recv(1000))
        uploads.remove(refused)
        uploads[0].sendall(b"0\r\n\r\n")
        self.assertIn(b" 201 ", uploads[0].recv(1000))
        self.assertEqual(self.server.ask("PUT", "/files/3", bytes(1 << 20)).status, 507)
        uploads[1].close()
        until_true(lambda: self.server.ask("PUT", "/files/3", bytes(1 << 20)).status == 201)

    def test_a_form(self) -> None:
        """All files of a form count together."""
        part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
        form = (part + bytes(1 << 20) + b"\r\n") * 5 + b"--x--\r\n"
        kind = "multipart/form-data; boundary=x"
        pieces = (form[at : at + 65536] for at in range(0, len(form), 65536))
        self.assertEqual(self.server.ask("POST", "/files", pieces, content_type=kind).status, 507)


class CrowdTest(unittest.TestCase):
    """Clients that hold more connections than there are places."""

    def test_slow_clients_make_way(self) -> None:
        """Health is answered all the time, and everybody else as soon as the others are slow."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        server = Server(folder.name, MAX_CONNECTIONS="20")
        self.addCleanup(server.stop)
        starts = (
            b"PUT /files/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\nx",
            b"GET / HTTP/1.1\r\nHost: x\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
            b"",
        )
        for number in range(200):
            connection = server.connect()
            self.addCleanup(connection.close)
            connection.sendall(starts[number % len(starts)])
            if number % 10 == 0:
                self.assertEqual(server.ask("GET", "/health").status, 200)
        until_true(lambda: server.ask("PUT", "/files/b", b"x").status == 201)
        for _ in range(20):
            until_true(lambda: server.ask("GET", "/files/b").body == b"x")


def until_true(condition: Callable[[], bool]) -> None:
    """Wait for a condition that becomes true within some seconds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition stays false"
        time.sleep(0.1)


class TokenTest(unittest.TestCase):
    """A server that wants a token for writing."""

    def setUp(self) -> None:
        """Start the server."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.server = Server(folder.name, WRITE_TOKEN=TOKEN)
        self.addCleanup(self.server.stop)

    def test_who_knows_it_may_write_and_everybody_may_read(self) -> None:
        """In a field of the request, or of a form before its files."""
        right = f"Bearer {TOKEN}".encode()
        for given in (None, "Bearer wrong", "Basic " + TOKEN, "Bearer"):
            fields = {"authorization": given.encode()} if given else {}
            for method, target in (("PUT", "/files/a"), ("POST", "/files"), ("DELETE", "/files/a")):
                refused = self.server.ask(method, target, b"x", **fields)
                self.assertEqual(refused.status, 401)
                self.assertIn("Bearer", refused.fields["www-authenticate"])
        self.assertEqual(self.server.ask("PUT", "/files/a", b"x", authorization=right).status, 201)
        self.assertEqual(self.server.ask("GET", "/files/a").body, b"x")
        self.assertTrue(self.server.ask("GET", "/files").json()["token_needed"])
        kind = "multipart/form-data; boundary=x"
        token = f'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n{TOKEN}\r\n'.encode()
        file = b'--x\r\nContent-Disposition: form-data; name="f"; filename="b"\r\n\r\nx\r\n'
        for parts, status in (((token, file), 201), ((file, token), 401), ((file,), 401)):
            form = b"".join((*parts, b"--x--\r\n"))
            self.assertEqual(
                self.server.ask("POST", "/files", form, content_type=kind).status, status
            )
        self.assertEqual(self.server.ask("DELETE", "/files/a", authorization=right).status, 204)


class StartTest(unittest.TestCase):
    """How it starts and stops."""

    def test_it_stops_at_once_when_told_and_starts_with_what_there_was(self) -> None:
        """SIGTERM, which `docker stop` sends, ends it cleanly."""
        with tempfile.TemporaryDirectory() as folder:
            for status in (404, 200):
                server = Server(folder)
                try:
                    self.assertEqual(server.ask("GET", "/files/a").status, status)
                    server.ask("PUT", "/files/a", b"x")
                    server.process.terminate()
                    self.assertIn(server.process.wait(timeout=10), (0, -signal.SIGTERM))
                finally:
                    server.stop()

    def test_a_backup_has_everything_and_brings_it_back(self) -> None:
        """All of it or nothing, into an empty database."""
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            server = Server(one)
            self.addCleanup(server.stop)
            bodies = {"/files/a%20%E2%98%83": os.urandom(600_000), "/files/b": b""}
            for target, body in bodies.items():
                server.ask("PUT", target, body, content_type="image/png")
            archive = job(one, "backup")
            cut = archive.index(b"tables/attachments_file") - 1024
            for damaged in (archive[:300_000], archive[: cut - cut % 512], b""):
                self.assertIn("nothing is restored", job_says(other, damaged, fails=True))
            spoilt = archive.replace(bodies["/files/a%20%E2%98%83"][-9:], b"x" * 9)
            self.assertIn("SHA-256", job_says(other, spoilt, fails=True))
            self.assertIn("restore: 2 files", job_says(other, archive))
            self.assertIn("into an empty one", job_says(other, archive, fails=True))
            copy = Server(other)
            self.addCleanup(copy.stop)
            for target, body in bodies.items():
                self.assertEqual(copy.ask("GET", target).body, body)
            self.assertEqual(copy.ask("GET", "/files").json(), server.ask("GET", "/files").json())

    def test_without_a_word_about_the_token_it_does_not_start(self) -> None:
        """Nobody opens a server to all writers without knowing."""
        given = {name: value for name, value in os.environ.items() if name != "WRITE_TOKEN"}
        done = subprocess.run([COMMAND], env=given, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"\AWRITE_TOKEN is not set: .*deploy/run.env.*\n\Z")

    def test_a_setting_that_will_not_do_is_named(self) -> None:
        """In one line, with what to write."""
        done = subprocess.run(
            [COMMAND],
            env={**os.environ, "MAX_FILES": "many"},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "MAX_FILES is 'many': write a whole number, as 512 or 512M\n")


if __name__ == "__main__":
    unittest.main()
