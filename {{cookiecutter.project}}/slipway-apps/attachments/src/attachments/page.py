"""The page: files that come with the package."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .messages import Reply, Request
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
_CONTENTS = {target: (STATIC / name).read_bytes() for target, (name, _) in FILES.items()}


async def reply(request: Request, target: str) -> Reply:
    """Answer a GET or HEAD of one of them."""
    content = _CONTENTS[target]
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    fields = {
        "content-type": FILES[target][1],
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
        "etag": etag,
    }
    # no date: those of an image's files are all the same
    status = precondition(request.method, request.fields, Validators(etag, None))
    return Reply(status, b"", fields) if status else Reply(200, content, fields)
