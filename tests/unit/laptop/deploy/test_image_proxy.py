"""The proxy that a server sees: one image, read-only, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from slipway.laptop.deploy import image_proxy
from slipway.laptop.deploy.image_proxy import ImageProxy
from tests.unit.conftest import closed_port
from tests.unit.laptop.docker.test_registry import Serve


def sum_of(content: bytes) -> str:
    """Return the digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digests(contents: list[bytes]) -> list[dict[str, object]]:
    """Return the entries of a manifest for contents."""
    return [{"digest": sum_of(each), "size": len(each)} for each in contents]


SECRET = b"another project's layer"
LAYERS = [b"one", b"two" * 500_000]
CONFIG = b"{}"
KIND = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_KIND = "application/vnd.oci.image.index.v1+json"
MANIFEST = json.dumps(
    {"mediaType": KIND, "config": digests([CONFIG])[0], "layers": digests(LAYERS)}
).encode()
OTHER = json.dumps({"mediaType": KIND, "config": digests([SECRET])[0], "layers": []}).encode()
INDEX = json.dumps(
    {"mediaType": INDEX_KIND, "manifests": digests([MANIFEST, b"not pushed"])}
).encode()
CONTENTS = {sum_of(each): each for each in (CONFIG, *LAYERS, SECRET, MANIFEST, OTHER, INDEX)}
DIGEST = sum_of(MANIFEST)


class Whole(BaseHTTPRequestHandler):
    """A registry that answers everything, and keeps what it was asked."""

    asked: list[str] = []  # noqa: RUF012 (of the one server of a test)

    def do_GET(self) -> None:
        """Send a content by its digest, or the part that is asked for."""
        self.asked.append(f"{self.command} {self.path}")
        body = CONTENTS.get(self.path.rpartition("/")[2])
        if body is None and self.path != "/v2/_catalog":
            self.send_response(404)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.end_headers()
            return
        body = body or b'{"repositories": ["another"]}'
        whole, part = len(body), self.headers["Range"]
        if part:
            body = body[int(part.partition("=")[2].rstrip("-")) :]
        self.send_response(206 if part else 200)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", f"bytes {whole - len(body)}-{whole - 1}/{whole}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def proxy(serve: Serve) -> Iterator[ImageProxy]:
    """A proxy for the image, before a registry that has another image too."""
    Whole.asked.clear()
    with image_proxy.serving(serve(Whole), "shop-run", DIGEST) as served:
        yield served


def ask(
    proxy: ImageProxy, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one request; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    with contextlib.closing(connection):
        own = {"Authorization": f"Basic {proxy.authorization}"}
        connection.request(method, path, headers={**own, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def blob(proxy: ImageProxy, content: bytes) -> str:
    """Return the path of a content of the image."""
    return f"/v2/{proxy.repository}/blobs/{sum_of(content)}"


def test_the_image_is_there_as_in_the_registry(proxy: ImageProxy) -> None:
    """The version check, the manifest with type and digest, the configuration, the layers."""
    assert ask(proxy, "GET", "/v2/")[0] == 200
    status, headers, body = ask(proxy, "GET", f"/v2/{proxy.repository}/manifests/{DIGEST}")
    assert (status, body, headers["Content-Type"]) == (200, MANIFEST, KIND)
    assert headers["Docker-Content-Digest"] == DIGEST
    for content in (CONFIG, *LAYERS):
        assert ask(proxy, "GET", blob(proxy, content))[::2] == (200, content)


def test_head_has_the_size_and_no_content(proxy: ImageProxy) -> None:
    """Docker asks so before it pulls."""
    for path, size in (
        (f"/v2/{proxy.repository}/manifests/{DIGEST}", len(MANIFEST)),
        (blob(proxy, LAYERS[1]), len(LAYERS[1])),
    ):
        status, headers, body = ask(proxy, "HEAD", path)
        assert (status, headers["Content-Length"], body) == (200, str(size), b"")


def test_a_part_of_a_layer_is_sent(proxy: ImageProxy) -> None:
    """Docker continues a pull that was cut off."""
    layer = LAYERS[1]
    status, headers, body = ask(proxy, "GET", blob(proxy, layer), {"Range": "bytes=1000-"})
    assert (status, body) == (206, layer[1000:])
    assert headers["Content-Range"] == f"bytes 1000-{len(layer) - 1}/{len(layer)}"


def test_requests_follow_each_other_on_one_connection(proxy: ImageProxy) -> None:
    """Docker keeps connections open."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    with contextlib.closing(connection):
        for method in ("GET", "HEAD", "GET"):
            own = {"Authorization": f"Basic {proxy.authorization}"}
            connection.request(method, blob(proxy, LAYERS[0]), headers=own)
            assert connection.getresponse().read() == (LAYERS[0] if method == "GET" else b"")


def test_an_index_shows_the_manifests_that_it_names(serve: Serve) -> None:
    """Platforms that were not pushed are left out."""
    with image_proxy.serving(serve(Whole), "shop-run", sum_of(INDEX)) as proxy:
        for content, kind in ((INDEX, INDEX_KIND), (MANIFEST, KIND)):
            path = f"/v2/{proxy.repository}/manifests/{sum_of(content)}"
            status, headers, body = ask(proxy, "GET", path)
            assert (status, headers["Content-Type"], body) == (200, kind, content)
        assert ask(proxy, "GET", blob(proxy, LAYERS[0]))[2] == LAYERS[0]
        path = f"/v2/{proxy.repository}/manifests/{sum_of(OTHER)}"
        assert ask(proxy, "GET", path)[0] == 404


def foreign_requests(proxy: ImageProxy, number: int) -> Iterator[tuple[str, str]]:
    """Return requests for everything else that a registry has, and for nonsense."""
    chosen = random.Random(17)
    token = proxy.repository.partition("/")[0]
    names = ["shop-run", "another", token, f"{token}/another", f"{'0' * 32}/shop-run", "_catalog"]
    names += ["..", f"{token}/../shop-run", f"{token}%2Fshop-run", token.upper(), ""]
    kinds = ["manifests", "blobs", "blobs/uploads", "tags", "referrers", "_trust", "."]
    what = [*CONTENTS, "latest", "list", "", "?mount=sha256:0&from=another", "uploads/", "../.."]
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
    allowed = {*proxy.manifests, *proxy.blobs, "/v2/"}
    while number:
        path = f"/v2/{chosen.choice(names)}/{chosen.choice(kinds)}/{chosen.choice(what)}"
        if chosen.random() < 0.3:
            path = f"/v2/{proxy.repository}/{chosen.choice(kinds)}/{chosen.choice(what)}"
        if chosen.random() < 0.2:
            path = chosen.choice(sorted(allowed)) + chosen.choice(
                ["/", "?", "?a=1", "%00", "#", ""]
            )
        method = chosen.choice(methods)
        if path not in allowed or method not in ("GET", "HEAD"):
            number -= 1
            yield method, path


def test_nothing_else_is_answered(proxy: ImageProxy) -> None:
    """A thousand other requests get no byte, and none of them reaches the registry."""
    Whole.asked.clear()
    for method, path in foreign_requests(proxy, 1000):
        status, _, body = ask(proxy, method, path)
        assert (status in (400, 403, 404, 405), body) == (True, b""), (method, path)
    assert ask(proxy, "GET", "/v2/_catalog")[::2] == (404, b"")
    assert ask(proxy, "DELETE", f"/v2/{proxy.repository}/manifests/{DIGEST}")[0] == 405
    assert Whole.asked == []


def test_every_proxy_has_its_own_path(serve: Serve) -> None:
    """What one server has learned is of no use at another one's tunnel."""
    port = serve(Whole)
    with (
        image_proxy.serving(port, "shop-run", DIGEST) as one,
        image_proxy.serving(port, "shop-run", DIGEST) as two,
    ):
        assert len(one.repository) == len(f"{'0' * 32}/shop-run")
        assert one.repository != two.repository
        assert ask(two, "GET", blob(one, CONFIG))[0] == 404
        assert ask(two, "GET", blob(two, CONFIG))[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:5051"}, 403),
        ({"Host": ""}, 403),
        ({"Content-Length": "3"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
    ],
)
def test_a_foreign_host_or_a_body_is_refused(
    proxy: ImageProxy, headers: dict[str, str], status: int
) -> None:
    """A page in a browser of this machine is not a Docker engine."""
    assert ask(proxy, "GET", blob(proxy, CONFIG), headers)[::2] == (status, b"")


@pytest.mark.parametrize("given", ["", "Basic", "Basic c2VjcmV0", "Bearer é"])
def test_without_the_password_nothing_is_shown(proxy: ImageProxy, given: str) -> None:
    """The path alone is in the server's list of processes. Docker is told what is missing."""
    path = f"/v2/{proxy.repository}/manifests/{DIGEST}"
    for method in ("GET", "HEAD"):
        status, headers, body = ask(proxy, method, path, {"Authorization": given})
        assert (status, body) == (401, b"")
        assert headers["WWW-Authenticate"].startswith("Basic ")
    assert Whole.asked == [f"GET /v2/shop-run/manifests/{DIGEST}"]


def test_an_attempt_with_tls_is_answered_at_once(proxy: ImageProxy) -> None:
    """Docker tries TLS first, and then waits for an answer."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        begin = time.monotonic()
        client.sendall(b"\x16\x03\x01\x00\xf0" + b"\x01" * 240)
        assert client.recv(100).startswith(b"HTTP/1.0 400 ")
        assert time.monotonic() - begin < 2


def test_connections_are_limited(proxy: ImageProxy) -> None:
    """One account of the server cannot fill this machine with threads."""
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", proxy.port)
        for _ in range(image_proxy.CONNECTIONS):
            stack.enter_context(contextlib.closing(socket.create_connection(address, timeout=5)))
        more = stack.enter_context(contextlib.closing(socket.create_connection(address, timeout=5)))
        assert more.recv(1) == b""


def test_a_layer_that_is_cut_off_is_not_complete(
    proxy: ImageProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry ends in the middle: Docker sees that bytes are missing, and tries again."""

    def end(self: Whole) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"some")

    monkeypatch.setattr(Whole, "do_GET", end)
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy, "GET", blob(proxy, LAYERS[0]))


def test_it_ends_with_the_block(serve: Serve) -> None:
    """Nothing listens afterwards, and connections that were kept open are closed."""
    with image_proxy.serving(serve(Whole), "shop-run", DIGEST) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
        own = f"Authorization: Basic {proxy.authorization}\r\n"
        client.sendall(f"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{own}\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    with contextlib.closing(client):
        while client.recv(1000):
            pass
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", proxy.port)) != 0


def test_an_image_that_the_registry_does_not_have_must_be_pushed(serve: Serve) -> None:
    """Also when its manifest is not that of its digest."""
    for port, digest in ((serve(Whole), f"sha256:{'0' * 64}"), (closed_port(), DIGEST)):
        with (
            pytest.raises(image_proxy.NoImage, match=r"does not have shop-run@.* Run make push"),
            image_proxy.serving(port, "shop-run", digest),
        ):
            pass
