"""A page in Chromium, driven over the DevTools protocol's pipe: no library, no port."""

from __future__ import annotations

import base64
import json
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 60


class Page:
    """A browser with one page; `with` ends it."""

    def __init__(self, image: str, environment: Mapping[str, str], *options: str) -> None:
        """Start the browser's container with more options of docker run."""
        self._process = subprocess.Popen(
            ["docker", "run", "--rm", "--interactive", "--init", *options, image],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._last = 0
        self._buffer = b""
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("DOM.enable")
        self.call("Log.enable")
        self.complaints: list[str] = []

    def __enter__(self) -> Page:
        """Return the page."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the browser."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and wait for what it gives."""
        self._last += 1
        number = self._last
        self._send(number, method, parameters)
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._heed(message)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, once it is settled."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, condition: str) -> None:
        """Wait for an expression to be true."""
        deadline = time.monotonic() + SECONDS
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise AssertionError(f"{condition}: {self.run('document.body.innerText')}")
            time.sleep(0.05)

    def choose(self, selector: str, *paths: str) -> None:
        """Choose files, of the browser's container, as a click on the input does."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
        self.call("DOM.setFileInputFiles", files=paths, objectId=found["result"]["objectId"])

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                **{"type": kind, "key": name, "windowsVirtualKeyCode": code, "text": text},
            )

    def slow_down(self, upload: int) -> None:
        """Limit how many bytes a second it sends; -1 is no limit."""
        self.call("Network.enable")
        self.call(
            "Network.emulateNetworkConditions",
            **{
                "offline": False,
                "latency": 0,
                "downloadThroughput": -1,
                "uploadThroughput": upload,
            },
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of what is to be seen."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _heed(self, event: dict[str, Any]) -> None:
        """Accept dialogs, and keep the messages that the browser logs."""
        if event.get("method") == "Page.javascriptDialogOpening":
            self._last += 1
            self._send(self._last, "Page.handleJavaScriptDialog", {"accept": True})
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(event["params"]["entry"]["text"])

    def _send(self, number: int, method: str, parameters: dict[str, Any]) -> None:
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
            piece = self._process.stdout.read1(1 << 20) if ready else b""  # type: ignore[attr-defined]
            assert piece, f"the browser does not answer: {self._process.poll()}"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said
