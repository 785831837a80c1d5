"""The HTTP interface: a Starlette application.

    GET /                 the page
    GET /files            the list of files, the newest first, as JSON
    POST /files           stores the body as a new file, or all files of a form
    PUT /files/NAME       stores a file under a name that the client chooses, or replaces it
    GET /files/NAME       the file's bytes, or a range of them
    DELETE /files/NAME
    GET /health           200 if the database answers

HEAD is answered wherever GET is, and OPTIONS everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import blobfiles

from . import files, page
from .bodies import Body, FileReply, Pace
from .fields import (
    Malformed,
    clean_name,
    content_disposition,
    file_name,
    format_date,
    format_digest,
    media_type,
)
from .files import File, Space, Totals
from .lanes import Lane, Lanes, Unavailable
from .messages import (
    Fields,
    Reply,
    body_length,
    check_request,
    joined,
    json_reply,
    parameters_of,
    refusal,
    target_of,
)
from .semantics import Unsatisfiable, Validators, precondition, same_site, selected_range
from .settings import Settings
from .uploads import FILES_IN_A_FORM, Receiving

log = logging.getLogger("uvicorn.error")

# Media types that a browser may show instead of saving the file: images without scripts.
SHOWN = {"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"}
PAGE_SIZE = 100
# The most bytes that surround the files of a form.
FORM_OVERHEAD = FILES_IN_A_FORM * 16384
# With less room than this, in bytes, deleted files are not kept for those who still read them.
LITTLE_ROOM = 16 << 20
# Exceptions that have an answer, by `answer_to`.
REFUSALS = (
    *(HTTPException, ClientDisconnect, Malformed, Unavailable),
    *(blobfiles.TooLarge, blobfiles.NotFound, blobfiles.Corrupt, blobfiles.NoRoom, files.Full),
)

Endpoint = Callable[[Request], Awaitable[Reply]]


class Application(Starlette):
    """The addresses and their answers; the database's work is done in lanes."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; connections are opened when the server starts."""
        self._settings = settings
        self._hosts = settings.hosts
        self._keep = timedelta(seconds=settings.keep_seconds)
        self._token = hashlib.sha256(settings.write_token.encode()).digest()
        self._lanes: Lanes
        self._space: Space
        self._collector: Lane
        super().__init__(
            routes=[
                *page.ROUTES,
                Route("/health", self._health),
                Route("/files", self._list),
                Route("/files", own_pages_only(self._post), methods=["POST"]),
                Route("/files/", self._list),
                Route("/files/", own_pages_only(self._post), methods=["POST"]),
                Route("/files/{path}", self._get),
                Route("/files/{path}", own_pages_only(self._put), methods=["PUT"]),
                Route("/files/{path}", own_pages_only(self._delete), methods=["DELETE"]),
            ],
            exception_handlers={**dict.fromkeys(REFUSALS, self._refuse), 405: self._other_method},
            lifespan=self._lifespan,
        )
        self.router.redirect_slashes = False
        self.router.default = self._no_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI defines it."""
        if scope["type"] == "http":
            try:
                scope["fields"] = joined(Headers(scope=scope))
                check_request(scope["fields"], self._hosts)
            except HTTPException as problem:
                await refusal(problem)(scope, receive, send)
                return
            scope["path"] = address(target_of(scope))
        await super().__call__(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._lanes = Lanes(self._settings.database_url, self._settings.database_connections)
        limits = Totals(self._settings.max_files, self._settings.max_total_size)
        self._space = Space(limits)
        self._collector = Lane(self._settings.database_url)
        collecting = asyncio.ensure_future(self._collect())
        yield
        collecting.cancel()
        self._collector.close()
        self._lanes.close()

    async def _collect(self) -> None:
        """Free the space of deleted and abandoned files at regular intervals.

        The space of an upload that was given up is freed at once.
        """
        while True:
            self._space.given_up.clear()
            with contextlib.suppress(Unavailable, blobfiles.BlobError):
                removed = await self._collector.run(blobfiles.collect, self._keep)
                if removed:
                    log.info("collected %d files", removed)
                await self._collector.run(blobfiles.reserve)
            with contextlib.suppress(asyncio.TimeoutError):
                pause = self._settings.collect_seconds
                await asyncio.wait_for(self._space.given_up.wait(), pause)

    async def _require_room(self, new: bool, length: int) -> None:
        """Raise Full or NoRoom if there is no room for a body; free the space of deleted files."""
        self._space.published, room = await self._lanes.run(files.survey)
        if self._space.is_exceeded(new, length):
            raise files.Full
        if room is not None and room < max(length, LITTLE_ROOM):
            await self._collector.run(blobfiles.collect, self._keep, timedelta(0))
            _, room = await self._lanes.run(files.survey)
            if room is not None and room < length:
                raise blobfiles.NoRoom(f"{length} bytes are needed, and {room} are left")

    async def _no_address(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse an address that does not exist; `*` stands for the server as a whole."""
        if scope["method"] != "OPTIONS" or scope["path"] != "*":
            raise HTTPException(404, "there is nothing at this address")
        await Reply(b"", 204, {"allow": "OPTIONS"})(scope, receive, send)

    async def _other_method(self, request: Request, _: Exception) -> Reply:
        """Answer OPTIONS, and refuse other methods that an address does not have."""
        # Starlette names the methods of one route, and an address has several.
        methods = {"OPTIONS"}
        for route in self.routes:
            if isinstance(route, Route) and route.path_regex.match(request.scope["path"]):
                methods |= route.methods or set()
        allow = {"allow": ", ".join(sorted(methods))}
        if request.method == "OPTIONS":
            return Reply(b"", 204, allow)
        return refusal(HTTPException(405, f"{request.method} is not for this address", allow))

    async def _refuse(self, _: Request, problem: Exception) -> Reply:
        return refusal(answer_to(problem))

    async def _health(self, _request: Request) -> Reply:
        _, room = await self._lanes.run(files.survey)
        said = "healthy"
        if room is not None and room < LITTLE_ROOM:
            said += f", but short of space: there is room for {room >> 20} MiB of new files"
        return Reply(
            f"{said}\n".encode(), 200, {"content-type": "text/plain", "cache-control": "no-store"}
        )

    async def _list(self, request: Request) -> Reply:
        after = None
        given = parameters_of(request.scope["query_string"]).get("after", "")
        modified, _, path = given.partition(" ")
        with contextlib.suppress(ValueError):
            after = (min(int(modified[:18]), 10**17), path)
        found = await self._lanes.run(files.newest, PAGE_SIZE, after)
        total = await self._lanes.run(files.totals)
        following = ""
        if len(found) == PAGE_SIZE:
            following = "/files?after=" + quote(f"{found[-1].modified} {found[-1].path}", safe="")
        return json_reply(
            {
                "files": [described(file) for file in found],
                "next": following or None,
                "total": {"files": total.files, "bytes": total.bytes},
                "max_file_size": self._settings.max_file_size,
                "token_needed": bool(self._settings.write_token),
            }
        )

    async def _get(self, request: Request) -> Reply:
        lane = self._lanes.choose()
        found = await self._lanes.run_in(lane, files.open_file, request.path_params["path"])
        if found is None:
            raise HTTPException(404, "there is no such file")
        file, reader = found
        asked, fields = request.scope["fields"], fields_of(file)
        status = precondition(request.method, asked, file.validators)
        if status == 412:
            raise conditions_not_met(file.validators)
        if status == 304:
            kept = ("etag", "cache-control", "last-modified")
            return Reply(b"", 304, {name: fields[name] for name in kept})
        first, end = 0, file.size
        if request.method == "GET":
            try:
                wanted = selected_range(asked, file.validators, file.size)
            except Unsatisfiable:
                size = {"content-range": f"bytes */{file.size}"}
                raise HTTPException(416, f"the file has {file.size} bytes", size) from None
            if wanted:
                first, end = wanted
                fields["content-range"] = f"bytes {first}-{end - 1}/{file.size}"
        if "content-range" not in fields:
            fields["content-digest"] = fields["repr-digest"]
        fields["content-length"] = str(end - first)
        return FileReply(lane, reader, first, end, fields)

    async def _put(self, request: Request) -> Reply:
        path, fields = request.path_params["path"], request.scope["fields"]
        self._check_token(fields.get("authorization", ""))
        if "content-range" in fields:
            raise HTTPException(400, "a file is sent as a whole: leave out Content-Range")
        text = unquote_to_bytes(path).decode()
        name = clean_name(file_name(fields.get("content-disposition", "")) or text)
        check = check_of(request.method, fields)
        old = await self._lanes.run(files.find, path)
        check(old)
        async with self._receiving(fields, new=old is None) as receiving:
            upload = await receiving.begin(name, fields.get("content-type", ""), path)
            await receiving.receive(upload, self._body(request, fields).pieces())
            [(file, new)] = await receiving.publish(check)
        return (
            json_reply(described(file), 201, saved(file)) if new else Reply(b"", 204, saved(file))
        )

    async def _post(self, request: Request) -> Reply:
        fields = request.scope["fields"]
        content_type = fields.get("content-type", "")
        is_form = media_type(content_type) == "multipart/form-data"
        given = fields.get("authorization", "")
        if given or not is_form:
            self._check_token(given)
        body = self._body(request, fields)
        async with self._receiving(fields, is_form=is_form) as receiving:
            if is_form:
                await receiving.receive_form(
                    content_type,
                    body.pieces(),
                    lambda token: self._check_token(given or f"Bearer {token}"),
                )
            else:
                name = clean_name(file_name(fields.get("content-disposition", "")) or "")
                upload = await receiving.begin(name, content_type)
                await receiving.receive(upload, body.pieces())
            published = await receiving.publish(check_of(request.method, fields))
        made = [file for file, _ in published]
        if is_form and "text/html" in fields.get("accept", ""):
            return Reply(b"", 303, {"location": "/"})
        content = [described(file) for file in made]
        return json_reply(content if is_form else content[0], 201, saved(made[0]))

    async def _delete(self, request: Request) -> Reply:
        fields = request.scope["fields"]
        self._check_token(fields.get("authorization", ""))
        check = check_of(request.method, fields)
        if not await self._lanes.choose().run(files.delete, request.path_params["path"], check):
            raise HTTPException(404, "there is no such file")
        return Reply(b"", 204)

    @contextlib.asynccontextmanager
    async def _receiving(
        self, fields: Fields, new: bool = True, is_form: bool = False
    ) -> AsyncIterator[Receiving]:
        """Check the fields of a request whose body is a file, before the body is read."""
        if fields.get("content-encoding", "").lower() not in ("", "identity"):
            identity = {"accept-encoding": "identity"}
            raise HTTPException(415, "send the file without Content-Encoding", identity)
        limit = self._settings.max_file_size
        length = body_length(fields) or 0
        if length > limit + (FORM_OVERHEAD if is_form else 0):
            raise HTTPException(413, f"a file may have {limit} bytes")
        await self._require_room(new, length)
        async with Receiving(self._lanes.choose(), limit, self._space) as receiving:
            yield receiving

    def _body(self, request: Request, fields: Fields) -> Body:
        pace = Pace(self._settings.stall_seconds, self._settings.min_bytes_per_second)
        return Body(fields, request.receive, pace)

    def _check_token(self, authorization: str) -> None:
        """Raise HTTPException if the field does not have the token, if one is set."""
        if not self._settings.write_token:
            return
        scheme, _, token = authorization.partition(" ")
        given = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        if not hmac.compare_digest(given, self._token) or scheme.lower() != "bearer":
            realm = {"www-authenticate": 'Bearer realm="attachments"'}
            raise HTTPException(401, "writing needs the token", realm)


def own_pages_only(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that refuses requests which another site's page makes a browser send."""

    async def checked(request: Request) -> Reply:
        if not same_site(request.scope["fields"]):
            raise HTTPException(403, "another site's page may not write here")
        return await endpoint(request)

    return checked


def answer_to(problem: Exception) -> HTTPException:
    """Return the answer to a client for one of REFUSALS."""
    if isinstance(problem, HTTPException):
        return problem
    if isinstance(problem, (Unavailable, blobfiles.Corrupt)):
        log.error("database: %s", problem)
    if isinstance(problem, Unavailable):
        after = {"retry-after": "5"}
        return HTTPException(503, "the database does not answer: try again", after)
    if isinstance(problem, blobfiles.TooLarge):
        return HTTPException(413, f"too large: {problem}")
    if isinstance(problem, blobfiles.NotFound):  # abandoned, or deleted while it was read
        return HTTPException(503, "the file was removed meanwhile: try again", {"retry-after": "1"})
    if isinstance(problem, blobfiles.Corrupt):
        return HTTPException(500, "the file is damaged in the database")
    if isinstance(problem, blobfiles.NoRoom):
        log.error("database: %s", problem)
        return HTTPException(507, "the database's disk is full: delete some files")
    if isinstance(problem, files.Full):
        return HTTPException(507, "there is no room for more files: delete some")
    return HTTPException(400, str(problem))  # malformed, or cut off, so that nobody reads this


def address(target: str) -> str:
    """Return a request's path with `/files/NAME` encoded in one way; empty if NAME is invalid."""
    folder, name = target[: len("/files/")], target[len("/files/") :]
    if folder != "/files/" or not name:
        return target
    try:
        text = unquote_to_bytes(name).decode()
    except UnicodeDecodeError:
        return ""
    if "/" in name or "/" in text or text in (".", "..") or "\0" in text:
        return ""
    path = quote(text, safe="")
    return folder + path if len(path) <= files.LONGEST_PATH else ""


def check_of(method: str, fields: Fields) -> files.Check:
    """Return the check of the stored file that a request's conditional fields demand."""

    def check(current: File | None) -> None:
        validators = current.validators if current else None
        if precondition(method, fields, validators):
            raise conditions_not_met(validators)

    return check


def conditions_not_met(current: Validators | None) -> HTTPException:
    """Return the answer to a request whose conditional fields do not match the stored file."""
    etag = {"etag": current.etag} if current else {}
    return HTTPException(412, "the stored file does not meet the request's conditions", etag)


def fields_of(file: File) -> dict[str, str]:
    """Return the fields of a reply whose body is a file."""
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


def described(file: File) -> dict[str, Any]:
    """Return the description of a file that clients get as JSON."""
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


def saved(file: File) -> dict[str, str]:
    """Return the fields of a reply to an upload."""
    return {"location": f"/files/{file.path}", "etag": file.validators.etag}
