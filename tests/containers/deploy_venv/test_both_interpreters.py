"""The sample application by `make deploy-venv`, on PyPy and on CPython."""

from __future__ import annotations

import testbed
from tests.containers.laptop import Shipped, answer_of


def test_sample_answers_on_both_interpreters(shipped: Shipped, bare: testbed.Systemd) -> None:
    """The server installs the wheels that the image was made of."""
    said = shipped.make("deploy-venv", f"SSH={bare.by('root')}")
    assert "runs and is healthy" in said
    assert answer_of(bare.address(shipped.port)) == "Hello, world!"
