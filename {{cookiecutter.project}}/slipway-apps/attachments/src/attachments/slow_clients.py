"""Limits of time for clients that are slow on purpose.

uvicorn itself ends connections that are idle after a reply. It has no limit for headers that do not
end, for a reply that nobody reads, or for a refused body that continues. The application limits the
time for a body, because it knows when it waits for one.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .settings import Settings

# How long the rest of a refused body is read and discarded, so that the client sees the reply.
LINGER_SECONDS = 5
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LimitedProtocol(H11Protocol):
    """One connection, which is closed if the client makes no progress."""

    settings: Settings  # set by the subclass in `serve`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._headers: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._pending = 0
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # This also ends a reply of which the last part is in the kernel.
            milliseconds = self.settings.stall_seconds * 1000
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        for timer in (self._headers, self._linger, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes, and set the timers."""
        super().data_received(data)
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection: a client may stop sending after its request."""
        waits = self.cycle is not None and self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        if waits:
            self.cycle.keep_alive = False
        return waits

    def on_response_complete(self) -> None:
        """Continue with the next request, and set the timers."""
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
        if self._writing is None:
            self._watch_writing()

    def resume_writing(self) -> None:
        """Stop watching: the client has read everything."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

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
