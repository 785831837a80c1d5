"""How the builder runs tools, and what it shows if they fail."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from concurrent.futures import Future
from typing import Any

import pytest

from slipway.builder import errors
from slipway.builder import run_tool as tools
from slipway.shared import files


def test_a_tool_that_works_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Its output is not shown."""
    tools.run("platform", environment=dict(os.environ))
    assert capfd.readouterr() == ("", "")


def test_a_tool_that_fails_is_named_with_what_it_said() -> None:
    """The output is shown above the line with the name."""
    with pytest.raises(
        errors.Failure, match=r"pip nonsense failed with status \d; see above"
    ) as it:
        tools.run("pip", "nonsense", environment=dict(os.environ))
    assert any("nonsense" in line for line in it.value.output)


def test_verbose_shows_what_a_tool_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output goes to standard error: standard output is for events and locks."""
    monkeypatch.setenv("VERBOSE", "1")
    command = [sys.executable, "-c", "print('at work')"]
    assert tools.run_quietly(command, dict(os.environ)) == (0, [])
    assert capfd.readouterr() == ("", "at work\n")


def test_the_beginning_of_a_long_complaint_is_shown_with_its_end() -> None:
    """A cause above a long traceback is not cut off."""
    lines = [f"step {n}\n" for n in range(100)]
    lines += ["error: no Rust\n", *(f"  line {n}\n" for n in range(200)), "the end\n"]
    shown = tools.relevant_lines(lines)
    assert shown[0] == "error: no Rust\n"
    assert shown[-1] == "the end\n"
    assert len(shown) <= tools.TAIL + 1
    assert tools.relevant_lines(lines[:50]) == lines[:50]
    assert tools.relevant_lines(["a\n"] * 100) == ["a\n"] * tools.TAIL


def test_an_untrusted_certificate_is_explained() -> None:
    """Users behind an inspecting proxy learn where to put its certificate."""
    script = "raise SystemExit('ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] no')"
    status, output = tools.run_quietly([sys.executable, "-c", script], dict(os.environ))
    assert status == 1
    assert output[0].startswith("ssl.SSLError")
    assert output[-1].startswith("builder: a certificate is not trusted")
    assert output[-1].endswith("into deploy/ca as a .crt file\n")


def tasks(*outcomes: Any) -> list[Future[Any]]:
    """Return finished tasks; an exception makes a failed task."""
    found = []
    for outcome in outcomes:
        task: Future[Any] = Future()
        if isinstance(outcome, BaseException):
            task.set_exception(outcome)
        else:
            task.set_result(outcome)
        found.append(task)
    return found


def test_tasks_give_what_they_came_to() -> None:
    """The order is kept, for generators and lists."""
    assert tools.results(tasks("b", None, "a")) == ["b", None, "a"]
    assert tools.results(iter(tasks(1, 2))) == [1, 2]
    assert tools.results([]) == []


def test_all_tasks_that_failed_are_told_at_once() -> None:
    """There is one line for each task, in order, with the output of their tools."""
    problems = [
        *(
            errors.Failure("one is wrong", ["why\n"]),
            ValueError("two is"),
            OSError(2, "no", "three"),
        )
    ]
    with pytest.raises(errors.Failure) as refused:
        tools.results(tasks(problems[0], "good", *problems[1:]))
    assert str(refused.value) == "one is wrong\ntwo is\n[Errno 2] no: 'three'"
    assert refused.value.output == ["why\n"]


def test_a_task_that_failed_by_a_mistake_of_ours_is_not_called_a_failure() -> None:
    """Its traceback is needed."""
    with pytest.raises(KeyError, match="mistake"):
        tools.results(tasks(errors.Failure("one is wrong"), KeyError("mistake")))


def test_the_fixed_time_is_the_first_that_an_archive_can_state() -> None:
    """A wheel is a zip archive."""
    assert zipfile.ZipInfo("x", time.gmtime(files.EPOCH)[:6]).date_time[0] == 1980
    with pytest.raises(ValueError, match="1980"):
        zipfile.ZipInfo("x", time.gmtime(files.EPOCH - 1)[:6])
