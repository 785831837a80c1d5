"""The attachments application in its image: large files, slow clients, kills, crowds, a browser."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import testbed
from tests.containers.attachments import sample_picture
from tests.containers.attachments.application import Attachments, Deployed, finish
from tests.containers.attachments.browser import Page
from tests.containers.attachments.clients import Client, Crowd, read_head

MIB = 1 << 20
# Over what it has when it is idle, for a file of any size.
MOST_MEMORY = {"CPython": 24 * MIB, "PyPy": 64 * MIB}
LARGE = {"CPython": 1024 * MIB, "PyPy": 128 * MIB}
MOST_WAL = 64 * MIB
# Longer runs of the same: ATTACHMENTS_KILLS=100 ATTACHMENTS_SECONDS=60.
KILLS = int(os.environ.get("ATTACHMENTS_KILLS", "4"))
SECONDS = float(os.environ.get("ATTACHMENTS_SECONDS", "10"))
CLIENTS = 200


@pytest.fixture(params=["CPython", "PyPy"])
def each(request: pytest.FixtureRequest) -> Attachments:
    """The application on each of them."""
    found: Attachments = request.getfixturevalue(f"attachments_{request.param.lower()}")
    return found


@pytest.fixture
def cpython(attachments_cpython: Attachments) -> Attachments:
    """The application on CPython."""
    return attachments_cpython


def python_of(application: Attachments) -> str:
    """Return which interpreter it has."""
    return "PyPy" if "pypy" in application.name else "CPython"


def test_its_own_tests_pass_in_its_image(each: Attachments) -> None:
    """With what is installed there, as the user that it runs as."""
    tests = each.project.path / "tests"
    options = ("--rm", "--read-only", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL")
    mounted = ("--mount", f"type=bind,source={tests},target=/tests,readonly")
    python = ("--entrypoint", "/appenv/bin/python", f"{each.name}-run")
    for pattern in ("test_semantics.py", "test_application.py"):
        command = ("-m", "unittest", "discover", "-s", "/tests", "-p", pattern)
        each.laptop.docker("run", *options, *mounted, *python, *command)


def pieces(size: int) -> Iterator[bytes]:
    """Bytes that do not repeat, made as they are needed."""
    generator = random.Random(size)
    while size > 0:
        piece = generator.randbytes(min(size, MIB))
        size -= len(piece)
        yield piece


async def offered(size: int) -> AsyncIterator[bytes]:
    """The same, for a client to send."""
    for piece in pieces(size):
        yield piece


# The size of the write-ahead log, and those of all files that are not in the volume, those without
# a name any more among them. The image's own count for nothing: it is read-only, and whatever is
# being started has its libraries open.
SIZES = """
stat --format 'wal %s' /files/*-wal
find /tmp /dev/shm /var/tmp -type f -exec stat --format 'other %s' {} +
for open in /proc/[0-9]*/fd/*; do
    case $(readlink "$open") in
    /files/* | /usr/* | /appenv/*) ;;
    /*) stat --dereference --format 'other %s' "$open" ;;
    esac
done
true
"""


@contextmanager
def watched(application: Attachments) -> Iterator[dict[str, int]]:
    """Measure the container's files again and again; the value is the largest sizes."""
    largest = {"wal": 0, "other": 0}
    left = threading.Event()

    def look() -> None:
        while not left.wait(0.3):
            said = application.inside("sh", "-c", f"({SIZES}) 2>/dev/null").split()
            for kind, size in zip(said[::2], said[1::2], strict=True):
                largest[kind] = max(largest[kind], int(size))

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        try:
            yield largest
        finally:
            left.set()
            looking.result()


def test_a_large_file_takes_little_memory_and_no_temporary_file(each: Attachments) -> None:
    """In chunks of unknown number up, in one piece down, with a part of it between."""
    python = python_of(each)
    size = LARGE[python]
    port = each.run()
    whole = hashlib.sha256()
    for piece in pieces(size):
        whole.update(piece)

    async def warm_up(client: Client) -> None:
        for _ in range(3):
            await client.request("PUT", "/files/small", bytes(2 * MIB))
            await client.request("GET", "/files/small")

    async def up_and_down(client: Client) -> None:
        fields = {"Content_Length": str(size)}
        made = await client.request("PUT", "/files/large", offered(size), **fields)
        assert made.status == 201
        assert json.loads(made.body)["sha256"] == whole.hexdigest()
        got = await client.request("GET", "/files/large")
        assert (got.status, got.sha256) == (200, whole.hexdigest())
        part = await client.request("GET", "/files/large", Range=f"bytes={size - 5}-")
        assert (part.status, len(part.body)) == (206, 5)

    finish(warm_up(Client(port)))
    idle = each.memory()
    with watched(each) as largest:
        finish(up_and_down(Client(port)))
    peak = each.memory()
    print(f"{python}: {size >> 20} MiB: {(peak - idle) / MIB:.1f} MiB over {idle / MIB:.1f} MiB")
    print(f"WAL {largest['wal'] / MIB:.1f} MiB, other files {largest['other']} bytes")
    assert peak - idle <= MOST_MEMORY[python]
    assert 0 < largest["wal"] <= MOST_WAL
    assert largest["other"] <= MIB


async def slow_upload(port: int, goes_on: asyncio.Event) -> int:
    """Send half of a body, a little at a time, and the rest when others are done; the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 600000\r\n\r\n")
    for _ in range(3):
        writer.write(bytes(100_000))
        await writer.drain()
        await asyncio.sleep(0.1)
    await goes_on.wait()
    writer.write(bytes(300_000))
    status, _ = await read_head(reader)
    writer.close()
    return status


async def slow_download(port: int, goes_on: asyncio.Event) -> int:
    """Read a little of an answer, and the rest when others are done; how much it was."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(b"GET /files/shared HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _, fields = await read_head(reader)
    await goes_on.wait()
    got = 0
    while piece := await reader.read(1 << 20):
        got += len(piece)
    assert got == int(fields["content-length"])
    writer.close()
    return got


def test_slow_clients_cost_little_and_hold_up_nobody(cpython: Attachments) -> None:
    """While 40 of them are at it, others upload, list and delete."""
    port, slow = cpython.run(), 20

    async def main() -> tuple[int, int]:
        client = Client(port)
        assert (await client.request("PUT", "/files/shared", bytes(32 * MIB))).status == 201
        before, goes_on = cpython.memory(), asyncio.Event()
        at_it = [
            asyncio.ensure_future(work(port, goes_on))
            for work in (slow_upload, slow_download)
            for _ in range(slow)
        ]
        for number in range(10):
            assert (await client.request("PUT", f"/files/{number}", bytes(MIB))).status == 201
            assert (await client.request("GET", "/files")).status == 200
            assert (await client.request("DELETE", f"/files/{number}")).status == 204
            await asyncio.sleep(0.1)
        assert not any(each.done() for each in at_it)
        after = cpython.memory()
        goes_on.set()
        assert await asyncio.gather(*at_it) == [201] * slow + [32 * MIB] * slow
        return before, after

    before, after = finish(main())
    print(f"{(after - before) / MIB / (2 * slow):.2f} MiB for each slow client")
    assert after - before <= 2 * MIB * 2 * slow


@pytest.mark.quiet
def test_a_crowd_is_served_without_an_error(cpython: Attachments) -> None:
    """200 clients that upload, download and delete, and compare every hash."""
    port = cpython.run()
    crowd = Crowd(port, [0, 1, 5000, 65_536, 262_144, 300_000, MIB, 3 * MIB])
    finish(crowd.run(CLIENTS, SECONDS))
    print(f"{crowd.uploads} up, {crowd.downloads} down, {crowd.deletions} deleted")
    print(f"{cpython.memory() / MIB:.0f} MiB in all")
    assert not crowd.errors
    assert min(crowd.uploads, crowd.downloads, crowd.deletions) > CLIENTS / 10
    assert cpython.is_consistent()


async def busy(port: int, stop: asyncio.Event, sure: dict[str, str], seed: int) -> None:
    """Upload, replace, download and delete until `stop` is set; remember the answers.

    A request that was cut off, or that the database's end made a 503, may have been done or not.
    """
    chance = random.Random(seed)
    client = Client(port)
    for number in range(10**6):
        if stop.is_set():
            break
        target = f"/files/{seed}-{number % 7}"
        body = chance.randbytes(chance.choice([0, 1000, 300_000, 2 * MIB]))
        try:
            # what is never asked of it, since it is down, leaves all as it was
            if (await client.request("GET", "/health")).status != 200:
                raise ConnectionError
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            await asyncio.sleep(0.02)
            continue
        try:
            sure.pop(target, None)
            if chance.random() < 0.3:
                answer = await client.request("DELETE", target)
                if answer.status != 503:
                    assert answer.status in (204, 404), answer
                    sure[target] = ""
                continue
            answer = await client.request("PUT", target, body)
            if answer.status != 503:
                assert answer.status in (201, 204), answer
                sure[target] = hashlib.sha256(body).hexdigest()
                answer = await client.request("GET", target)
                assert answer.status == 503 or answer.sha256 == sure[target], target
        except (OSError, asyncio.IncompleteReadError):
            client.close()
            await asyncio.sleep(0.02)
    client.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_no_row_is_without_its_bytes_after_kills(cpython: Attachments, kind: str) -> None:
    """kill -9 at random moments: what was answered is so, and nothing is half there or left.

    Of the application, and of the database where it is a process of its own.
    """
    victims = [cpython.container]
    if kind == "sqlite":
        cpython.run()
    else:
        url, network = cpython.database(kind)
        cpython.run(network, DATABASE_URL=url)
        victims.append(cpython.database_container(kind))
    chance = random.Random(kind)
    sure: dict[str, str] = {}

    async def main() -> None:
        for number in range(KILLS):
            stop = asyncio.Event()
            at_it = [busy(cpython.port, stop, sure, seed) for seed in range(6)]
            working = asyncio.gather(*at_it)
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            await asyncio.to_thread(cpython.kill, victims[number % len(victims)])
            stop.set()
            await working

    finish(main())
    there = {file["url"]: file["sha256"] for file in cpython.files()}
    assert sure
    for target, expected in sure.items():
        assert there.get(target, "") == expected, target
    assert cpython.is_consistent()


def test_a_backup_of_one_database_is_restored_into_another(
    cpython: Attachments, tmp_path: Path
) -> None:
    """`make backup`, and `make restore` into MariaDB; addresses, names and hashes are the same."""
    port = cpython.run()
    for number, size in enumerate((0, 1, 5 * MIB)):
        name = {"Content_Disposition": f"attachment; filename*=UTF-8''{number}%E2%98%83.txt"}
        finish(Client(port).request("PUT", f"/files/{number}", bytes(size), **name))
    before = cpython.files()
    archive = tmp_path / "of today.tar"
    cpython.make("backup", f"FILE={archive}")
    url, network = cpython.database("mariadb")
    cpython.run(network, DATABASE_URL=url)
    cpython.make("restore", f"FILE={archive}")
    assert cpython.files() == before
    assert cpython.is_consistent()


def test_files_on_a_server_outlive_a_deploy_and_come_back_from_a_backup(
    cpython: Attachments, tmp_path: Path
) -> None:
    """`make backup restore DEPLOY_HOST=…` by every account that may deploy; one needs sudo."""
    there = Deployed(cpython.laptop, cpython.project, cpython.name)
    variables = there.project.path / "deploy" / "run.env"
    greeting = "/home/sudoer/.bashrc"
    there.laptop.server.run("sed", "-i", r"1i printf 'Welcome\\nto '", greeting)
    try:
        variables.write_text("MAX_FILES=7\n")
        words = ("push", "deploy", f"DEPLOY_HOST={there.accounts[0]}", "PORT=8090")
        said = there.laptop.make_fails(there.project, *words)
        assert "WRITE_TOKEN is not set: write WRITE_TOKEN=… to deploy/run.env" in said
        variables.write_text("WRITE_TOKEN=\nMAX_FILES=7\n")
        there.make("push", "deploy")
        for number in range(3):
            there.ask("PUT", f"/files/{number}", f"{number}" * (1 + 50_000 * number))
        before = there.files()
        variables.write_text("WRITE_TOKEN=\nMAX_FILES=8\n")
        there.make("deploy")
        assert there.files() == before
        assert len(before) == 3
        archives = []
        for account in there.accounts:
            archive = tmp_path / f"by {account}.tar"
            said = there.make("backup", f"FILE={archive}", account=account)
            assert f"wrote {archive}" in said
            archives.append(archive.read_bytes())
        assert len(set(archives)) == 1
        for file in before:
            there.ask("DELETE", file["url"])
        there.make("restore", f"FILE={archive}")
        assert there.files() == before
        assert there.is_consistent()
    finally:
        there.laptop.server.run("sed", "-i", "1d", greeting)
        there.end()


def test_databases_for_development_are_reached_from_this_machine_only(cpython: Attachments) -> None:
    """Published on 127.0.0.1, their data in volumes with names."""
    for kind in ("postgres", "mariadb"):
        cpython.database(kind)
        container = cpython.database_container(kind)
        said = cpython.laptop.docker("inspect", "--format", "{{json .HostConfig}}", container)
        bindings = json.loads(said)["PortBindings"].values()
        assert {each["HostIp"] for ports in bindings for each in ports} == {"127.0.0.1"}
        volume = f"{cpython.project.path.name}_{kind}"
        assert volume in cpython.laptop.docker("volume", "ls", "--format", "{{.Name}}").split()


NAMES = st.sampled_from(
    """range if-range if-match if-none-match if-modified-since if-unmodified-since content-type
    content-disposition content-digest repr-digest content-encoding content-range authorization
    origin expect accept host connection transfer-encoding content-length x-other""".split()
)
WORDS = st.sampled_from(
    r"""bytes= 0- -5 5-2 99999999999999999999- , ; = : * " "a" W/"a" \\ ' % %00 %ff .. / sha-256=
    :AAAA: utf-8'' filename= filename*= multipart/form-data boundary= text/html chunked gzip 7 -1
    close 100-continue Bearer null http:// 2026 GMT""".split()
).flatmap(lambda word: st.sampled_from([word, " ", "Wed, 04 Mar 2026 05:06:07 GMT", "\xe9"]))
VALUES = st.one_of(
    st.lists(WORDS, max_size=6).map("".join),
    st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40
    ),
    st.from_regex(r"bytes=([0-9]{0,3}-[0-9]{0,3},?){1,4}", fullmatch=True),
)
TARGETS = st.one_of(
    st.sampled_from(
        ["/", "/files", "/files/a", "/files?after=1%20a", "/health", "*", "//", "/page.js"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map("/files/".__add__),
)
METHODS = st.sampled_from("GET HEAD PUT POST DELETE OPTIONS PATCH TRACE CONNECT get X".split())


def test_no_headers_whatever_are_an_error_of_the_server(cpython: Attachments) -> None:
    """What cannot be answered is refused with a status below 500, and the next one is served."""
    port = cpython.run(HEADER_SECONDS="1", STALL_SECONDS="1")
    finish(Client(port).request("PUT", "/files/a", b"0123456789"))

    async def answer(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields]
        if not any(name in ("transfer-encoding", "content-length") for name, _ in fields):
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + body)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        return said

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(METHODS, TARGETS, st.lists(st.tuples(NAMES, VALUES), max_size=4), st.binary(max_size=30))
    def check(method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> None:
        said = finish(answer(method, target, fields, body))
        assert said.startswith(b"HTTP/1.1 "), (said, method, target, fields)
        assert said[9:12] < b"500", (said, method, target, fields)

    check()
    assert finish(Client(port).request("GET", "/health")).status == 200
    log = cpython.laptop.run(cpython.project, "docker", "logs", cpython.container).stdout
    assert "Traceback" not in log


def test_the_page_in_a_browser(cpython: Attachments, tmp_path: Path) -> None:
    """Upload by button and by drop, pictures as pictures, download, delete; by keyboard too."""
    engine = cpython.laptop.engine
    cpython.run(WRITE_TOKEN="sesame", MAX_FILE_SIZE="2M")
    folder = tmp_path / "chosen"
    folder.mkdir(mode=0o755)
    (folder / "a \u2603 & <b>.txt").write_text("hello")
    (folder / "too large.bin").write_bytes(bytes(3 * MIB))
    (folder / "landscape.png").write_bytes(sample_picture.draw())
    chosen = [f"/chosen/{path.name}" for path in sorted(folder.iterdir())]
    mounted = ("--volume", f"{folder}:/chosen:ro", "--network", f"container:{cpython.container}")
    with Page(testbed.chromium(engine), engine.environment, *mounted) as page:
        page.open("http://127.0.0.1:8081/")
        page.until("!document.getElementById('empty').hidden")
        page.choose("#choice", "/chosen/landscape.png")
        page.until("document.querySelector('#uploads .failed')")
        assert "token" in page.run("document.querySelector('#uploads .failed .state').innerText")
        page.run("document.querySelector('#uploads .cancel').click()")

        page.run("document.getElementById('token').focus()")
        page.call("Input.insertText", text="sesame")
        (folder / "video.bin").write_bytes(bytes(MIB))
        page.choose("#choice", *chosen)
        page.until("document.querySelectorAll('#files li').length == 2")
        page.until("document.querySelector('#uploads .failed')")
        assert "too large" in page.run("document.querySelector('#uploads .failed').innerText")
        page.run(DROP)
        page.until("document.querySelectorAll('#files li').length == 3")
        page.until("document.querySelector('#files img').naturalWidth == 320")
        names = page.run("[...document.querySelectorAll('#files .name')].map(e => e.innerText)")
        assert sorted(names) == ["a \u2603 & <b>.txt", "dropped.txt", "landscape.png"]
        assert page.run("document.getElementById('total').innerText").startswith("3 files")

        page.slow_down(150_000)
        page.choose("#choice", "/chosen/video.bin")
        page.until("document.querySelector('#uploads progress').value > 0.3")
        page.screenshot(Path(os.environ.get("ATTACHMENTS_SCREENSHOT") or tmp_path / "page.png"))
        page.run("document.querySelector('#uploads li:last-child .cancel').click()")
        page.until("document.querySelectorAll('#uploads li').length == 1")
        page.slow_down(-1)

        text = "fetch(document.querySelector('.save[download^=\"a \"]').href).then(r => r.text())"
        assert page.run(text) == "hello"
        page.open("http://127.0.0.1:8081/")
        page.until("document.querySelectorAll('#files li').length == 3")
        page.run("document.querySelector('#files .delete').focus()")
        page.key("Enter", 13, "\r")
        page.until("document.querySelectorAll('#files li').length == 2")
        assert page.run("document.activeElement.className") == "name"
        assert not [text for text in page.complaints if "401" not in text and "413" not in text]
    assert len(cpython.files()) == 2


DROP = """
    const carried = new DataTransfer();
    carried.items.add(new File(["dropped"], "dropped.txt", {type: "text/plain"}));
    for (const kind of ["dragenter", "dragover", "drop"])
      document.body.dispatchEvent(
        new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: carried}));
"""
