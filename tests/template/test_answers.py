"""Thousands of answers: each is refused, or makes a project in which it reads as it was typed."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import UndefinedVariableInTemplate
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from tests.conftest import ROOT, Baker
from tests.unit.test_hooks import GOOD, hook

# Compiled once, because thousands of answers are rendered into them.
ENVIRONMENT = create_env_with_context({})
SOURCES = ROOT / "{{cookiecutter.project}}"
TEMPLATES = {
    app: [
        (path.name, ENVIRONMENT.from_string(path.read_text(encoding="utf-8")))
        for path in (
            SOURCES / "deploy/settings.mk",
            SOURCES / "slipway-apps" / app / "pyproject.toml",
        )
        if path.is_file()
    ]
    for app in ("hello", "attachments", "existing")
}
SETTINGS = {
    "PROJECT": "project",
    "NATIVE": "native_deps",
    "COMMAND": "command",
    "PORT": "port",
    "BASE_IMAGE": "base_image",
    "DEPLOY_HOST": "deploy_host",
}
SAMPLES = {
    "project": ["deployme", "my-app", "a.b_c", "x1", "a", "3d", "json", "My App"],
    "native_deps": ["", "openssl libffi", "libpq-dev apt:libfoo1", "opensl", "apt:g++"],
    "command": ["run-the-app", "app.run", "gunicorn -w 2 a:b", "a --x=%h,@+/", "-x"],
    "port": ["8081", "1", "65535", "65536", "080", "+1"],
    "base_image": ["debian:trixie-slim", "h:5000/a/b:1", "debian", "a@sha256:" + "0" * 64],
    "deploy_host": ["", "server", "me@server a.b", "me@[::1]", "-oX=y", "ssh://h"],
}
HOSTILE = st.text(
    alphabet=st.one_of(
        st.sampled_from("'\"\\$#`;&|<>(){}[]%:=@,+-_./!*?~^ \t\n\r\v\f\x00\u2028\xa0aA0"),
        st.characters(),
    ),
    max_size=12,
)
# What is well formed is mostly accepted: long, short and unusual answers that nobody would list.
LIBRARY = st.sampled_from([library.name for library in hook.catalogue(GOOD).libraries])
HOST = st.from_regex(
    rf"({hook.PLAIN}@)?({hook.PLAIN}|\[[0-9a-f]{{1,4}}::[0-9a-f]{{1,4}}\])", fullmatch=True
)
FORMED = {
    "project": st.from_regex(hook.NAME, fullmatch=True),
    "native_deps": st.lists(
        st.one_of(LIBRARY, st.from_regex(r"apt:[a-z0-9][a-z0-9+.-]+", fullmatch=True)), max_size=4
    ).map(" ".join),
    "command": st.from_regex(rf"{hook.PLAIN}(|( {hook.ARGUMENT}+){{1,2}})", fullmatch=True),
    "port": st.integers(1, 70000).map(str),
    "base_image": st.from_regex(hook.IMAGE, fullmatch=True),
    "deploy_host": st.lists(HOST, max_size=3).map(" ".join),
}


def spoilt(sample: str) -> st.SearchStrategy[str]:
    """Put something hostile into the middle of a good answer, or at an end of it."""
    where = st.integers(0, len(sample))
    return st.builds(lambda at, what: sample[:at] + what + sample[at:], where, HOSTILE)


def answers_to(question: str) -> st.SearchStrategy[str]:
    """Good answers, near misses and nonsense."""
    samples = st.sampled_from(SAMPLES[question])
    return st.one_of(samples, FORMED[question], samples.flatmap(spoilt), HOSTILE)


ONE_ODD = st.sampled_from(list(SAMPLES)).flatmap(
    lambda question: st.fixed_dictionaries({question: answers_to(question)})
)
ALL_ODD = st.fixed_dictionaries({question: answers_to(question) for question in SAMPLES})
ALL_FORMED = st.fixed_dictionaries(FORMED)
APPS = st.sampled_from(["hello", "attachments", "existing"])


def render(answers: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Do in this process what cookiecutter does: the answers, and the files they are in."""
    context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=answers)
    context["cookiecutter"] = prompt_for_config(context, no_input=True)
    rendered = TEMPLATES[context["cookiecutter"]["app"]]
    files = {name: text.render(context) for name, text in rendered}
    return context["cookiecutter"], files


def read_by_make(text: str, directory: Path) -> dict[str, str]:
    """Return the settings as make understands them."""
    show = "".join(f"$(info {name}=$({name}))" for name in [*SETTINGS, "HEALTH"])
    (directory / "Makefile").write_text(f"{text}\n{show}\nall: ;\n", encoding="utf-8")
    output = subprocess.check_output(["make", "-rRs"], cwd=directory, text=True)
    return dict(line.split("=", 1) for line in output.splitlines())


def check(files: dict[str, str], answers: dict[str, Any], directory: Path) -> None:
    """See that each file reads, and has the answers that were typed."""
    settings_read = read_by_make(files["settings.mk"], directory)
    library = "postgresql"
    if answers["app"] == "attachments" and library not in answers["native_deps"].split():
        answers = {**answers, "native_deps": f"{answers['native_deps']} {library}".strip()}
    for name, question in SETTINGS.items():
        assert settings_read[name] == answers[question]
    if answers["app"] == "existing":
        assert "pyproject.toml" not in files
        return
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["name"] == answers["project"]
    package = answers["__package"] if answers["app"] == "hello" else "attachments"
    assert project["scripts"] == {answers["command"]: f"{package}:main"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for make to read in."""
    return tmp_path_factory.mktemp("make")


def works_or_is_refused(answers: dict[str, str], directory: Path) -> None:
    """Check answers by the hook, as cookiecutter passes them to it."""
    try:
        read, files = render(answers)
    except (TemplateError, UndefinedVariableInTemplate):
        return  # cookiecutter takes an answer for a template, and refuses it by itself
    refused = hook.problems({**read, "_output_dir": "", "_repo_dir": str(ROOT)})
    event("refused" if refused else "works")
    if not refused:
        check(files, read, directory)


@settings(max_examples=1500, deadline=None)
@given(odd=ONE_ODD, app=APPS)
def test_one_odd_answer_works_or_is_refused(odd: dict[str, str], app: str, directory: Path) -> None:
    """Among good answers an odd one is refused, or is read back as it was typed."""
    works_or_is_refused({**odd, "app": app}, directory)


@settings(max_examples=800, deadline=None)
@given(odd=st.one_of(ALL_ODD, ALL_FORMED), app=APPS)
def test_odd_answers_together_work_or_are_refused(
    odd: dict[str, str], app: str, directory: Path
) -> None:
    """No answer hides another one's fault."""
    works_or_is_refused({**odd, "app": app}, directory)


# A template and a path are cookiecutter's own business, before any hook; neither is in an argument.
TYPED = ONE_ODD.filter(
    lambda odd: (
        not set("{}/\x00").intersection("".join(odd.values()))
        and all(answer.encode("utf-8", "ignore").decode() == answer for answer in odd.values())
        and odd.get("project") not in ("", ".", "..")
    )
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(odd=TYPED, app=APPS)
def test_odd_answer_on_the_command_line(
    odd: dict[str, str], app: str, bake: Baker, directory: Path
) -> None:
    """Stock cookiecutter generates nothing, or a project whose files have what was typed."""
    answers = {**odd, "app": app}
    if hook.problems({**GOOD, **answers}):
        bake.refused(**answers)
        return
    project = bake(**answers)
    package = f"{answers.get('project', 'deployme')}".replace("-", "_").replace(".", "_")
    files = {
        Path(name).name: project.read(name)
        for name in ("deploy/settings.mk", "pyproject.toml")
        if project.has(name)
    }
    own = package if app == "hello" else "attachments"
    assert project.has(f"src/{own}/__init__.py") == (app != "existing")
    asked = {"native_deps": "", "command": ""} if app == "existing" else {}
    check(files, {**GOOD, **asked, **answers, "__package": package}, directory)


@pytest.mark.parametrize(
    "answers",
    [
        {"project": "../beside"},
        {"project": "a/b"},
        {"project": "."},
        {"project": ""},
        {"project": 'a"""+str(1/0)+"""'},
        {"project": "a'''\\"},
        {"command": "{{ cookiecutter.project"},
        {"command": "{{ 1 }}{{ '{{' }}"},
        {"command": "a\nb"},
        {"port": "\u0668\u0660\u0668\u0661"},
        {"deploy_host": "\u202e"},
    ],
)
def test_answer_that_attacks_the_generation_itself(bake: Baker, answers: dict[str, str]) -> None:
    """Templates, paths, quotes and line ends in an answer come to nothing."""
    bake.refused(**answers)


def test_every_problem_is_in_one_message(bake: Baker) -> None:
    """The message has a line for each wrong answer, and cookiecutter ends with a failure."""
    output = bake.refused(
        project="My App", native_deps="opensl foo", command="a;b", port="0", deploy_host="-oX=y"
    )
    _, message = output.split("Nothing is generated, because of these answers:\n")
    lines = [line.split(":")[0].strip() for line in message.splitlines()[:6]]
    assert lines == ["project", "native_deps", "native_deps", "command", "port", "deploy_host"]
