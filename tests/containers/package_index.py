"""Packages made for one test, and an index of them on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import tarfile
import textwrap
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A back end (PEP 517) in one module: every file of the source tree is in the wheel, and the wheel
# says which version of the back end has made it.
BACK_END = """\
    import os, zipfile

    def build_wheel(folder, config_settings=None, metadata_directory=None):
        name, version = os.path.basename(open("NAME").read()).split()
        info = f"{{name}}-{{version}}.dist-info"
        wheel = f"{{name}}-{{version}}-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
            archive.writestr(f"{{name}}.py", "def main():\\n    print('made here')\\n")
            archive.writestr(
                f"{{info}}/METADATA",
                f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: {{version}}\\n",
            )
            archive.writestr(
                f"{{info}}/WHEEL",
                "Wheel-Version: 1.0\\nGenerator: {name} {version}\\n"
                "Root-Is-Purelib: true\\nTag: py3-none-any\\n",
            )
            archive.writestr(
                f"{{info}}/entry_points.txt", f"[console_scripts]\\nsay-it = {{name}}:main\\n"
            )
            archive.writestr(f"{{info}}/RECORD", "")
        return wheel
"""


def wheel(name: str, version: str, files: Mapping[str, str]) -> dict[str, bytes]:
    """Return a wheel of these files, by its file name."""
    info = f"{name}-{version}.dist-info"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, textwrap.dedent(text))
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return {f"{name}-{version}-py3-none-any.whl": data.getvalue()}


def back_end(name: str, version: str) -> dict[str, bytes]:
    """Return the wheel of a back end."""
    return wheel(name, version, {f"{name}.py": BACK_END.format(name=name, version=version)})


def sdist(name: str, version: str, built_by: str) -> dict[str, bytes]:
    """Return a source distribution that such a back end builds."""
    files = {
        "NAME": f"{name} {version}",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f'[build-system]\nrequires = ["{built_by}"]\n'
        f'build-backend = "{built_by}"\n',
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return {f"{name}-{version}.tar.gz": data.getvalue()}


def index_of(files: Mapping[str, bytes]) -> type[BaseHTTPRequestHandler]:
    """Return a package index (PEP 503) of these files, as they are when it is asked."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with a project's page, or with a file."""
            body = files.get(self.path.removeprefix("/"))
            if page := re.fullmatch(r"/simple/([^/]+)/", self.path):
                names = [
                    name
                    for name in files
                    if re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower() == page[1]
                ]
                links = [
                    f'<a href="/{name}#sha256={hashlib.sha256(files[name]).hexdigest()}">{name}</a>'
                    for name in names
                ]
                body = "\n".join(links).encode() if names else None
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Index


@contextlib.contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    """Serve in the background; the value is the port."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
