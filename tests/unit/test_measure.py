"""The arithmetic, the parsing, the tables and the plot of the measurements, without an engine."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from measure.c_libraries import __main__ as c_libraries
from measure.c_libraries.packages import Case
from measure.peers import __main__ as command_line
from measure.peers import applications, figures, plot, registry, report, startup
from measure.peers.commands import Timed, plain, timed
from measure.peers.contenders import joined, steps_of
from measure.table import Table
from testbed.console import HarnessError
from testbed.projects import TEMPLATE

FIGURES: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "command": "python -m measure.peers",
    "rounds": 3,
    "machine": {
        "cores": 2,
        "processor": "A <fast> one",
        "memory_bytes": 8 * 2**30,
        "kernel": "6.1",
        "engine": "26.1.5",
        "storage": "overlay2",
    },
    "cases": [
        {
            "name": "sample",
            "title": "The <sample> & more",
            "pins": {"klein": "24.8"},
            "written": {"slipway": [], "uv": ["A /root"]},
            "values": {
                "slipway": {
                    "cold_s": [30.0, 20.0, 25.0],
                    "cold_base_s": [5.0],
                    "nothing_s": [0.2],
                    "image_bytes": [90_000_000],
                },
                "uv": {"cold_s": [50.0], "image_bytes": [180_000_000], "redeploy_bytes": [0]},
            },
        }
    ],
}


def test_summary_is_the_median_and_both_ends() -> None:
    """For an even number of values, the median is the mean of the middle two."""
    assert figures.summary([3.0, 1.0, 2.0]) == figures.Summary(2.0, 1.0, 3.0)
    assert figures.summary([1.0, 2.0]).median == 1.5
    with pytest.raises(ValueError, match="nothing"):
        figures.summary([])


def test_ratios_are_of_medians_to_the_reference() -> None:
    """Contenders without values have no ratio; without the reference there are none."""
    values = {"ours": [1.0, 9.0, 2.0], "uv": [4.0], "other": []}
    assert figures.ratios(values, "uv") == {"ours": 0.5, "uv": 1.0}
    assert figures.ratios({"ours": [1.0]}, "uv") == {}
    assert figures.ratios({"ours": [1.0], "uv": [0.0]}, "uv") == {"ours": None, "uv": None}


def test_each_round_begins_with_another_contender() -> None:
    """All contenders take part in each round."""
    assert [figures.rotated("abc", each) for each in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_existing_blobs_are_not_sent_again() -> None:
    """The second image sends only the blobs that the first one does not have."""
    first = {"base": 50, "application": 3, "manifest 1": 1}
    second = {"base": 50, "application'": 4, "manifest 2": 1}
    assert figures.bytes_of(first) == 54
    assert figures.bytes_of(second, without=first) == 5


def test_the_size_of_an_image_includes_its_manifest_and_all_blobs() -> None:
    """The manifest itself is sent too; a layer that is listed twice is sent once."""
    layer = {"digest": "sha256:1", "size": 10}
    config = {"digest": "sha256:2", "size": 5}
    manifest = json.dumps({"config": config, "layers": [layer, layer]}).encode()
    name = f"sha256:{sha256(manifest).hexdigest()}"
    found = {name: len(manifest), "sha256:1": 10, "sha256:2": 5}
    assert registry.blobs_of(manifest) == found
    with pytest.raises(ValueError, match="not the manifest of one image"):
        registry.blobs_of(b'{"manifests": []}')


def test_steps_last_until_the_next_one_begins() -> None:
    """Other lines belong to the current step; without lines there are no steps."""
    lines = [
        (1.0, "slipway: base: python3"),
        (2.0, "something else"),
        (4.0, "slipway: builder: the base with more"),
        (9.0, "slipway: wheels: nothing to do"),
    ]
    assert steps_of(Timed(9.5, lines)) == {"base": 3.0, "builder": 5.0, "wheels": 0.5}
    assert steps_of(Timed(9.5, [])) == {}


def test_consecutive_commands_count_as_one() -> None:
    """The seconds are added."""
    both = joined(Timed(2.0, [(1.0, "a")]), Timed(3.0, [(0.5, "b")]))
    assert both == Timed(5.0, [(1.0, "a"), (2.5, "b")])


def test_a_failing_command_shows_its_last_lines() -> None:
    """The output of both streams is recorded."""
    assert timed("sh", "-c", "echo out; echo err >&2").output == "out\nerr"
    with pytest.raises(HarnessError, match=r"exit 3 from: sh -c .*\nthe reason$"):
        timed("sh", "-c", "echo the reason; exit 3")


def test_environment_is_the_same_for_all() -> None:
    """Variables that only pip, uv or make reads are removed."""
    assert plain({"PIP_INDEX_URL": "x", "UV_OFFLINE": "1", "MAKEFLAGS": "k", "HOME": "/"}) == {
        "HOME": "/"
    }


def test_pins_are_read_from_a_lock() -> None:
    """Without extras, markers and hashes."""
    lock = "# by pip-compile\nklein==24.8 \\\n    --hash=sha256:1\na[b]==1; python_version > '3'\n"
    assert applications.pins_of(lock) == {"klein": "24.8", "a": "1"}


def test_pins_are_read_from_a_lock_of_uv() -> None:
    """The application itself may lack a version."""
    lock = '[[package]]\nname = "klein"\nversion = "24.8"\n[[package]]\nname = "bench-app"\n'
    assert applications.uv_pins_of(lock) == {"klein": "24.8"}


@pytest.mark.parametrize(
    "application", [applications.SHOP, applications.SAMPLE, applications.SAMPLE_ON_PYPY]
)
def test_every_application_has_a_line_to_change(
    application: applications.Application, tmp_path: Path
) -> None:
    """Each change gives another text in the same line."""
    assert application.greeter
    sample = TEMPLATE / "slipway-apps/hello/src/hello/__init__.py"
    source = application.files / application.greeter if application.files else sample
    before = source.read_text(encoding="utf-8")
    file = tmp_path / application.greeter
    file.parent.mkdir(parents=True)
    file.write_text(before, encoding="utf-8")
    for number in (1, 2):
        application.greet(tmp_path, applications.greeting(number))
        after = file.read_text(encoding="utf-8")
        assert after == before.replace(applications.GREETING, f"Hello, change {number}!") != before


def test_plot_is_well_formed_and_has_every_value() -> None:
    """Titles are escaped; a value of zero is shown; the same figures give the same bytes."""
    picture = plot.svg(FIGURES)
    assert plot.svg(FIGURES) == picture
    words = {each.text.strip() for each in ET.fromstring(picture).iter() if each.text}
    assert {"The <sample> & more", "25.0 s", "50.0 s", "90.0 MB", "180 MB", "0 B"} <= words


def test_table_compares_with_the_reference() -> None:
    """The spread is shown only if the values differ."""
    text = report.tables(FIGURES)
    assert "| slipway | **25.0 s** (20.0 s..30.0 s), 0.50 of uv | **90.0 MB**, 0.50 of uv |" in text
    assert [report.multiple(each) for each in (1.234, 0.0004, 0.0)] == ["1.23", "0.0004", "0.00"]
    assert "slipway nothing, uv 1." in text
    assert "| The <sample> & more | **5.00 s** | **0.20 s** |" in text


def test_new_figures_replace_the_old_ones() -> None:
    """The text around them stays."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.inserted(page, "new")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.inserted(once, "new") == once
    assert report.inserted("", "new") == f"{report.BEGIN}\n\nnew\n\n{report.END}\n"


def test_files_that_docker_adds_are_not_counted() -> None:
    """`--init` adds a program, which changes the folders above it."""
    added = "C /usr\nC /usr/sbin\nA /usr/sbin/docker-init\n"
    assert startup.changes(f"{added}C /app\nA /app/x.pyc\n") == ["C /app", "A /app/x.pyc"]
    assert startup.changes(added) == []


def test_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit):
        command_line.main(["--case", "unheard-of"])
    assert "sample" in capsys.readouterr().err


def test_added_libraries_are_those_that_the_settings_gained() -> None:
    """The comparison is with the library names that the user had to add."""
    settings = "PROJECT := a\nNATIVE := libpq  xml2 apt:git\nNATIVELY := x\n"
    assert c_libraries.added("xml2", settings) == ["libpq", "apt:git"]
    assert c_libraries.added("", "NATIVE :=\nPORT := 1\n") == []


def test_rows_are_measured_once_unless_they_are_named(tmp_path: Path) -> None:
    """An interrupted run continues with the missing rows, and writes after each."""
    output = tmp_path / "figures" / "table.json"
    measured: list[str] = []

    def row(case: Case) -> dict[str, Any]:
        measured.append(case.name)
        return {"number": len(measured)}

    for names in ([], [], ["b"]):
        filled = Table("table", output, lambda found: f"{len(found['CPython'])} rows")
        filled.fill([Case("a", ""), Case("b", "")], names, row, "CPython")
    assert measured == ["a", "b", "b"]
    found = {"CPython": {"a": {"number": 1}, "b": {"number": 3}}}
    assert json.loads(output.read_text(encoding="utf-8")) == found
    assert output.with_suffix(".md").read_text(encoding="utf-8") == "2 rows"
