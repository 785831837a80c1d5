"""The application as its users have it: the installed command, answering over HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import time
import unittest
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

COMMAND = Path(sysconfig.get_path("scripts"), "{{ cookiecutter.command }}")


class HelloTest(unittest.TestCase):
    """One server for each test, on a port that the system chooses."""

    def setUp(self) -> None:
        """Start the server and read its address from its log."""
        self.server = subprocess.Popen(
            [COMMAND], env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(self.server.communicate)
        self.addCleanup(self.server.kill)
        assert self.server.stdout
        for line in self.server.stdout:
            if found := re.search(r"starting on (\d+)", line):
                self.url = f"http://127.0.0.1:{found[1]}/"
                return
        self.fail(f"{COMMAND} ended with status {self.server.wait()}")

    def test_says_hello(self) -> None:
        """The root page is a plain text."""
        with urlopen(self.url, timeout=10) as answer:
            self.assertEqual(answer.read(), b"Hello, world!")
            self.assertEqual(answer.headers.get_content_type(), "text/plain")

    def test_has_no_other_page(self) -> None:
        """Another path is not found."""
        with self.assertRaises(HTTPError) as refused:
            urlopen(self.url + "other", timeout=10)
        refused.exception.close()
        self.assertEqual(refused.exception.code, 404)

    def test_stops_at_once_when_told(self) -> None:
        """SIGTERM, which `docker stop` sends, ends it cleanly in under a second."""
        urlopen(self.url, timeout=10).close()  # listening comes a moment before heeding signals
        start = time.monotonic()
        self.server.terminate()
        self.assertEqual(self.server.wait(timeout=10), 0)
        self.assertLess(time.monotonic() - start, 1)


if __name__ == "__main__":
    unittest.main()
