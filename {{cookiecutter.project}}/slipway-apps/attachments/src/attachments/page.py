"""The page: files that come with the package.

Starlette's StaticFiles is not used. Its entity tag is made of a file's date and size, and all files
in an image have the same date: a browser would keep an old script that has the new one's size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.routing import Route

from .messages import Reply
from .semantics import Validators, precondition

STATIC = Path(__file__).with_name("static")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# The page runs its own script and shows its own pictures, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def route(path: str, name: str, media_type: str) -> Route:
    """Return the route of one file, which is read once."""
    content = (STATIC / name).read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    fields = {
        "content-type": media_type,
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
        "etag": etag,
    }

    async def get(request: Request) -> Reply:
        status = precondition(request.method, request.scope["fields"], Validators(etag, None))
        return Reply(b"", status, fields) if status else Reply(content, 200, fields)

    return Route(path, get)


ROUTES = [route(path, name, media_type) for path, (name, media_type) in FILES.items()]
