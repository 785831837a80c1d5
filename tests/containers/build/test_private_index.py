"""An index of one's own behind a certificate of one's own, with a password that leaks nowhere."""

from __future__ import annotations

import base64
import io
import ssl
import subprocess
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

from tests.conftest import Baker, Project
from tests.containers.laptop import SESSION, Laptop
from tests.containers.package_index import serving

PASSWORD = "s3cret-Pass-of-the-index"
WHEEL = "inhouse-1.0-py3-none-any.whl"


def wheel() -> bytes:
    """Return a wheel whose console script prints a line."""
    info = "inhouse-1.0.dist-info"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("inhouse.py", "def main():\n    print('in-house code runs')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: inhouse\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nsay-it = inhouse:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return data.getvalue()


BODY = wheel()


class Index(BaseHTTPRequestHandler):
    """A package index (PEP 503) of one distribution, for those with the password."""

    def do_GET(self) -> None:
        """Answer with the page of the project, or the wheel."""
        wanted = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.end_headers()
            return
        pages = {
            "/simple/inhouse/": (f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), "text/html"),
            f"/{WHEEL}": (BODY, "application/octet-stream"),
        }
        if self.path not in pages:
            self.send_error(404)
            return
        body, kind = pages[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the test looks at what the client does."""


class Greeting(BaseHTTPRequestHandler):
    """Something that a wheel's build fetches."""

    def do_GET(self) -> None:
        """Answer with a word."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"fetched")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def empty_project(generate: Baker, name: str) -> Project:
    """A project without an application or C libraries, whose command is say-it."""
    return generate(
        project=name, app="existing", python="CPython", command="say-it", native_deps=""
    )


def test_private_index_is_used_and_its_password_leaves_no_trace(
    generate: Baker, laptop: Laptop, gateway: str
) -> None:
    """It reaches every step that needs it, and no image, lock, log or file."""
    name = f"inhouse-{SESSION}"
    project = empty_project(generate, name)
    (project.path / "requirements.in").write_text("inhouse\n")
    with serving(ThreadingHTTPServer((gateway, 0), Index)) as port:
        variables = {
            "PIP_EXTRA_INDEX_URL": f"http://ann:{PASSWORD}@{gateway}:{port}/simple/",
            "PIP_TRUSTED_HOST": gateway,
        }
        said = laptop.make(project, "builder", "image", **variables)
    assert PASSWORD not in said
    assert "inhouse==1.0" in project.read("requirements.txt")
    assert "in-house code runs" in laptop.docker("run", "--rm", f"{name}-run")
    for path in project.path.rglob("*"):
        if path.is_file() and path.suffix != ".whl":
            assert PASSWORD.encode() not in path.read_bytes(), path
    for image in (f"{name}-base", f"{name}-builder:tools", f"{name}-builder", f"{name}-run"):
        assert laptop.engine.has(image)
        search = f"set -o pipefail; docker save {image} | grep --count --text {PASSWORD} || true"
        environment = dict(laptop.engine.environment)
        count = subprocess.check_output(["bash", "-c", search], env=environment, text=True)
        assert count.strip() == "0", image


def test_certificate_in_deploy_ca_is_trusted_by_what_a_build_starts(
    generate: Baker, laptop: Laptop, gateway: str
) -> None:
    """A build that fetches over TLS fails without the authority's certificate, and not with it."""
    name = f"fetches-{SESSION}"
    project = empty_project(generate, name)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(gateway).configure_cert(context)
    server = ThreadingHTTPServer((gateway, 0), Greeting)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        (project.path / "setup.py").write_text(
            "import urllib.request\n"
            "from setuptools import setup\n"
            f"text = urllib.request.urlopen('https://{gateway}:{port}/').read().decode()\n"
            "open('fetcher.py', 'w').write(f'def main(): print({text!r})')\n"
            "setup(name='fetcher', version='1', py_modules=['fetcher'],\n"
            "      entry_points={'console_scripts': ['say-it = fetcher:main']})\n"
        )
        settings = project.path / "deploy" / "settings.mk"
        settings.write_text(settings.read_text() + "BUILD_NETWORK := yes\n")
        said = laptop.make_fails(project, "wheels")
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert "into deploy/ca as a .crt file" in said
        authority.cert_pem.write_to_path(str(project.path / "deploy" / "ca" / "own.crt"))
        said = laptop.make_fails(project, "wheels", "BUILD_NETWORK=no")
        assert "write BUILD_NETWORK := yes into deploy/settings.mk" in said
        laptop.make(project, "image")
    assert "fetched" in laptop.docker("run", "--rm", f"{name}-run")
    trusted = laptop.docker(
        "run", "--rm", "--entrypoint", "sh", f"{name}-run", "-c", "cat /etc/ssl/certs/* || true"
    )
    [line] = authority.cert_pem.bytes().decode().splitlines()[3:4]
    assert line not in trusted, "a certificate for building is no part of what is run"
