"""The libraries that Python sources load by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.image.check import dlopen_calls

# As in real packages: with ctypes and cffi, directly, in a loop, by a helper, by a variable.
SOURCES = [
    ("from ctypes.util import find_library as f\nL = ctypes.util.find_library('magic')", ["magic"]),
    ("lib = ctypes.CDLL('libdmtx.so.0')", ["libdmtx.so.0"]),
    ("lib = ctypes.cdll.LoadLibrary('/usr/lib/libvlc.so.5')", ["libvlc.so.5"]),
    ("for n in ('portaudio', 'libportaudio.dylib'):\n    _find_library(n)", None),
    ("N = ['libhid.so', 'libhid.so.0']\nfor lib in N:\n    cdll.LoadLibrary(lib)", None),
    ("p = find_library('avcodec') or find_library('avcodec-ffmpeg')", ["avcodec"]),
    ("c = dlopen(ffi, ('cairo-2', 'cairo'), ('libcairo.so.2',))", None),
    ("_libudev = load_ctypes_library('udev', SIGNATURES, CHECKS)", ["udev"]),
    ("sodium = ctypes.cdll.LoadLibrary(find_library('sodium') or 'libsodium.so')", None),
]


@pytest.mark.parametrize(("source", "names"), SOURCES)
def test_a_call_that_loads_a_library_gives_its_names(source: str, names: list[str] | None) -> None:
    """Each call gives one group of names, any of which satisfies it."""
    groups = dlopen_calls.in_source(source.encode())
    words = source.split("'")[1::2]
    assert groups
    if names:
        assert groups[0] == names
    else:
        assert set(groups[0]) <= set(words)
        assert {each for group in groups for each in group} == set(words)


@pytest.mark.parametrize(
    "source",
    [
        "ctypes.CDLL(None)",
        "ctypes.CDLL(f'lib{name}.so')",
        "ctypes.CDLL('lib' + name + '.so')",
        "ctypes.CDLL(os.environ['LIBRARY'])",
        "find_library(name)",
        "load_library('a sentence')",
        "find_library('magic'",
        "print('libfoo.so')",
    ],
)
def test_names_that_are_not_in_the_source_are_ignored(source: str) -> None:
    """Names that are put together at run time, and strings outside of calls."""
    assert dlopen_calls.in_source(source.encode()) == []


def test_a_library_of_one_file_among_hundreds_is_ignored(tmp_path: Path) -> None:
    """It belongs to a feature that most users of the package do not need."""
    for number in range(150):
        (tmp_path / f"m{number}.py").write_text("pass\n", encoding="utf-8")
    (tmp_path / "geo.py").write_text("CDLL('libgdal.so')\n", encoding="utf-8")
    files = sorted(path.name for path in tmp_path.iterdir())
    few = ["geo.py", "m1.py", "gone.py", "other.txt"]
    found = dlopen_calls.report({"large": files, "small": few, "none": ["m1.py"]}, str(tmp_path))
    assert found == {"small": [["libgdal.so"]]}
