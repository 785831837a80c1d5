"""What this application adds to Starlette's requests and responses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .semantics import is_known_host

Fields = Mapping[str, str]
NONE: Fields = MappingProxyType({})

# Proxies are sent a whole URL as the target: RFC 9112, 3.2.2.
AUTHORITY = re.compile(rb"https?://[^/?#]*", re.I)

# Pages use one.
MOST_PARAMETERS = 20

# Every reply has these fields: no script in a reply runs, no other page shows the reply in a frame,
# and no browser guesses its type.
ALWAYS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class Reply(Response):
    """A response that has the fields of ALWAYS."""

    def __init__(
        self, content: bytes = b"", status_code: int = 200, headers: Fields = NONE
    ) -> None:
        """Keep all parts of the response; `headers` take precedence over ALWAYS."""
        super().__init__(content, status_code, {**ALWAYS, **headers})


def json_reply(content: object, status_code: int = 200, headers: Fields = NONE) -> Reply:
    """Return a reply that ends with a line end, for people who read it in a terminal."""
    body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
    kind = {"content-type": "application/json", "cache-control": "no-store"}
    return Reply(body, status_code, {**kind, **headers})


def refusal(problem: HTTPException) -> Reply:
    """Return the reply for a refused request: one line of text that states the reason."""
    kind = {"content-type": "text/plain; charset=utf-8"}
    content = f"{problem.detail}\n".encode()
    return Reply(content, problem.status_code, {**kind, **(problem.headers or {})})


def target_of(scope: Mapping[str, Any]) -> str:
    """Return the path of a request as the client sent it, percent-encoded.

    The server's own `path` cannot tell `/` from `%2F`, or an invalid byte from another one.
    """
    return AUTHORITY.sub(b"", scope["raw_path"], count=1).decode("ascii") or "/"


def joined(headers: Headers) -> dict[str, str]:
    """Return all fields of a request; several of the same name become one list.

    Starlette's `headers.get()` returns the first one only, so that a second `Content-Encoding`
    would pass unseen. Its `getlist()` reads all fields for each name: quadratic time.
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers.items():
        fields.setdefault(name, []).append(value)
    return {name: ", ".join(values) for name, values in fields.items()}


def parameters_of(query: bytes) -> dict[str, str]:
    """Return the parameters of a query; raise HTTPException if there are too many."""
    try:
        return dict(parse_qsl(query.decode("latin-1"), max_num_fields=MOST_PARAMETERS))
    except ValueError:
        problem = f"the address has more than {MOST_PARAMETERS} parameters"
        raise HTTPException(400, problem) from None


def check_request(fields: Fields, allowed_hosts: frozenset[str]) -> None:
    """Raise HTTPException for a request that must be refused, whatever its address is."""
    if "transfer-encoding" in fields and "content-length" in fields:
        # A proxy in front may have taken the other one for the end of the body: RFC 9112, 6.3.
        both = "send Transfer-Encoding or Content-Length, not both"
        raise HTTPException(400, both, {"connection": "close"})
    if fields.get("expect", "").lower() not in ("", "100-continue"):
        raise HTTPException(417, "only 100-continue can be expected")
    host = fields.get("host", "localhost")  # no browser leaves it out
    if not is_known_host(host, allowed_hosts):
        raise HTTPException(421, f"{host!r} is not a name of this server: add it to ALLOWED_HOSTS")


def body_length(fields: Fields) -> int | None:
    """Return a body's length in bytes; None if the body is sent in chunks.

    Raise HTTPException if the request states neither: a body that was lost on the way would be
    stored as an empty file.
    """
    if "transfer-encoding" in fields:
        return None
    if "content-length" not in fields:
        raise HTTPException(411, "the length is missing: send Content-Length, or send chunks")
    return int(fields["content-length"].partition(",")[0])
