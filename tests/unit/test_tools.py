"""How the builder's tools are run, and what is shown when they fail."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

tools = importlib.import_module("tools")


def test_a_tool_that_works_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of what it says is shown."""
    tools.run("platform", environment=dict(os.environ))
    assert capfd.readouterr() == ("", "")


def test_a_tool_that_fails_is_shown_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    """Its own words come first."""
    with pytest.raises(tools.Failure, match=r"pip nonsense failed with status \d; see above"):
        tools.run("pip", "nonsense", environment=dict(os.environ))
    assert "nonsense" in capfd.readouterr().err


def test_verbose_shows_what_a_tool_says(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is kept for the lock, so it goes to standard error."""
    monkeypatch.setenv("VERBOSE", "1")
    assert tools.quietly([sys.executable, "-c", "print('at work')"], dict(os.environ)) == 0
    assert capfd.readouterr() == ("", "at work\n")


def test_the_beginning_of_a_long_complaint_is_shown_with_its_end() -> None:
    """A cause that stands above a long traceback is not cut off."""
    lines = [f"step {n}\n" for n in range(100)]
    lines += ["error: no Rust\n", *(f"  line {n}\n" for n in range(200)), "the end\n"]
    shown = tools.telling(lines)
    assert shown[0] == "error: no Rust\n"
    assert shown[-1] == "the end\n"
    assert len(shown) <= tools.TAIL + 1
    assert tools.telling(lines[:50]) == lines[:50]
    assert tools.telling(["a\n"] * 100) == ["a\n"] * tools.TAIL


def test_an_untrusted_certificate_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    """People behind an inspecting proxy are told where its certificate goes."""
    script = "raise SystemExit('ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] no')"
    assert tools.quietly([sys.executable, "-c", script], dict(os.environ)) == 1
    assert "into deploy/ca as a .crt file" in capfd.readouterr().err.splitlines()[-1]
