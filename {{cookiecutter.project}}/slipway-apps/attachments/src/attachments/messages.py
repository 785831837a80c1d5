"""Requests and replies, as ASGI has them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Fields = Mapping[str, str]

# A target may be a whole URL, as proxies are sent; RFC 9112, 3.2.2.
AUTHORITY = re.compile(rb"https?://[^/?#]*", re.I)

TEXT = {"content-type": "text/plain; charset=utf-8"}
# For everything that is sent: nothing in it runs, nothing else may show it in a frame or guess what
# it is.
ALWAYS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class Gone(Exception):
    """The client has closed the connection."""


class Problem(Exception):
    """A reply that says what is wrong."""

    def __init__(self, status: int, sentence: str, **fields: str) -> None:
        """Take the status, one line for the client, and fields with _ for -."""
        super().__init__(sentence)
        self.reply = Reply(
            status,
            (sentence + "\n").encode(),
            {**TEXT, **{name.replace("_", "-"): value for name, value in fields.items()}},
        )


class Request:
    """The head of a request."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        """Read an ASGI scope; fields that came several times are joined."""
        self.method: str = scope["method"]
        self.target: bytes = AUTHORITY.sub(b"", scope["raw_path"], count=1) or b"/"
        self.query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=50)
        self.fields: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            known = self.fields.get(name)
            self.fields[name] = value if known is None else f"{known}, {value}"

    def field(self, name: str) -> str:
        """Give a field's value, empty where it was not sent."""
        return self.fields.get(name, "")

    @property
    def length(self) -> int | None:
        """The body's length in bytes; None when it comes in chunks.

        Raises Problem when it is not said at all: what was lost on the way would be an empty file.
        """
        if "transfer-encoding" in self.fields:
            return None
        if "content-length" not in self.fields:
            raise Problem(411, "say how long it is: send Content-Length, or chunks")
        return int(self.fields["content-length"].partition(",")[0])


@dataclass(frozen=True)
class Reply:
    """A whole reply with a short body."""

    status: int
    body: bytes = b""
    fields: Fields = field(default_factory=dict)

    async def send(self, send: Send) -> None:
        """Send it."""
        fields = dict(self.fields)
        if self.status not in (204, 304):
            fields["content-length"] = str(len(self.body))
        await start(send, self.status, fields)
        await send({"type": "http.response.body", "body": self.body})


async def start(send: Send, status: int, fields: Fields) -> None:
    """Send a reply's head."""
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in {**ALWAYS, **fields}.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
