"""What the standard library looks up in the system is in the run image, with both interpreters."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from tests.conftest import Baker
from tests.containers.laptop import SESSION, Laptop, free_port, write
from tests.containers.workshop import Workshop

# Each of these packages looks for certificates when it is imported.
REQUIREMENTS = {"CPython": "aiohttp\nrequests\npygit2\n", "PyPy": "aiohttp\nrequests\n"}
LOOKS_UP = """\
import locale, mimetypes, socket, ssl, zoneinfo
context = ssl.create_default_context()
assert len(context.get_ca_certs()) > 100, context.cert_store_stats()
assert mimetypes.guess_type("a.docx")[0].endswith(".document")
assert socket.getservbyname("https") == 443
assert locale.setlocale(locale.LC_ALL, "") == "C.UTF-8"
for name in ("US/Eastern", "Asia/Calcutta", "GB", "Europe/Berlin"):
    zoneinfo.ZoneInfo(name)
import aiohttp, requests
"""
ASKS = """\
import requests, urllib.request
address = "https://{}:{}/"
print(urllib.request.urlopen(address).read().decode(), requests.get(address).text)
"""


class Greeting(BaseHTTPRequestHandler):
    """Answers with a word."""

    def do_GET(self) -> None:
        """Answer any path."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"in-house")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module", params=["CPython", "PyPy"])
def looking(
    request: pytest.FixtureRequest,
    generate: Baker,
    laptop: Laptop,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workshop:
    """A project with nothing but packages that use certificates."""
    name = f"looks-{request.param.lower()}-{SESSION}"
    project = generate(
        project=name, app="existing", python=request.param, command="python", native_deps=" "
    )
    write(project.path, {"requirements.in": REQUIREMENTS[request.param]})
    workshop = Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), {})
    workshop.make("wheels", "image")
    return workshop


def python(workshop: Workshop, code: str, *options: str) -> str:
    """Run code in the run image, hardened as on a server; return its output."""
    words = ("run", "--rm", "--read-only", *options, "--entrypoint", "python")
    return workshop.laptop.docker(*words, f"{workshop.name}-run", "-c", code)


def test_standard_library_finds_its_data(looking: Workshop) -> None:
    """Authorities, media types, services, time zones with their old names, a UTF-8 locale."""
    python(looking, LOOKS_UP)
    now = "import time; print(time.tzname)"
    assert "EST" in python(looking, now, "--env", "TZ=US/Eastern")


@pytest.fixture
def house(gateway: str) -> Iterator[tuple[trustme.CA, int]]:
    """An HTTPS server of the company, and the authority that its certificate is of."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(gateway).configure_cert(context)
    server = ThreadingHTTPServer((gateway, 0), Greeting)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield authority, server.server_port
    server.shutdown()
    server.server_close()


def test_application_trusts_own_authorities_if_its_owner_says_so(
    looking: Workshop, gateway: str, house: tuple[trustme.CA, int]
) -> None:
    """With RUN_CA, beside the usual ones; also a library that has certificates of its own."""
    authority, port = house
    ca = Path(looking.project.path, "deploy", "ca", "house.crt")
    port_here = f"PORT={free_port()}"
    command = (
        f"COMMAND=python -c 'import urllib.request as r; r.urlopen(\"https://{gateway}:{port}\")'"
    )
    said = looking.make_fails("run", command, port_here)
    looking.make("stop")
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "into deploy/ca as a .crt file, and set RUN_CA := yes in deploy/settings.mk" in said
    authority.cert_pem.write_to_path(str(ca))
    looking.make("image", "RUN_CA=yes")
    try:
        assert python(looking, ASKS.format(gateway, port)).split() == ["in-house", "in-house"]
        python(looking, LOOKS_UP)
    finally:
        ca.unlink()
        looking.make("image")


def test_locale_of_native_is_in_the_image(looking: Workshop) -> None:
    """And none of the sources that it is made of."""
    looking.make("image", "NATIVE=locale:de_DE.UTF-8")
    code = "import locale; locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8'); print(f'{1234.5:n}')"
    assert python(looking, code).strip() == "1.234,5"
    there = looking.laptop.runs(f"{looking.name}-run", "ls /usr/lib/locale /usr/share")
    assert "de_DE.utf8" in there
    assert "i18n" not in there
    said = looking.make_fails("image", "NATIVE=locale:xx_XX.UTF-8")
    assert "this release has no locale xx_XX.UTF-8: change locale:xx_XX.UTF-8 in NATIVE" in said
