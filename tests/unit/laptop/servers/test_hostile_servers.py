"""Servers that answer anything: one line each, and nothing that a terminal would obey.

ANSWERS is how many random answers are tried; SEED says which ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.laptop import console
from slipway.laptop.commands import deploy, deploy_venv
from slipway.laptop.deploy import status_report, survey
from slipway.laptop.servers import each_server, remote_job, ssh
from slipway.laptop.servers import survey as basic
from slipway.laptop.settings import load as settings
from tests.unit.conftest import SETTINGS, Program
from tests.unit.laptop.deploy.test_plan import RUNS, WANTED, said
from tests.unit.laptop.deploy_venv.test_plan import READY, release
from tests.unit.laptop.deploy_venv.test_plan import wanted as wanted

ANSWERS = int(os.environ.get("ANSWERS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
SAMPLES = {
    "docker": (
        *("docker docker", "engine 26.1.5+dfsg1 amd64 1.45", "gzip"),
        *("security [name=seccomp] /var/lib/docker", "free /dev/vda 100 50 400000 60% /"),
        *(said(labels=RUNS), said(name="/shop-previous", running=False, status="exited")),
        *('layers ["sha256:a","sha256:b"]', "listens 0100007F:1F91"),
        *("lock alive 17 3 b 0 me@here 2026-01-02T03:04:05Z abc-1", "log deployed"),
    ),
    "venv": (
        *(*READY, "current abc-1", "previous abc-2", "health GET / answers 200"),
        "state ActiveState=active;SubState=running;NRestarts=0;ActiveEnterTimestamp=Mon;",
        *("file abc", "bundle abc", "free /dev/vda 100 50 400000 60% /"),
        *("lock dead 17 3 b 0 me@here 2026-01-02T03:04:05Z abc-1", "log deployed"),
    ),
}
VALUES = (
    *("\x1b]0;x\x07", "\x9b2J", "\u202e", "\x00", "\r", "\x0b", "\u2028", "\ud800", '"\\ud800"'),
    *("[" * 5000, '{"a":' * 3000, "9" * 6000, "-1", "1e999", "NaN", "null", "true", "²", "٣"),
    *("[]", "{}", '""', "../..", "-rf", "; id", "$(id)", "%s{}", "x" * 5000, " " * 300),
)


def mutated(source: random.Random, lines: tuple[str, ...]) -> str:
    """Return a survey with some random changes."""
    answer = [f"slipway {line}" for line in lines]
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(answer))
        line = answer[place]
        start, end = sorted(source.choices(range(len(line) + 1), k=2))
        value = source.choice(VALUES)
        words = line.split(" ", 2)
        match source.randrange(7):
            case 0:
                line = line[:start] + value + line[start:]
            case 1:
                line = line[:start] + value + line[end:]
            case 2:
                line = " ".join([*words[:2], value])
            case 3:
                line = line[:end]
            case 4:
                answer.insert(source.randrange(len(answer)), line)
            case 5 if line.startswith("slipway container"):
                read = json.loads(lines[5].partition(" ")[2])
                key = source.choice(sorted(read))
                read[key] = source.choice([None, 1, -(10**30), [], {}, [1], {"a": 1}, value, True])
                if source.random() < 0.3:
                    del read[key]
                line = f"slipway container {json.dumps(read)}"
            case _:
                line = "".join(chr(source.randrange(0x300)) for _ in range(20))
        answer[place] = line
    return "\n".join(answer)


@contextlib.contextmanager
def answering(answer: str) -> Iterator[Any]:
    """A connection to a server that answers every question with the same text."""
    done = subprocess.CompletedProcess([], 0, answer, answer)
    yield SimpleNamespace(host="server", ask=lambda *_, **__: done, ask_script=lambda *_: done)


def shown(wanted: Any, kind: str, answer: str, number: int) -> None:
    """Print all that is printed about a server, in one of the formats."""
    found = settings.resolve(SETTINGS, {"FORMAT": "json" if number % 2 else "text", "DRY_RUN": "1"})
    with pytest.MonkeyPatch.context() as patch:
        for module in (deploy, deploy_venv):
            patch.setattr(module, "connected", lambda *_: answering(answer))
        jobs: list[Any] = [
            lambda host: deploy.show_report(found, host, status_report.status),
            lambda host: deploy.show_report(found, host, status_report.releases),
            lambda host: deploy.on_server(found, host, "unlock"),
            lambda host: deploy.on_server(found, host, "rollback"),
            lambda host: deploy.deploy(found, WANTED, host, True),
        ]
        if kind == "venv":
            jobs = [
                lambda host: deploy_venv.show_report(found, host),
                lambda host: deploy_venv.on_server(found, host, "unlock"),
                lambda host: deploy_venv.on_server(found, host, "rollback"),
                lambda host: deploy_venv.deploy(found, wanted, host),
            ]
        for job in jobs:
            _, problem = each_server.attempt(job, "server")
            if problem:
                assert "\n" not in problem
                console.show(problem, sys.stderr)


@pytest.mark.parametrize("kind", ["docker", "venv"])
def test_random_answers_are_a_report_or_one_line(
    wanted: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and no control character."""
    source = random.Random(SEED)
    sample = SAMPLES[kind]
    if kind == "venv":
        sample = (*sample, release(dataclasses.replace(wanted), by="me", at="now", revision="c"))
    for number in range(ANSWERS // 2):
        answer = mutated(source, sample)
        try:
            shown(wanted, kind, answer, number)
        except Exception as problem:
            raise AssertionError(f"answer {number}: {answer!r}") from problem
        printed = "".join(capsys.readouterr())
        assert not console.HIDDEN.search(printed), answer
    # the sample itself is a good answer
    shown(wanted, kind, "\n".join(f"slipway {line}" for line in sample), 0)
    assert "abc-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        "slipway docker sudo -n docker; id",
        "slipway docker docker\nslipway layers " + "[" * 100_000,
        "slipway docker docker\nslipway layers [" + '"a",' * 200_000 + '"a"]',
        "slipway docker docker\nslipway listens 0:XYZ1",
        "slipway docker docker\nslipway container {}",
        "slipway docker docker\nslipway engine 26 amd64;id 1",
    ],
)
def test_nonsense_is_named_in_one_line(answer: str) -> None:
    """With the fact, and what to look at."""
    with answering(answer) as connection, pytest.raises(ssh.ConnectionFailed) as failed:
        survey.survey(connection, "shop")
    text = str(failed.value)
    assert text.startswith("server: its answer to the survey makes no sense: ")
    assert len(text) < 250


def test_a_survey_of_many_facts_is_read_in_a_moment() -> None:
    """Its size counts once, and not once for each line."""
    answer = "slipway x\n" * 400_000
    began = time.monotonic()
    assert sum(1 for _ in basic.facts(answer)) == 400_000
    assert time.monotonic() - began < 20


@pytest.fixture
def server(program: Program, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Connect to a server that does what a shell script says, once it is connected."""
    monkeypatch.setattr(ssh.Connection, "silence", 1)
    monkeypatch.setattr(ssh, "TRANSFER", 1)

    @contextlib.contextmanager
    def connect(script: str) -> Iterator[ssh.Connection]:
        master = 'case "$*" in *" -M "*) echo ready first; exec cat >/dev/null ;; esac'
        fake = program("ssh", f"{master}\n{script}")
        with ssh.connected(str(fake), "server") as connection:
            yield connection

    return connect


ENDLESS = "exec cat /dev/zero"
QUESTIONS = {
    "ask": lambda connection: connection.ask("x", silence=1),
    "ask_script": lambda connection: connection.ask_script("x"),
    "script": lambda connection: connection.script("x", silence=1),
    "through": lambda connection: connection.through(1, b"x"),
    "archive": lambda connection: connection.archive("x", []),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (ENDLESS, "server: it has printed more than 3 MB"),
        (f"{ENDLESS} >&2", "server: it has printed more than 3 MB"),
        ("exec sleep 600", "server: it has not answered for 1 s"),
        ("sleep 20 & exec sleep 600", "server: it has not answered for 1 s"),
    ],
)
def test_endless_and_missing_answers_are_one_line(
    server: Any, question: str, script: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The process that gives them is ended, and the message says what to do."""
    with server(f"echo $$ >$0.pid\n{script}") as connection:
        with pytest.raises(ssh.ConnectionFailed) as failed:
            QUESTIONS[question](connection)
        pid = int(Path(f"{connection.ssh[0]}.pid").read_text())
    assert str(failed.value).startswith(says)
    assert "\n" not in str(failed.value)
    assert str(failed.value).count(". ") >= 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len("".join(capfd.readouterr())) <= 2 * ssh.LONGEST


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (ENDLESS, "server: it has printed more than 3 MB"),
        (f"{ENDLESS} >&2", "server: it has printed more than 3 MB"),
        ("exec sleep 600", "cannot reach server: it has not answered for 1 s"),
        ("printf 'a\\033[2Jb\\nready'; exit 1", "cannot reach server: ssh failed without"),
    ],
)
def test_a_connection_that_never_begins_is_one_line(
    program: Program, monkeypatch: pytest.MonkeyPatch, greeting: str, says: str
) -> None:
    """Its process is ended."""
    monkeypatch.setattr(ssh.Connection, "silence", 1)
    monkeypatch.setattr(ssh, "TYPING", 1)
    fake = program("ssh", greeting)
    connection = ssh.Connection(str(fake), "server")
    with pytest.raises(ssh.ConnectionFailed) as failed:
        connection.open()
    assert str(failed.value).startswith(says)
    connection.close()
    assert connection.master
    assert connection.master.returncode is not None


def test_what_a_server_prints_is_shown_and_not_obeyed(
    here: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Colours, a title of the terminal, a long line."""
    here.script(
        "printf 'a\\033[31mb\\tc\\r\\n'; printf '\\302\\2332J\\n' >&2;"
        " head -c 100000 /dev/zero | tr '\\0' x; echo; echo slipway outcome=done",
        "me: ",
    )
    out, err = capfd.readouterr()
    assert out == f"me: a\\x1b[31mb\tc\nme: {'x' * ssh.LONGEST}\n"
    assert err == "me: \\x9b2J\n"


def test_a_log_is_escaped_on_a_terminal_and_whole_in_a_file(
    here: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or another program may want every byte."""
    command = "printf 'a\\033[31m\\377\\303\\251'; exit 3"
    assert here.show(command) == 3
    sys.stdout.flush()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert here.show(command) == 3
    assert capfd.readouterr().out == "a\x1b[31m\ufffdé" + "a\\x1b[31m\ufffdé"


def test_a_server_that_is_always_lost_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may accept every connection, and lose every job."""
    monkeypatch.setattr(each_server, "RECONNECT", 0)
    monkeypatch.setattr(each_server, "connected", lambda *_: answering(""))
    lost = remote_job.Outcome.LOST
    with pytest.raises(ssh.ConnectionFailed, match="make status shows what runs"):
        each_server.find_out({"SSH": "ssh"}, "abc", "server", lost, lambda _: (lost, ""))
