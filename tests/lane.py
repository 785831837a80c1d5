"""A pytest plugin for test runs side by side: `tests/run_all.py` loads it into each of them.

It writes each test's duration and outcome to the file $LANE_REPORT. It also runs the tests that are
marked `quiet` last, and only when no other test is at work: they measure seconds or memory. All
lanes hold a shared lock, the file descriptor $LANE_LOCK, until they come to their quiet tests; for
each of these a lane holds the lock alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Generator
from typing import Any, TextIO

import pytest


def is_quiet(item: pytest.Item) -> bool:
    """Whether a test needs a machine on which nothing else is at work."""
    return item.get_closest_marker("quiet") is not None


class Lane:
    """One pytest process among several."""

    def __init__(self, report: TextIO, lock: int) -> None:
        """Remember the lock, which this lane holds together with the others from the start."""
        self._report = report
        self._lock = lock

    @pytest.hookimpl(trylast=True)  # after pytest has put tests with the same parameter together
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Move the quiet tests to the end."""
        items.sort(key=is_quiet)

    # outermost: the time that a test waits for the lock does not count against its own
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Wait until all other lanes have finished, or are at their quiet tests as well."""
        if not is_quiet(item):
            return (yield)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            return (yield)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write one line for each phase of a test."""
        line = {
            "test": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
        }
        print(json.dumps(line), file=self._report, flush=True)

    def pytest_sessionfinish(self) -> None:
        """Leave the machine to the others while the fixtures are removed."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def pytest_configure(config: pytest.Config) -> None:
    """Register the lane if this process is one of several."""
    if "LANE_REPORT" in os.environ:
        # a shell that starts `make test` in the background lets it ignore this signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        report = open(os.environ["LANE_REPORT"], "a", encoding="utf-8")  # noqa: SIM115
        lock = int(os.environ["LANE_LOCK"])
        os.set_inheritable(lock, False)
        config.pluginmanager.register(Lane(report, lock), "lane")
