"""Requirements from elsewhere: each tool's way to state them, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.shared import requirement_sources

# What an application has, and the places by name, or by place if only the content has a name.
CASES = {
    "a workspace of uv": (
        {
            "pyproject.toml": """
                [project]
                name = "shop"
                dependencies = ["Common>=1", "idna"]
                [tool.uv.workspace]
                members = ["libs/*"]
                [tool.uv.sources]
                common = { workspace = true }
                """,
            "libs/common/pyproject.toml": '[project]\nname = "common"\n',
        },
        {"common": "the workspace"},
    ),
    "a member that no source names": (
        {
            "pyproject.toml": """
                [project]
                dependencies = ["common[x] ; python_version > '3'"]
                [tool.uv.workspace]
                members = ["libs/*"]
                """,
            "libs/common/pyproject.toml": '[project]\nname = "Common"\n',
        },
        {"common": "the workspace (libs/common)"},
    ),
    "each kind of uv's sources": (
        {
            "pyproject.toml": """
                [project]
                dependencies = ["a", "b", "c", "d", "e", "f"]
                [tool.uv.sources]
                a = { path = "../a" }
                b = { git = "https://example.org/b.git", rev = "1" }
                c = { url = "https://example.org/c.whl" }
                d = { index = "corp" }
                f = { index = "pypi" }
                e = [{ index = "cpu", marker = "sys_platform == 'linux'" }]
                not-required = { workspace = true }
                [[tool.uv.index]]
                name = "pypi"
                url = "https://pypi.org/simple"
                """
        },
        {
            "a": "the path ../a",
            "b": "the repository https://example.org/b.git",
            "c": "the address https://example.org/c.whl",
            "d": "the package index corp",
            "e": "the package index cpu",
        },
    ),
    "uv.lock": (
        {
            "uv.lock": """
                [[package]]
                name = "shop"
                source = { editable = "." }
                dependencies = [{ name = "common" }, { name = "idna" }]
                [package.optional-dependencies]
                dev = [{ name = "for-development" }]
                [[package]]
                name = "common"
                source = { editable = "libs/common" }
                dependencies = [{ name = "deep" }]
                [[package]]
                name = "deep"
                source = { registry = "https://index.example/simple" }
                [[package]]
                name = "idna"
                source = { registry = "https://pypi.org/simple" }
                [[package]]
                name = "for-development"
                source = { git = "https://example.org/x.git" }
                """
        },
        {
            "common": "the folder libs/common",
            "deep": "the package index https://index.example/simple",
        },
    ),
    "Poetry": (
        {
            "pyproject.toml": """
                [tool.poetry.dependencies]
                python = "^3.11"
                idna = { version = "*", optional = true }
                near = { path = "../near" }
                far = [{ git = "https://example.org/far.git" }]
                own = { version = "1", source = "corp" }
                """,
            "poetry.lock": """
                [[package]]
                name = "deep"
                groups = ["main"]
                source = { type = "legacy", url = "https://index.example/simple" }
                [[package]]
                name = "for-tests"
                groups = ["dev"]
                source = { type = "git", url = "https://example.org/x.git" }
                """,
        },
        {
            "near": "the path ../near",
            "far": "the repository https://example.org/far.git",
            "own": "the package index corp",
            "deep": "the package index https://index.example/simple",
        },
    ),
    "pylock.toml": (
        {
            "pylock.toml": """
                [[packages]]
                name = "idna"
                index = "https://pypi.org/simple"
                [[packages]]
                name = "deep"
                vcs = { type = "git", url = "https://example.org/x.git" }
                """
        },
        {"deep": "the repository https://example.org/x.git"},
    ),
    "PDM's lock file": (
        {
            "pdm.lock": """
                [[package]]
                name = "near"
                groups = ["default"]
                path = "./near"
                [[package]]
                name = "idna"
                groups = ["default"]
                """
        },
        {"near": "the path ./near"},
    ),
    "Pipenv's lock file": (
        {
            "Pipfile.lock": '{"default": {"near": {"path": "./near", "editable": true},'
            ' "idna": {"version": "==3.4", "index": "pypi"}}}'
        },
        {"near": "the path ./near"},
    ),
    "lines of requirements": (
        {
            "requirements.in": """
                -e .
                .[postgres]
                -r more.txt
                idna>=3  # https://example.org
                --extra-index-url https://index.example/simple
                uvicorn[standard]==0.30
                """,
            "more.txt": """
                -e ./libs/a
                ./vendor/b-1.0-py3-none-any.whl
                c @ file:./vendor/c.whl
                d[x] @ https://example.org/d-1.0.whl --hash=sha256:00
                e@git+ssh://git@example.org/e.git ; python_version > '3'
                git+https://example.org/f.git#egg=f
                libs/g
                """,
        },
        {
            "./libs/a": "./libs/a",
            "./vendor/b-1.0-py3-none-any.whl": "./vendor/b-1.0-py3-none-any.whl",
            "c": "file:./vendor/c.whl",
            "d": "https://example.org/d-1.0.whl",
            "e": "git+ssh://git@example.org/e.git",
            "git+https://example.org/f.git#egg=f": "git+https://example.org/f.git#egg=f",
            "libs/g": "libs/g",
        },
    ),
    "nothing from elsewhere": (
        {
            "pyproject.toml": '[project]\nname = "shop"\ndependencies = ["idna==3.4", "a.b-c"]\n',
            "requirements.in": "idna\n",
        },
        {},
    ),
    "tables of another form": (
        {
            "pyproject.toml": "[tool]\nuv = 1\npoetry = { dependencies = 3 }\n",
            "uv.lock": 'package = [3, { name = 1, source = "x", dependencies = [1] }]\n',
        },
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_comes_from_elsewhere_is_found(tmp_path: Path, case: str) -> None:
    """Names and places, whichever tool's file states them."""
    files, expected = CASES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("\n".join(map(str.strip, text.splitlines())) + "\n")
    found = requirement_sources.find(tmp_path)
    assert {each.name or each.place: each.place for each in found} == expected
    for each in found:
        assert each.file in {Path(name).name for name in files}
        assert each.place in requirement_sources.refusal([each])


def test_the_users_own_package_index_is_no_other_place(tmp_path: Path) -> None:
    """With or without a password in its address; many packages of another one are one line."""
    source = '{ registry = "https://index.example/simple" }'
    tables = (f'[[package]]\nname = "p{n}"\nsource = {source}\n' for n in range(90))
    (tmp_path / "pylock.toml").write_text("".join(tables))
    found = requirement_sources.find(tmp_path)
    assert len(found) == 90
    chosen = "https://me:secret@index.example/simple/"
    assert requirement_sources.of_another_index(found, chosen) == []
    left = requirement_sources.of_another_index(found, "https://index.example/other")
    said = requirement_sources.refusal(left)
    assert said.count("\n") == 0
    assert "p0, p1, p2, p3, p4 ... from the package index https://index.example/simple" in said
    assert "PIP_INDEX_URL=https://index.example/simple" in said
