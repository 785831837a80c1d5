"""The HTTP interface: an ASGI application.

    GET /                 the page
    GET /files            what there is, the newest first, as JSON
    POST /files           a new file from the body, or all files of a form
    PUT /files/NAME       a file under a name that the client chooses; replaces one that is there
    GET /files/NAME       its bytes, or a range of them
    DELETE /files/NAME
    GET /health           whether the database answers

HEAD is answered wherever GET is, and OPTIONS everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import blobfiles

from . import files, page
from .bodies import Body, Pace, send_range
from .fields import (
    Malformed,
    clean_name,
    content_disposition,
    file_name,
    format_date,
    format_digest,
    media_type,
)
from .files import File, Totals
from .lanes import Lane, Lanes, Unavailable
from .messages import Gone, Problem, Receive, Reply, Request, Send, start
from .semantics import Unsatisfiable, precondition, same_site, selected_range
from .settings import Settings
from .uploads import FILES_IN_A_FORM, Receiving

log = logging.getLogger("uvicorn.error")

# What a browser may show in place of saving it. Pictures only, and not those with scripts in them.
SHOWN = {"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"}
PAGE_SIZE = 100
# What the parts of a form have around them.
FORM_OVERHEAD = FILES_IN_A_FORM * 16384


class Application:
    """Answers requests; the database's work is done in lanes."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; `lifespan` opens and closes what it needs."""
        self._settings = settings
        self._limits = Totals(settings.max_files, settings.max_total_size)
        self._token = hashlib.sha256(settings.write_token.encode()).digest()
        self._lanes: Lanes

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope), receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._lanes = Lanes(self._settings.database_url, self._settings.database_connections)
        collecting = asyncio.ensure_future(self._collect())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        collecting.cancel()
        self._lanes.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _collect(self) -> None:
        """Give back the space of deleted and given up files, again and again."""
        lane = Lane(self._settings.database_url)
        keep = timedelta(seconds=self._settings.keep_seconds)
        try:
            while True:
                with contextlib.suppress(Unavailable):
                    removed = await lane.run(blobfiles.collect, keep)
                    if removed:
                        log.info("collected %d files", removed)
                await asyncio.sleep(self._settings.collect_seconds)
        finally:
            lane.close()

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        began = False

        async def sending(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            with _problems():
                reply = await self._reply(request, receive, sending)
            if reply:
                await reply.send(sending)
        except Gone:
            pass
        except Problem as problem:
            if began:  # too late to say it in any other way than by an end too early
                log.error("%s %s: %s", request.method, request.target.decode(), problem)
                raise
            await problem.reply.send(sending)

    async def _reply(self, request: Request, receive: Receive, send: Send) -> Reply | None:
        """Find who answers; None when the reply was sent already."""
        if request.field("expect").lower() not in ("", "100-continue"):
            raise Problem(417, "only 100-continue can be expected")
        handlers = self._handlers(request, receive, send)
        allowed = [*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"]
        allow = {"allow": ", ".join(sorted(allowed))}
        if request.method == "OPTIONS":
            return Reply(204, fields=allow)
        handler = handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise Problem(405, f"{request.method} is not for this address", **allow)
        if request.method not in ("GET", "HEAD"):
            self._check_site(request)
        return await handler()

    def _handlers(
        self, request: Request, receive: Receive, send: Send
    ) -> dict[str, Callable[[], Awaitable[Reply | None]]]:
        target = request.target.decode("ascii")
        if target in page.FILES:
            return {"GET": lambda: page.reply(request, target)}
        if target == "/health":
            return {"GET": self._health}
        if target in ("/files", "/files/"):
            return {
                "GET": lambda: self._list(request),
                "POST": lambda: self._post(request, receive),
            }
        if target == "*" and request.method == "OPTIONS":
            return {}
        path = _path(target)
        if path is None:
            raise Problem(404, "there is nothing at this address")
        return {
            "GET": lambda: self._get(request, path, receive, send),
            "PUT": lambda: self._put(request, path, receive),
            "DELETE": lambda: self._delete(request, path),
        }

    async def _health(self) -> Reply:
        await self._lanes.run(files.totals)
        return Reply(200, b"well\n", {"content-type": "text/plain", "cache-control": "no-store"})

    async def _list(self, request: Request) -> Reply:
        after = None
        with contextlib.suppress(ValueError, KeyError):
            modified, _, path = request.query["after"][0].partition(" ")
            after = (min(int(modified[:18]), 10**17), path)
        found = await self._lanes.run(files.newest, PAGE_SIZE, after)
        total = await self._lanes.run(files.totals)
        following = ""
        if len(found) == PAGE_SIZE:
            following = "/files?after=" + quote(f"{found[-1].modified} {found[-1].path}", safe="")
        said = {
            "files": [_described(file) for file in found],
            "next": following or None,
            "total": {"files": total.files, "bytes": total.bytes},
            "max_file_size": self._settings.max_file_size,
            "token_needed": bool(self._settings.write_token),
        }
        return _json(200, said)

    async def _get(self, request: Request, path: str, receive: Receive, send: Send) -> Reply | None:
        lane = self._lanes.choose()
        found = await self._lanes.run_in(lane, files.open_file, path)
        if found is None:
            raise Problem(404, "there is no such file")
        file, reader = found
        fields = _fields(file)
        status = precondition(request.method, request.fields, file.validators)
        if status == 412:
            raise Problem(412, "the file is in another state", etag=file.validators.etag)
        if status == 304:
            kept = ("etag", "cache-control", "last-modified")
            return Reply(304, fields={name: fields[name] for name in kept})
        first, end = 0, file.size
        if request.method == "GET":
            try:
                wanted = selected_range(request.fields, file.validators, file.size)
            except Unsatisfiable:
                raise Problem(
                    416, f"it has {file.size} bytes", content_range=f"bytes */{file.size}"
                ) from None
            if wanted:
                first, end = wanted
                fields["content-range"] = f"bytes {first}-{end - 1}/{file.size}"
        if "content-range" not in fields:
            fields["content-digest"] = fields["repr-digest"]
        fields["content-length"] = str(end - first)
        await start(send, 206 if "content-range" in fields else 200, fields)
        if request.method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await send_range(lane, reader, first, end, receive, send)
        return None

    async def _put(self, request: Request, path: str, receive: Receive) -> Reply:
        self._check_token(request.field("authorization"))
        if "content-range" in request.fields:
            raise Problem(400, "a file is sent as a whole: leave out Content-Range")
        text = unquote_to_bytes(path).decode()
        name = clean_name(file_name(request.field("content-disposition")) or text)
        check = _check(request)
        old = await self._lanes.run(files.find, path)
        check(old)
        async with self._receiving(request, new=old is None) as receiving:
            upload = await receiving.begin(name, request.field("content-type"), path)
            await receiving.receive(upload, self._body(request, receive).pieces())
            [(file, new)] = await receiving.publish(check, self._limits)
        return _json(201, _described(file), _saved(file)) if new else Reply(204, b"", _saved(file))

    async def _post(self, request: Request, receive: Receive) -> Reply:
        kind = media_type(request.field("content-type"))
        is_form = kind == "multipart/form-data"
        given = request.field("authorization")
        if given or not is_form:
            self._check_token(given)
        body = self._body(request, receive)
        async with self._receiving(request, is_form=is_form) as receiving:
            if is_form:
                await receiving.receive_form(
                    request.field("content-type"),
                    body.pieces(),
                    lambda token: self._check_token(given or f"Bearer {token}"),
                )
            else:
                name = clean_name(file_name(request.field("content-disposition")) or "")
                upload = await receiving.begin(name, request.field("content-type"))
                await receiving.receive(upload, body.pieces())
            published = await receiving.publish(_check(request), self._limits)
        made = [file for file, _ in published]
        if is_form and "text/html" in request.field("accept"):
            return Reply(303, b"", {"location": "/"})
        said = [_described(file) for file in made]
        return _json(201, said if is_form else said[0], _saved(made[0]))

    async def _delete(self, request: Request, path: str) -> Reply:
        self._check_token(request.field("authorization"))
        if not await self._lanes.choose().run(files.delete, path, _check(request)):
            raise Problem(404, "there is no such file")
        return Reply(204)

    @contextlib.asynccontextmanager
    async def _receiving(self, request: Request, new: bool = True, is_form: bool = False) -> Any:
        """Look at the head of a request whose body is a file, before anything of the body."""
        if request.field("content-encoding").lower() not in ("", "identity"):
            raise Problem(415, "send it without Content-Encoding", accept_encoding="identity")
        limit = self._settings.max_file_size
        length = request.length or 0
        if length > limit + (FORM_OVERHEAD if is_form else 0):
            raise Problem(413, f"a file may have {limit} bytes")
        total = await self._lanes.run(files.totals)
        if total.files + new > self._limits.files or total.bytes + length > self._limits.bytes:
            raise files.Full
        async with Receiving(self._lanes.choose(), limit) as receiving:
            yield receiving

    def _body(self, request: Request, receive: Receive) -> Body:
        pace = Pace(self._settings.stall_seconds, self._settings.min_bytes_per_second)
        return Body(request, receive, pace)

    def _check_token(self, authorization: str) -> None:
        """Raise Problem unless it has the token, where one is needed."""
        if not self._settings.write_token:
            return
        scheme, _, token = authorization.partition(" ")
        given = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        if not hmac.compare_digest(given, self._token) or scheme.lower() != "bearer":
            raise Problem(
                401, "writing needs the token", www_authenticate='Bearer realm="attachments"'
            )

    def _check_site(self, request: Request) -> None:
        """Raise Problem when a page of somebody else makes a browser write here."""
        if not same_site(request.fields):
            raise Problem(403, "another site's page may not write here")


@contextlib.contextmanager
def _problems() -> Iterator[None]:
    """Turn what is raised below into what a client is told."""
    try:
        yield
    except Unavailable as problem:
        log.error("database: %s", problem)
        raise Problem(503, "the database does not answer: try again", retry_after="5") from problem
    except blobfiles.TooLarge as problem:
        raise Problem(413, f"too large: {problem}") from problem
    except blobfiles.NotFound as problem:  # was given up, or deleted while it was read
        raise Problem(503, "it was removed meanwhile: try again", retry_after="1") from problem
    except blobfiles.Corrupt as problem:
        log.error("database: %s", problem)
        raise Problem(500, "the file is damaged in the database") from problem
    except files.Full as problem:
        raise Problem(507, "there is no room for more files: delete some") from problem
    except Malformed as problem:
        raise Problem(400, str(problem)) from problem


def _path(target: str) -> str | None:
    """Give the last part of `/files/NAME`, always encoded in the same way; None of what is none."""
    if not target.startswith("/files/"):
        return None
    try:
        text = unquote_to_bytes(target[len("/files/") :]).decode()
    except UnicodeDecodeError:
        return None
    if "/" in target[len("/files/") :] or "/" in text or text in (".", "..") or "\0" in text:
        return None
    path = quote(text, safe="")
    return path if len(path) <= files.LONGEST_PATH else None


def _check(request: Request) -> files.Check:
    """Make the look at what is there already, by the request's conditional fields."""

    def check(current: File | None) -> None:
        validators = current.validators if current else None
        if precondition(request.method, request.fields, validators):
            etag = {"etag": validators.etag} if validators else {}
            raise Problem(412, "the file is in another state", **etag)

    return check


def _fields(file: File) -> dict[str, str]:
    """Give the fields of a reply that has a file."""
    shown = file.media_type in SHOWN
    return {
        "content-type": file.media_type if shown else "application/octet-stream",
        "content-disposition": content_disposition("inline" if shown else "attachment", file.name),
        "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "etag": file.validators.etag,
        "last-modified": format_date(file.changed),
        "repr-digest": format_digest("sha-256", file.sha256),
    }


def _described(file: File) -> dict[str, Any]:
    return {
        "url": f"/files/{file.path}",
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256.hex(),
        "modified": file.changed.isoformat(timespec="milliseconds"),
        "etag": file.validators.etag,
        "picture": file.media_type in SHOWN,
    }


def _saved(file: File) -> dict[str, str]:
    return {"location": f"/files/{file.path}", "etag": file.validators.etag}


def _json(status: int, said: object, fields: Mapping[str, str] = {}) -> Reply:
    body = json.dumps(said, ensure_ascii=False).encode() + b"\n"
    kind = {"content-type": "application/json", "cache-control": "no-store"}
    return Reply(status, body, {**kind, **fields})
