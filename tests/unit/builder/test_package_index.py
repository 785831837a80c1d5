"""Choosing and downloading the files of a lock, with a package index of the test."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import shutil
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trustme

from slipway.builder import errors, store
from slipway.builder import package_index as index
from slipway.shared import lockfile, network
from tests.unit.conftest import closed_port, make_wheel

Serve = Callable[[type[BaseHTTPRequestHandler]], int]


def make_sdist(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a source distribution with some files, and return its path."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    sdist = folder / f"{name}-{version}.tar.gz"
    sdist.write_bytes(gzip.compress(data.getvalue(), mtime=0))
    return sdist


def sum_of(data: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.read_bytes()).hexdigest()


def named(path: Path) -> tuple[str, str]:
    """Return the name and the version of a wheel or a source distribution."""
    stem = path.name.removesuffix(".tar.gz")
    name, version = stem.split("-")[:2] if path.suffix == ".whl" else stem.rsplit("-", 1)
    return lockfile.normalize(name), version


def pin(*files: Path) -> Any:
    """Return the pin of a distribution's files, as pip-compile makes it."""
    name, version = named(files[0])
    return lockfile.Pin(name, version, "", tuple(sorted(f"sha256:{sum_of(f)}" for f in files)))


class Pages:
    """A package index: its files, its statements about them, and the requests."""

    def __init__(self, serve: Serve, folder: Path) -> None:
        """Create the folder and start the server."""
        folder.mkdir()
        self.folder = folder
        # by file name: the fragment after its address, and what is given before the file itself
        self.fragments: dict[str, str] = {}
        self.first: dict[str, list[bytes]] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        pages = self

        class Handler(BaseHTTPRequestHandler):
            """A handler that answers like a package index."""

            def do_GET(self) -> None:
                """Send a page or a file."""
                pages.asked.append(self.path)
                body = pages.body(self.path)
                self.send_response(404 if body is None else 200)
                headers = {"Content-Type": "text/html", "Content-Length": str(len(body or b""))}
                if self.path.startswith("/files/"):
                    headers |= pages.headers
                for header, value in headers.items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *arguments: object) -> None:
                """Ignore the message."""

        self.url = f"http://127.0.0.1:{serve(Handler)}/simple"

    def body(self, path: str) -> bytes | None:
        """Return the page or the file at a path."""
        _, kind, name = path.strip("/").rpartition("/")[0], *path.strip("/").split("/")[:2]
        if kind == "files":
            first = self.first.get(name)
            return first.pop(0) if first else (self.folder / name).read_bytes()
        files = [file for file in sorted(self.folder.iterdir()) if named(file)[0] == name]
        links = []
        for file in files:
            fragment = self.fragments.get(file.name, f"#sha256={sum_of(file)}")
            links.append(f'<a href="/files/{file.name}{fragment}">{file.name}</a>')
        return "\n".join(["<!DOCTYPE html>", *links]).encode() if links else None

    def wheel(self, name: str, version: str = "1.0", **more: Any) -> Path:
        """Write a wheel with one module."""
        return make_wheel(self.folder, name, version, **more)

    def sdist(self, name: str, version: str = "1.0", **files: str) -> Path:
        """Write a source distribution that is not built."""
        return make_sdist(self.folder, name, version, files)

    def fetched(self) -> list[str]:
        """Return the requested files, sorted."""
        return sorted(path.split("/")[2] for path in self.asked if path.startswith("/files/"))


@pytest.fixture
def pip_here() -> Iterator[None]:
    """Restore pip's settings and loggers in this process at the end of the test."""
    root, collector = logging.getLogger(), logging.getLogger("pip._internal.index.collector")
    kept = root.level, root.handlers[:], collector.level, collector.handlers[:]
    with mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}):
        for name in list(os.environ):
            if name.startswith("PIP_"):
                del os.environ[name]
        yield
    root.level, root.handlers[:], collector.level, collector.handlers[:] = kept


@pytest.fixture
def pages(pip_here: None, serve: Serve, tmp_path: Path) -> Pages:
    """A package index without any file."""
    return Pages(serve, tmp_path / "index")


def settings(pages: Pages, tmp_path: Path, **more: str) -> dict[str, str]:
    """Return the environment with this package index only."""
    return {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": pages.url,
        "PIP_CACHE_DIR": str(tmp_path / "cache" / "pip"),
        "PIP_RETRIES": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **more,
    }


Fetch = Callable[..., list[Path]]


@pytest.fixture
def fetch(pages: Pages, tmp_path: Path) -> Fetch:
    """Download pins into the store like a new process: `fetch([pin], *options)`."""
    kept = store.Store(tmp_path / "store")

    def fetch_now(pins: list[Any], *options: str, **environment: str) -> list[Path]:
        asked = index.Index(kept, settings(pages, tmp_path, **environment))
        found: list[Path] = asked.fetch(pins, options)
        return found

    return fetch_now


def refused(fetch: Fetch, pins: list[Any], *options: str, **environment: str) -> str:
    """Return the message about pins that cannot be downloaded."""
    with pytest.raises(errors.Failure) as problem:
        fetch(pins, *options, **environment)
    return str(problem.value)


def test_each_pin_gives_its_file_in_the_order_asked(pages: Pages, fetch: Fetch) -> None:
    """Wheels and source distributions have the content and names of the package index."""
    there = [pages.wheel(f"w{n}") for n in range(9)] + [pages.sdist("source", setup_py="x")]
    found = fetch([pin(file) for file in there])
    assert [file.name for file in found] == [file.name for file in there]
    assert [file.read_bytes() for file in found] == [file.read_bytes() for file in there]


def test_what_was_fetched_is_not_asked_for_again(pages: Pages, fetch: Fetch) -> None:
    """There is no request at all: the hash in the lock is enough."""
    one, two = pages.wheel("one"), pages.wheel("two")
    first = fetch([pin(one)])
    assert pages.fetched() == [one.name]
    pages.asked.clear()
    assert fetch([pin(one)]) == first
    assert pages.asked == []
    fetch([pin(one), pin(two)])
    assert pages.asked == ["/simple/two/", f"/files/{two.name}"]


def test_a_file_that_was_damaged_in_the_store_is_fetched_again(pages: Pages, fetch: Fetch) -> None:
    """A damaged file is replaced."""
    one = pages.wheel("one")
    (kept,) = fetch([pin(one)])
    kept.write_bytes(b"something else")
    assert fetch([pin(one)]) == [kept]
    assert kept.read_bytes() == one.read_bytes()


def test_a_choice_that_the_lock_does_not_name_is_not_used(
    pages: Pages, fetch: Fetch, tmp_path: Path
) -> None:
    """Whatever ran in a builder may have written a trojan and the choice of it to the store."""
    one = pages.wheel("one")
    fetch([pin(one)])
    (tmp_path / "trojan").mkdir()
    trojan = make_wheel(tmp_path / "trojan", "one", "1.0", seen="trojan")
    kept = tmp_path / "store" / "files" / sum_of(trojan)
    kept.mkdir()
    shutil.copy(trojan, kept)
    for choice in (tmp_path / "store" / "choices").iterdir():
        choice.write_text(sum_of(trojan))
    (found,) = fetch([pin(one)])
    assert found.read_bytes() == one.read_bytes()


def test_the_wheel_is_taken_where_there_is_one(pages: Pages, fetch: Fetch) -> None:
    """This is pip's rule; --no-binary in the lock prefers the source distribution."""
    wheel, sdist = pages.wheel("one"), pages.sdist("one", setup_py="x")
    both = pin(wheel, sdist)
    assert [file.name for file in fetch([both])] == [wheel.name]
    assert [file.name for file in fetch([both], "--no-binary", "one")] == [sdist.name]
    assert [file.name for file in fetch([both], "--no-binary", ":all:")] == [sdist.name]
    assert [file.name for file in fetch([both], "--no-binary", "two")] == [wheel.name]
    assert [file.name for file in fetch([both])] == [wheel.name]


def test_only_files_that_the_lock_names_are_chosen(pages: Pages, fetch: Fetch) -> None:
    """A wheel that is newer than the lock is ignored."""
    wheel, sdist = pages.wheel("one"), pages.sdist("one", setup_py="x")
    assert fetch([pin(sdist)])[0].name == sdist.name
    assert pages.fetched() == [sdist.name]
    assert fetch([pin(wheel)])[0].name == wheel.name


def test_a_file_that_was_changed_on_the_index_is_refused(pages: Pages, fetch: Fetch) -> None:
    """The page of the package index has another SHA-256, so there is no download."""
    locked = pin(pages.wheel("one"))
    pages.wheel("one", seen="something else")
    assert refused(fetch, [locked]) == (
        "one-1.0-py3-none-any.whl on the package index does not have the SHA-256 of the lock:"
        " the file has changed, or it is another file; if you trust it, run make upgrade"
    )
    assert pages.fetched() == []


def test_a_file_that_is_not_what_its_page_says_is_refused(
    pages: Pages, fetch: Fetch, tmp_path: Path
) -> None:
    """The message has the SHA-256, and the file is not kept."""
    one = pages.wheel("one")
    pages.first[one.name] = [b"something else"] * 99
    said = refused(fetch, [pin(one)])
    assert said.startswith("one-1.0-py3-none-any.whl cannot be downloaded: ")
    assert f"has the SHA-256 {sum_of(b'something else')}, which is not in" in said
    assert not [path for path in tmp_path.glob("store/files/*/*") if path.is_file()]
    pages.first.clear()
    assert fetch([pin(one)])[0].read_bytes() == one.read_bytes()


@pytest.mark.parametrize("headers", [{}, {"Cache-Control": "max-age=365000000, immutable"}])
def test_a_download_that_was_damaged_on_its_way_is_tried_again(
    pages: Pages, fetch: Fetch, headers: dict[str, str]
) -> None:
    """The second download does not come from pip's cache."""
    one = pages.wheel("one")
    pages.headers = headers
    pages.first[one.name] = [bytes(one.stat().st_size)]
    # pip caches nothing that came by http, but from hosts that are trusted
    found = fetch([pin(one)], PIP_TRUSTED_HOST="127.0.0.1")
    assert found[0].read_bytes() == one.read_bytes()
    assert pages.fetched() == [one.name] * 2


def test_a_download_that_was_cut_off_is_tried_again(pages: Pages, fetch: Fetch) -> None:
    """An incomplete file is not used."""
    one = pages.wheel("one")
    pages.headers = {"Content-Length": str(one.stat().st_size)}
    pages.first[one.name] = [one.read_bytes()[:100]]
    assert fetch([pin(one)])[0].read_bytes() == one.read_bytes()


def test_an_archive_is_kept_as_it_is(pages: Pages, fetch: Fetch) -> None:
    """A server may wrongly declare the archive's compression as one of the transport."""
    sdist = pages.sdist("one", setup_py="x")
    pages.headers = {"Content-Encoding": "gzip"}
    assert fetch([pin(sdist)])[0].read_bytes() == sdist.read_bytes()


def test_a_version_that_is_not_there_is_named_with_those_that_are(
    pages: Pages, fetch: Fetch
) -> None:
    """One message covers all pins; files for other systems do not count."""
    other = make_wheel(pages.folder, "one", "9.0")
    other.rename(pages.folder / "one-9.0-cp27-cp27m-win32.whl")
    for version in ("1.0", "1.10", "1.9", "2.0rc1"):
        pages.wheel("one", version)
    two = pages.wheel("two", "1.0")
    gone = [lockfile.Pin(name, "9.0", "", (f"sha256:{'0' * 64}",)) for name in ("one", "two")]
    assert refused(fetch, [gone[0], pin(two), gone[1]]).splitlines() == [
        f"the package index has no one==9.0 for {lockfile.system()}"
        " (it has: 1.0, 1.9, 1.10, 2.0rc1)",
        f"the package index has no two==9.0 for {lockfile.system()} (it has: 1.0)",
    ]


def test_a_name_that_is_not_there_is_not_the_reason_for_another(pages: Pages, fetch: Fetch) -> None:
    """Each pin has a reason of its own."""
    pages.wheel("one")
    # the last is asked for when one of the others is done
    names = [*(f"nobody{n}" for n in range(index.AT_ONCE)), "one"]
    pins = [lockfile.Pin(name, "2.0", "", (f"sha256:{'0' * 64}",)) for name in names]
    said = refused(fetch, pins).splitlines()
    assert [name for name, line in zip(names, said, strict=True) if name not in line] == []
    assert said[-1] == f"the package index has no one==2.0 for {lockfile.system()} (it has: 1.0)"


def test_another_index_may_have_what_the_first_does_not(
    pages: Pages, fetch: Fetch, serve: Serve, tmp_path: Path
) -> None:
    """A missing page on one of two package indexes is no error."""
    own = Pages(serve, tmp_path / "own")
    one, two = pages.wheel("one"), own.wheel("two")
    found = fetch([pin(one), pin(two)], PIP_EXTRA_INDEX_URL=own.url)
    assert [file.name for file in found] == [one.name, two.name]
    gone = lockfile.Pin("one", "2.0", "", (f"sha256:{'0' * 64}",))
    assert refused(fetch, [gone], PIP_EXTRA_INDEX_URL=own.url) == (
        f"the package index has no one==2.0 for {lockfile.system()} (it has: 1.0)"
    )


def test_a_name_on_two_indexes_is_found(pages: Pages, serve: Serve, tmp_path: Path) -> None:
    """Of such a name pip takes the highest version, whoever owns it there."""
    own = Pages(serve, tmp_path / "own")
    own.wheel("inhouse")
    own.wheel("other")
    pages.wheel("inhouse", version="99.0")
    pages.wheel("one")
    both = settings(pages, tmp_path, PIP_EXTRA_INDEX_URL=own.url)
    asked = index.Index(store.Store(tmp_path / "store"), both)
    assert asked.on_several(["other", "one", "inhouse"]) == ["inhouse"]


@pytest.mark.parametrize("fragment", ["", f"#md5={'0' * 32}"])
def test_an_index_that_states_no_sum_gives_the_file_to_be_checked(
    pages: Pages, fetch: Fetch, fragment: str
) -> None:
    """Each SHA-256 of the lock is accepted, and no other."""
    wheel, sdist = pages.wheel("one"), pages.sdist("one", setup_py="x")
    two = pages.wheel("two")
    pages.fragments = dict.fromkeys((wheel.name, sdist.name, two.name), fragment)
    both, changed = pin(wheel, sdist), pin(two)
    assert fetch([both])[0].read_bytes() == wheel.read_bytes()
    assert fetch([both], "--no-binary", "one")[0].read_bytes() == sdist.read_bytes()
    pages.asked.clear()
    assert fetch([both])[0].read_bytes() == wheel.read_bytes()
    assert pages.asked == []
    pages.wheel("two", seen="something else")
    said = refused(fetch, [changed])
    assert said.startswith("two-1.0-py3-none-any.whl cannot be downloaded: ")
    assert f"has the SHA-256 {sum_of(two)}, which is not in the lock" in said


def test_a_folder_of_files_is_an_index(pages: Pages, fetch: Fetch, tmp_path: Path) -> None:
    """Users without a network need it."""
    folder = tmp_path / "files"
    folder.mkdir()
    one = make_wheel(folder, "one", "1.0")
    found = fetch([pin(one)], PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder))
    assert found[0].read_bytes() == one.read_bytes()
    assert pages.asked == []


def test_a_hash_of_another_kind_is_not_passed_over(pages: Pages, fetch: Fetch) -> None:
    """pip accepts sha384 and sha512 in a lock too: another hash means another file."""
    pages.wheel("one")
    locked = lockfile.Pin("one", "1.0", "", (f"sha512:{'0' * 128}",))
    assert refused(fetch, [locked]) == "the lock states no sha256 for one: run make lock"
    assert pages.asked == []


def test_an_index_that_does_not_answer_is_said(pages: Pages, fetch: Fetch) -> None:
    """The message is not about the version."""
    nowhere = f"http://127.0.0.1:{closed_port()}/simple"
    said = refused(fetch, [pin(pages.wheel("one"))], PIP_INDEX_URL=nowhere)
    assert said.startswith("the package index does not provide one: ")
    assert "connect" in said.lower()


@pytest.fixture
def untrusted(pages: Pages) -> Iterator[str]:
    """The address of a package index with an unknown certificate."""

    class Handler(BaseHTTPRequestHandler):
        """A handler that is never called."""

    class Server(ThreadingHTTPServer):
        """A server that ignores clients that disconnect."""

        def handle_error(self, *arguments: object) -> None:
            """Ignore the message."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


def test_an_untrusted_index_is_explained(pages: Pages, fetch: Fetch, untrusted: str) -> None:
    """Users behind an inspecting proxy learn where to put its certificate."""
    said = refused(fetch, [pin(pages.wheel("one"))], PIP_INDEX_URL=untrusted)
    assert said == f"the package index does not provide one: {network.UNTRUSTED}"
