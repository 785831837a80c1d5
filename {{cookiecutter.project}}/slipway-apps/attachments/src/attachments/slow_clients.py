"""Limits for clients that are slow on purpose, or that open many connections.

uvicorn itself ends connections that are idle after a reply. It has no limit for headers that do not
end, for a reply that nobody reads, or for a refused body that continues. The application limits the
time for a body, because it knows when it waits for one.

uvicorn's limit of connections is not used: it refuses everybody, also the health check, as long as
some clients hold all of them. Here a new connection takes the place of the one that has made no
progress for the longest time.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

from .settings import Settings

# How long the rest of a refused body is read and discarded, so that the client sees the reply.
LINGER_SECONDS = 5
# Progress is so many bytes. For so many seconds a connection without progress keeps its place.
STEP_BYTES = 16 << 10
KEEP_PLACE_SECONDS = 1.0
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def _health_only(app: Any) -> Any:
    """Return an application that answers only the health check."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await (app if scope["path"] == "/health" else service_unavailable)(scope, receive, send)

    return answer


class LimitedProtocol(H11Protocol):
    """One connection, which is closed if the client makes no progress."""

    app: Any
    settings: Settings  # set by the subclass in `serve`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._headers: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._pending = 0
        self._received = 0  # bytes since the last progress
        self._progress = self.loop.time()
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # This also ends a reply of which the last part is in the kernel.
            milliseconds = self.settings.stall_seconds * 1000
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._find_place()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        for timer in (self._headers, self._linger, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes, and set the timers."""
        waited = self.conn.their_state is h11.IDLE
        super().data_received(data)
        self._received += len(data)
        if self._received >= STEP_BYTES or (waited and self.conn.their_state is not h11.IDLE):
            self._note_progress()
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection: a client may stop sending after its request."""
        waits = self.cycle is not None and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        if waits:
            self.cycle.keep_alive = False
        return waits

    def on_response_complete(self) -> None:
        """Continue with the next request, and set the timers."""
        self._note_progress()
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, unless a reply has begun already."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Start to watch a client that reads too slowly."""
        super().pause_writing()
        self._note_progress()
        if self._writing is None:
            self._watch_writing()

    def resume_writing(self) -> None:
        """Stop watching: the client has read everything."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def stalled(self) -> float:
        """Return for how many seconds the client makes no progress; 0 while the server works."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not self.flow.write_paused:
            sending = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
            if not sending or cycle.body or cycle.waiting_for_100_continue:
                return 0.0
        return float(self.loop.time() - self._progress)

    def make_way(self) -> None:
        """Close the connection; a client that has no part of an answer is told the reason."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(TOO_SLOW)
        self.transport.abort()

    def _note_progress(self) -> None:
        self._received = 0
        self._progress = self.loop.time()

    def _find_place(self) -> None:
        """Refuse the connection if all places are taken by clients that make progress.

        A connection of this machine has no limit of its address, and can always ask for its health.
        """
        most, most_here = self.settings.max_connections, self.settings.max_connections_per_address
        if len(self.connections) <= min(most, most_here):
            return
        address = self.client and self.client[0]
        local = address is None or address == (self.server and self.server[0])
        others: list[Any] = [
            each
            for each in self.connections
            if each is not self and not each.transport.is_closing()
        ]
        if len(others) < most and not local:
            others = [each for each in others if each.client and each.client[0] == address]
            most = most_here
        if len(others) < most:
            return
        slowest = max(others, key=LimitedProtocol.stalled)
        if slowest.stalled() > KEEP_PLACE_SECONDS:
            slowest.make_way()
        elif local:
            self.app = _health_only(self.app)
        elif len(others) < 2 * most:
            self.app = service_unavailable
        else:
            self.transport.abort()

    def _look(self) -> None:
        between = self.conn.their_state is h11.IDLE
        # uvicorn limits an idle connection: after a reply, with nothing of the next request.
        waiting = between and (self.cycle is None or bool(self.conn.trailing_data[0]))
        self._headers = self._timer(
            waiting, self._headers, self.settings.header_seconds, self._give_up
        )
        refused = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        self._linger = self._timer(refused, self._linger, LINGER_SECONDS, self.transport.abort)

    def _timer(
        self, needed: bool, timer: asyncio.TimerHandle | None, seconds: float, then: Any
    ) -> asyncio.TimerHandle | None:
        """Return a running timer if one is needed; cancel the timer otherwise."""
        if needed and not self.transport.is_closing():
            return timer or self.loop.call_later(seconds, then)
        if timer is not None:
            timer.cancel()
        return None

    def _give_up(self) -> None:
        self.transport.write(TOO_SLOW)
        self.transport.close()

    def _watch_writing(self) -> None:
        """Close the connection if the client has read less than the slowest rate allows."""
        pending = self.transport.get_write_buffer_size()
        taken = self._pending - pending
        least = self.settings.stall_seconds * self.settings.min_bytes_per_second
        if self._writing is not None and taken < min(least, self._pending):
            self.transport.abort()
            return
        self._pending = pending
        self._writing = self.loop.call_later(self.settings.stall_seconds, self._watch_writing)
