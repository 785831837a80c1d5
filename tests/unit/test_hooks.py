"""The hooks: which answers are refused and why, and how the application is moved into place."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config

from tests.conftest import ROOT

GOOD = {
    "project": "deployme",
    "app": "hello",
    "python": "PyPy",
    "native_deps": "openssl libffi",
    "command": "run-the-app",
    "port": "8081",
    "base_image": "debian:trixie-slim",
    "deploy_host": "",
    "_output_dir": "",
    "_repo_dir": str(ROOT),
}


def load(name: str) -> ModuleType:
    """Import a hook as it stands, with its Jinja unrendered."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "hooks" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load("pre_gen_project")
post = load("post_gen_project")


def problems(**answers: Any) -> list[str]:
    """Return the problems of good answers with these changes."""
    found: list[str] = hook.problems({**GOOD, **answers})
    return found


ACCEPTED = [
    ("project", "ab"),
    ("project", "my-app.two_3"),
    ("project", "a" * 60),
    ("native_deps", ""),
    ("native_deps", " "),
    ("native_deps", "openssl"),
    ("native_deps", "OpenSSL apt:libfoo++1.2-dev"),
    ("native_deps", "libpq-dev mysqlclient"),
    ("native_deps", "pg_config libxml-2.0 -lz Pillow libjpeg8-dev build:cmake"),
    ("command", "run_the.app2"),
    ("port", "1"),
    ("port", "65535"),
    ("base_image", "debian:bookworm"),
    ("base_image", "ubuntu:24.04"),
    ("base_image", "registry.example.com:5000/team/debian__x:1"),
    ("base_image", "localhost:5000/debian:trixie"),
    ("base_image", "debian@sha256:" + "0" * 64),
    ("base_image", "debian:latest@sha256:" + "0" * 64),
    ("deploy_host", "server"),
    ("deploy_host", "user@server.example.com"),
    ("deploy_host", "me.too-2@192.0.2.1"),
    ("deploy_host", "user@[2001:db8::1]"),
    ("deploy_host", "user@one two"),
]

REFUSED = [
    *[
        ("project", name)
        for name in ("", ".", "..", "a/b", "/tmp/x", "-a", "a-", "a--b", "a..b", "a")
    ],
    *[("project", name) for name in ("My-App", "my app", "a" * 61, "étude", "a\u0661", "nul")],
    *[("project", name) for name in ("com1.x", "3d", "class", "json", "klein", "zope.interface")],
    *[("project", name) for name in ("service-identity", "cffi", "tests", "a\nb", "{{ 1 }}")],
    *[("native_deps", names) for names in ("opensl", "openssl,libffi", "apt:", "apt:Foo")],
    *[("native_deps", names) for names in ("apt:-o", "openssl\tlibffi", "$(id)", "--help")],
    *[("command", words) for words in ("", "-c", "/bin/sh", "./run", "a;b", "a && b", "a|b")],
    *[
        ("command", words)
        for words in ("$HOME", "`id`", "a>b", "'a'", '"a"', "a\\b", "a#b", "a 'b")
    ],
    *[("command", words) for words in ("a\u00e9", "run\n", "two words", "python", "python3")],
    *[("command", words) for words in ("pypy3.11", "pip", "twistd", "activate.fish")],
    *[("port", port) for port in ("", "0", "65536", "08081", "+1", "-1", "1e3", "8081.0", "http")],
    *[("port", port) for port in ("\u0668\u0660", " 8081", "8081\n", "0x50", "1_000")],
    *[("base_image", name) for name in ("", "debian", "debian:latest", "Debian:12", "debian:")],
    *[("base_image", name) for name in ("a b:1", "-x:1", "debian:tr!xie", "https://x/debian:1")],
    *[("base_image", name) for name in ("debian@sha256:12", "x/" * 200 + "x:1", "a//b:1")],
    *[("deploy_host", host) for host in ("-oProxyCommand=id", "user@-oProxyCommand=id", "a -v")],
    *[("deploy_host", host) for host in ("ssh://user@host", "user@", "@host", "a@b@c", "host:22")],
    *[("deploy_host", host) for host in ("2001:db8::1", "[host]", "[fe80::1%eth0]", "a;b", "$x")],
    *[("deploy_host", host) for host in ("a  b", " a", "a\n", "h\u00f6st", "user@ho st!")],
]


@pytest.mark.parametrize(("question", "answer"), ACCEPTED)
def test_good_answer_is_accepted(question: str, answer: str) -> None:
    """Nothing is said of an answer that works."""
    assert problems(**{question: answer}) == []


@pytest.mark.parametrize(("question", "answer"), REFUSED)
def test_bad_answer_is_refused_in_one_line(question: str, answer: str) -> None:
    """Each problem is one line that names the question and says what to type."""
    found = problems(**{question: answer})
    assert found
    for sentence in found:
        assert sentence.startswith(f"{question}: ")
        assert "type " in sentence or "name a release" in sentence
        assert sentence.isprintable()


def test_all_problems_are_found_at_once() -> None:
    """Every wrong answer is named, and every wrong word of it."""
    found = problems(
        project="My App",
        native_deps="opensl libfi",
        command="a;b",
        port="0",
        base_image="debian",
        deploy_host="-v -w",
    )
    assert [sentence.split(":")[0] for sentence in found] == [
        *("project", "native_deps", "native_deps", "command", "port", "base_image"),
        *("deploy_host", "deploy_host"),
    ]


@pytest.mark.parametrize(
    ("question", "answer", "instead"),
    [
        ("project", "My App!", "such as my-app"),
        ("native_deps", "opensl", "type openssl"),
        ("native_deps", "postgrsql", "type libpq"),
        ("native_deps", "qqqq", "type apt:NAME"),
        ("command", "run app", "type one word, such as run"),
        ("base_image", "debian", "such as debian:trixie-slim"),
        ("deploy_host", "ssh://me@host:22", "type user@server"),
        ("deploy_host", "-oProxyCommand=id", "is an option of ssh"),
    ],
)
def test_problem_says_what_to_type_instead(question: str, answer: str, instead: str) -> None:
    """What to type is as near as possible to what was typed."""
    assert instead in problems(**{question: answer})[0]


@pytest.mark.parametrize("project", ["3d", "json", "klein", "class"])
def test_names_without_a_package_are_free(project: str) -> None:
    """Without the sample there is no Python package that the name could break."""
    assert problems(app="existing", project=project) == []


@pytest.mark.parametrize("project", ["3d", "json", "class", "attachments", "blobfiles"])
def test_attachments_keeps_its_package_under_any_name(project: str) -> None:
    """Only hello has a package of the project's name."""
    assert problems(app="attachments", project=project) == []


@pytest.mark.parametrize("project", ["klein", "uvicorn", "zope.interface"])
@pytest.mark.parametrize("app", ["hello", "attachments"])
def test_no_sample_has_the_name_of_its_own_dependency(app: str, project: str) -> None:
    """pip cannot install a distribution that requires another one of the same name."""
    [sentence] = problems(app=app, project=project)
    assert f"requires a package called '{project}': type another, such as my-" in sentence


@pytest.mark.parametrize(
    "command",
    [
        *("gunicorn -w 2 --bind=0.0.0.0:8081 shop.wsgi:app", "python -m x"),
        *("gunicorn 'shop:app()'", 'gunicorn "shop:app()"', "sh -c 'a && exec b $PORT'"),
    ],
)
def test_existing_application_may_have_arguments(command: str) -> None:
    """A command of an application that is there already may be several words."""
    assert problems(app="existing", command=command) == []


def test_only_an_existing_application_may_leave_its_command_open() -> None:
    """`make adopt` finds the command of an application that exists already."""
    assert problems(app="existing", command="") == []
    assert problems(app="attachments", command="")


def test_answers_that_are_no_strings_are_read_as_typed() -> None:
    """A port from somebody's configuration file may be a number."""
    assert problems(port=8081) == []


def test_catalogue_is_that_of_the_template() -> None:
    """A library is known by all that the generated project knows it by."""
    known = hook.catalogue(GOOD)
    assert known.find("libpq-dev") is known.find("postgresql") is known.find("psycopg2")


def test_catalogue_out_of_sight_refuses_nothing() -> None:
    """Where the template cannot be found, the post-generation hook has the word."""
    assert problems(native_deps="opensl psycopg2", _repo_dir="/nowhere") == []
    assert hook.catalogue({}) is None


def test_catalogue_is_found_from_a_relative_template(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`cookiecutter ../slipway` is seen from the project's directory, where hooks run."""
    monkeypatch.chdir(tmp_path)
    answers = {"_output_dir": str(ROOT / "tests"), "_repo_dir": ".."}
    assert hook.catalogue(answers).find("openssl")


@pytest.mark.parametrize(
    ("package", "instead"),
    [("psycopg2", "the library that psycopg or psycopg2cffi needs"), ("numba", "type CPython")],
)
def test_package_that_pypy_cannot_run_is_refused_for_pypy_alone(package: str, instead: str) -> None:
    """Who names a package means it; what to type is said."""
    answers = {**GOOD, "native_deps": package}
    [said] = hook.python("PyPy", answers)
    assert said.startswith(f"{package} does not work on PyPy: type CPython")
    assert instead in said
    assert list(hook.python("default", answers)) == [said]  # of a sample, which PyPy runs
    assert list(hook.python("CPython", answers)) == []
    assert list(hook.python("default", {**answers, "app": "existing"})) == []


def test_questions_are_those_of_the_template() -> None:
    """Every free-text question is checked, and none that does not exist."""
    context = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    typed = {
        name for name, default in context.items() if isinstance(default, str) and name[0] != "_"
    }
    assert {check.__name__ for check in hook.CHECKS} == {*typed, "python"}


@pytest.mark.parametrize("app", ["hello", "attachments", "existing"])
def test_default_answers_are_accepted(app: str) -> None:
    """A return key for each question generates a project."""
    context = generate_context(str(ROOT / "cookiecutter.json"), extra_context={"app": app})
    answers = prompt_for_config(context, no_input=True)
    assert hook.problems({**answers, "_output_dir": "", "_repo_dir": str(ROOT)}) == []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the hooks run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Write files by their paths, in which __ stands for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_a_new_directory_needs_no_notes(place: Path) -> None:
    """cookiecutter refuses a folder of the template that exists in a new project."""
    hook.main(GOOD)
    assert list(place.iterdir()) == []


def test_a_folder_of_the_applications_name_is_refused_and_kept(place: Path) -> None:
    """The folder is the user's, or of an interrupted run; the message names it."""
    write(place, **{"slipway-apps__mine": "x"})
    with pytest.raises(SystemExit, match=r"slipway-apps exists: remove or rename it"):
        hook.main(GOOD)
    assert [path.name for path in place.rglob("*")] == ["slipway-apps", "mine"]


def test_hello_gets_the_projects_package_and_attachments_keeps_its_own(place: Path) -> None:
    """The package of hello is the start of the owner's application."""
    write(place, **{"slipway-apps__hello__src__hello__app": "", "slipway-apps__attachments__a": ""})
    assert list(post.files_of("hello", "shop").values()) == [Path("src/shop/app")]
    assert list(post.files_of("attachments", "shop").values()) == [Path("a")]


@pytest.mark.parametrize("obstacle", ["src", "src/shop/b"])
def test_all_files_are_moved_or_none(place: Path, obstacle: str) -> None:
    """A file where a folder must be, or a folder where a file must be, leaves all as it was."""
    write(place, a="mine", **{"apps__a": "new", "apps__b": "new"})
    if obstacle == "src":
        write(place, src="mine")
    else:
        (place / obstacle).mkdir(parents=True)
    before = {path for path in place.rglob("*") if path.is_file()}
    files = {Path("apps/a"): Path("a"), Path("apps/b"): Path("src/shop/b")}
    with pytest.raises(OSError, match="src"):
        post.move(files)
    assert {path for path in place.rglob("*") if path.is_file()} == before
    assert (place / "a").read_text(encoding="utf-8") == "mine"


def test_every_change_is_listed(place: Path) -> None:
    """Files are kept, replaced or removed; other files of the user are no one's business."""
    write(place, Makefile="include deploy/deploy.mk\n", **{"deploy__a": "1", "mine": "1"})
    write(place, **{"deploy__gone": "1"})
    before = hook.there(place)
    write(place, **{"deploy__a": "2"})
    (place / "deploy/gone").unlink()
    lines = ["removed: deploy/gone", "replaced: deploy/a", "kept: Makefile"]
    assert post.changes(before, {"Makefile", "README.md"}) == lines
    assert post.changes({"mine": before["mine"]}, set()) == ["no existing files were changed"]
