"""What a repository's files say, where make adopt does not show it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.laptop.adopt import repository, setup_cfg


@pytest.mark.parametrize(
    ("specifier", "good", "bad"),
    [
        (">=3.9", (3, 9), (3, 8)),
        (">=3.9,<3.12", (3, 11), (3, 12)),
        ("^3.10", (3, 13), (3, 9)),
        ("~=3.11", (3, 13), (3, 10)),
        ("~3.11", (3, 11), (3, 12)),
        ("==3.11.*", (3, 11), (3, 12)),
        (">3.9,!=3.12.1", (3, 12), (3, 9)),
        ("<3.12.5", (3, 12), (3, 13)),
        (">=3.9, <4", (3, 13), (3, 8)),
    ],
)
def test_versions_of_python_are_compared(
    specifier: str, good: tuple[int, int], bad: tuple[int, int]
) -> None:
    """By their minor versions: any release of one counts."""
    assert repository.allows(specifier, good)
    assert not repository.allows(specifier, bad)


def test_setup_cfg_is_read_with_the_lines_of_its_values(tmp_path: Path) -> None:
    """A name that another section has as well is looked for in its own section."""
    text = (
        "[metadata]\nname = shop\n\n[options]\nName=x\npython_requires: >=3.9\nlist =\n  a\n  b\n"
    )
    path = tmp_path / "setup.cfg"
    path.write_text(text)
    found = setup_cfg.read(path)
    assert found["metadata", "name"] == ("shop", 2)
    assert found["options", "name"] == ("x", 5)
    assert found["options", "python_requires"] == (">=3.9", 6)
    assert found["options", "list"] == ("\na\nb", 7)


def test_a_bad_line_of_setup_cfg_is_named(tmp_path: Path) -> None:
    """By its number."""
    path = tmp_path / "setup.cfg"
    path.write_text("[metadata]\nname\n")
    with pytest.raises(ValueError, match=r"setup\.cfg is not valid INI: see line 2"):
        setup_cfg.read(path)
