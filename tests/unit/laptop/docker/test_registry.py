"""The registry on loopback, with real HTTP servers, and a compose that only records calls."""

from __future__ import annotations

import hashlib
import json
import shlex
import stat
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from slipway.laptop.docker import engine, registry, registry_password
from slipway.laptop.settings import load as settings
from tests.unit.conftest import DEPLOY, SETTINGS, Program, closed_port

Serve = Callable[[type[BaseHTTPRequestHandler]], int]
IMAGE = "sha256:" + "ab" * 32
MANIFEST = json.dumps({"config": {"digest": IMAGE}, "layers": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """The part of a registry that is used: the version, and the manifest of shop-run:1."""

    version: str | None = "registry/2.0"
    manifest = MANIFEST

    def do_GET(self) -> None:
        """Answer that the API is here, or send the manifest."""
        if "Authorization" not in self.headers:
            self.answer(401)
            return
        known = self.path == f"/v2/shop-run/manifests/{DIGEST}"
        self.answer(200 if known or self.path == "/v2/" else 404)
        if known:
            self.wfile.write(self.manifest)

    def do_HEAD(self) -> None:
        """Answer with the digest of a manifest, in the formats in which docker pushes one."""
        forms = self.headers["Accept"]
        known = self.path in ("/v2/shop-run/manifests/1", f"/v2/shop-run/manifests/{DIGEST}")
        usual = "manifest.v2+json" in forms and "image.index.v1+json" in forms
        self.answer(200 if known and usual else 404)

    def answer(self, status: int) -> None:
        """Answer as a registry of that version."""
        self.send_response(status)
        if self.version:
            self.send_header("Docker-Distribution-Api-Version", self.version)
        if status == 200 and self.command == "HEAD":
            self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


class WebServer(Registry):
    """Another server on that port, which has an answer to everything."""

    version = None

    def answer(self, status: int) -> None:
        """Answer each request with success."""
        super().answer(200 if self.command == "GET" else status)

    def do_HEAD(self) -> None:
        """Answer with success, and without a digest."""
        self.send_response(200)
        self.end_headers()


class Broken(BaseHTTPRequestHandler):
    """A server that does not speak HTTP."""

    def handle(self) -> None:
        """Send something else."""
        self.wfile.write(b"220 mail.example ESMTP\r\n")


class Open(Registry):
    """A registry that asks nobody for a password."""

    def do_GET(self) -> None:
        """Answer that the API is here."""
        self.answer(200)


class Failing(Registry):
    """A registry that lost its storage."""

    def do_GET(self) -> None:
        """Answer with an error, as a registry does."""
        self.answer(500)


def test_a_registry_is_up(serve: Serve) -> None:
    """The version check of the API is the proof."""
    assert registry.is_up(serve(Registry))


def test_only_a_registry_that_works_is_up(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """Not another server, nor a registry that is open or fails; and nothing is printed."""
    for port in (closed_port(), *map(serve, (WebServer, Broken, Open, Failing))):
        assert not registry.is_up(port)
    assert capfd.readouterr() == ("", "")


def test_waiting_ends_when_the_registry_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container takes a moment to listen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    port = closed_port()

    def start() -> None:
        with ThreadingHTTPServer(("127.0.0.1", port), Registry) as server:
            server.handle_request()
            server.handle_request()

    registry_password.keep(port, registry_password.basic("secret"))
    timer = threading.Timer(0.5, start)
    timer.daemon = True
    begin = time.monotonic()
    timer.start()
    assert registry.wait(port)
    assert 0.4 < time.monotonic() - begin < 10


def test_an_image_has_a_digest(serve: Serve) -> None:
    """By its tag, and by the digest itself."""
    port = serve(Registry)
    for reference in ("1", DIGEST):
        assert registry.digest(port, "shop-run", reference) == DIGEST


def test_an_image_that_was_not_pushed_has_none(serve: Serve) -> None:
    """So it is pushed. Another server is not a registry."""
    for port, tag in ((serve(Registry), "2"), (serve(WebServer), "1"), (closed_port(), "1")):
        assert registry.digest(port, "shop-run", tag) == ""


def test_an_image_is_known_by_its_configuration_or_by_its_manifest(serve: Serve) -> None:
    """The engine's image store decides which of them is the ID; podman leaves out `sha256:`."""
    port = serve(Registry)
    for image in (IMAGE, IMAGE.partition(":")[2], DIGEST, DIGEST.partition(":")[2]):
        assert registry.foreign(port, "shop-run", DIGEST, image) == ""


def squatter(text: bytes, digest: str = "") -> tuple[type[Registry], str]:
    """Return a program that has taken the registry's port, and the digest that it names."""
    named = digest or f"sha256:{hashlib.sha256(text).hexdigest()}"

    class Squatter(Registry):
        def do_GET(self) -> None:
            if "Authorization" not in self.headers:
                self.answer(401)
                return
            self.answer(200)
            self.wfile.write(text if "/manifests/" in self.path else b"{}")

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Docker-Content-Digest", named)
            self.end_headers()

    return Squatter, named


EVIL = json.dumps({"config": {"digest": f"sha256:{'e' * 64}"}, "layers": []}).encode()
SQUATTERS = [
    (EVIL, ""),
    # the right one below another digest, and the other way round
    (MANIFEST, f"sha256:{'1' * 64}"),
    (EVIL, DIGEST),
    # an index may name ours beside another one for the server's platform
    (json.dumps({"manifests": [{"digest": DIGEST}, {"digest": IMAGE}]}).encode(), ""),
    *[(text, "") for text in (b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"config": 3}')],
    (json.dumps({"config": [{"digest": IMAGE}, {"digest": IMAGE}]}).encode(), ""),
    (b"x" * (registry.LONGEST + 1), ""),
]


@pytest.mark.parametrize(("text", "digest"), SQUATTERS)
def test_another_image_on_the_port_is_foreign(serve: Serve, text: bytes, digest: str) -> None:
    """One line names the port, the image that was built, and what to do."""
    handler, named = squatter(text, digest)
    port = serve(handler)
    assert registry.digest(port, "shop-run", "1") == named
    found = registry.foreign(port, "shop-run", named, IMAGE)
    assert f"shop-run@{named[:19]} on 127.0.0.1:{port} is not the image that was built" in found
    assert "REGISTRY_PORT" in found
    assert "\n" not in found


@pytest.mark.parametrize("named", ["sha256:0", "../../x", f"sha256:{'A' * 64}", f"{DIGEST} x"])
def test_a_digest_has_a_form(serve: Serve, named: str) -> None:
    """Anything else would get into commands and paths."""
    assert registry.digest(serve(squatter(b"", named)[0]), "shop-run", "1") == ""


class Full(Registry):
    """A registry with two images of shop-run, which can be removed."""

    removed: list[str] = []  # noqa: RUF012 (of the one server of a test)

    def do_GET(self) -> None:
        """List its two tags, or answer that the API is here."""
        self.answer(200 if "Authorization" in self.headers else 401)
        if self.path.endswith("/tags/list"):
            self.wfile.write(b'{"tags": ["1", "2"]}')

    def do_HEAD(self) -> None:
        """Answer with a digest that is made of the tag."""
        self.send_response(200)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Docker-Content-Digest", f"sha256:{self.path[-1] * 64}")
        self.end_headers()

    def do_DELETE(self) -> None:
        """Remove an image."""
        self.removed.append(self.path.rpartition("/")[2])
        self.answer(202)


def arranged(program: Program, port: int, script: str = "", **typed: str) -> dict[str, str]:
    """Return settings with a docker that records calls and then runs a script."""
    docker = program("docker", f'echo "$REGISTRY_PORT: $*" >>"$0.log"; {script}')
    return settings.resolve(SETTINGS, {"REGISTRY_PORT": str(port), "DOCKER": str(docker), **typed})


def calls(found: dict[str, str]) -> list[str]:
    """Return the recorded calls, without their common beginning."""
    begin = f"{found['REGISTRY_PORT']}: compose --file {DEPLOY}/compose.yaml --progress quiet "
    with open(f"{found['DOCKER']}.log", encoding="utf-8") as log:
        return [line.rstrip().removeprefix(begin) for line in log]


# What Perl prints in the base image.
HASHES = f"printf %s '$2b$04${'a' * 53}'"


def test_a_password_is_new_and_private(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gets it beside the user's settings, but without the user's other passwords."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker" / "contexts").mkdir(parents=True)
    users = {"currentContext": "far", "credsStore": "desktop", "auths": {"hub.example": {}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(users))
    found = arranged(program, 5051, HASHES)
    passwords = set()
    for _ in range(2):
        registry_password.renew(found)
        passwords.add(registry_password.authorization(5051)["Authorization"])
    assert len(passwords) == 2
    assert min(map(len, passwords)) > 60
    registry_password.use_docker_settings(5051)
    place = registry_password.folder(5051)
    written = json.loads((place / "config.json").read_text())
    assert written.pop("currentContext") == "far"
    assert list(written) == ["auths"]
    assert list(written["auths"]) == ["127.0.0.1:5051"]
    assert (place / "contexts").samefile(tmp_path / "docker" / "contexts")
    assert stat.S_IMODE((place / "config.json").stat().st_mode) == 0o600
    assert (place / "htpasswd").read_text() == f"slipway:$2b$04${'a' * 53}\n"
    with registry_password.locked(5052):
        other = registry_password.folder(5052)
    assert stat.S_IMODE(other.stat().st_mode) == 0o700


COLLECTION = [
    "stop registry",
    "run --rm --no-TTY registry garbage-collect /etc/docker/registry/config.yml",
    "up --detach",
]


def test_garbage_is_collected_while_the_registry_is_stopped(program: Program, serve: Serve) -> None:
    """All images but the kept one are removed before."""
    Full.removed.clear()
    found = arranged(program, serve(Full))
    assert registry.collect_garbage(found, "shop-run", f"sha256:{'1' * 64}") == 1
    assert Full.removed == [f"sha256:{'2' * 64}"]
    assert calls(found) == COLLECTION


def test_a_failed_collection_starts_the_registry_again(program: Program, serve: Serve) -> None:
    """And its last line is the reason."""
    script = 'case "$*" in *garbage*) echo first; echo "no room" >&2; exit 1 ;; esac'
    found = arranged(program, serve(Full), script)
    with pytest.raises(engine.EngineError, match="could not remove layers: no room"):
        registry.collect_garbage(found, "shop-run", "")
    assert calls(found) == COLLECTION


def test_a_dry_run_shows_the_same_commands(
    program: Program, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """And runs none of them."""
    Full.removed.clear()
    found = arranged(program, serve(Full), DRY_RUN="1")
    registry.collect_garbage(found, "shop-run", f"sha256:{'1' * 64}")
    registry.up(found)
    registry.down(found)
    remove, *lines = capsys.readouterr().out.splitlines()
    assert remove.startswith("curl --fail --request DELETE http://127.0.0.1:")
    assert lines.pop(3).startswith("# write a new password for the registry to ")
    assert [shlex.split(line)[9:] for line in lines] == [
        each.split() for each in (*COLLECTION, "up --detach --force-recreate", "down")
    ]
    assert Full.removed == []


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (f"case $1 in run) {HASHES} ;; *) exit 1 ;; esac", "docker has no compose. Install it"),
        (
            f'case "$*" in run*) {HASHES} ;; "compose version") ;; "image inspect"*) echo "[{{}}]"'
            " ;; *) exit 1 ;; esac",
            "is taken, set REGISTRY_PORT",
        ),
        (
            f'case "$*" in run*) {HASHES} ;; "compose version") ;;'
            ' *) echo "No such image: x" >&2; exit 1 ;; esac',
            "could not pull registry:2.8.3: run docker pull",
        ),
        ("exit 1", "no password for the registry"),
        ("echo no hash", "no password for the registry"),
    ],
)
def test_a_registry_that_does_not_start_has_advice(
    program: Program, script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose, Perl or the image may be missing, or the port may be taken."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(engine.EngineError, match=says):
        registry.up(arranged(program, closed_port(), script))
