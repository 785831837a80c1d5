"""The sandbox's server and the builder's side of it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.builder import bytecode, errors, messages, sandbox, sandbox_client, source_tree
from tests.unit.builder.test_build_from_source import pyproject
from tests.unit.conftest import DEPLOY, make_wheel

# A back end that does what a file beside it says.
OWN = """\
import os, pathlib, sys, time
def get_requires_for_build_wheel(settings=None):
    exec(pathlib.Path("do").read_text())
    return ["needed"]
def build_wheel(folder, settings=None, metadata=None):
    name = "one-1.0-py3-none-any.whl"
    wheel = pathlib.Path(folder, name)
    wheel.write_text("the wheel")
    found = {"name": name, "wheel": wheel}
    exec(pathlib.Path("do").read_text(), globals(), found)
    return found["name"]
"""


class Box:
    """A sandbox, an empty virtualenv in it, and sources for it."""

    def __init__(self, folder: Path, client: sandbox_client.Sandbox) -> None:
        """Make the virtualenv."""
        self.folder = folder
        self.client = client
        client.make_virtualenv("empty", [])

    def tree(self, does: str, name: str = "tree") -> source_tree.Tree:
        """Return a tree whose back end does something."""
        place = self.folder / name
        place.mkdir()
        for file, text in {"pyproject.toml": pyproject(), "own.py": OWN, "do": does}.items():
            (place / file).write_text(text)
        return source_tree.tree_at(place)

    def build(self, does: str, name: str = "tree") -> Path:
        """Build the wheel of such a tree."""
        out = self.folder / f"{name}.out"
        out.mkdir()
        return self.client.wheel(self.tree(does, name), "empty", out)

    def fails(self, does: str, name: str = "tree") -> errors.Failure:
        """Return the failure of such a build."""
        with pytest.raises(errors.Failure) as problem:
            self.build(does, name)
        return problem.value


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """A sandbox beside this process, without accounts of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {**os.environ, "PIP_INDEX_URL": "https://me:secret@index.example"}
    with sandbox_client.Sandbox.beside(False, environment, tmp_path / "ca") as client:
        yield Box(tmp_path, client)


def test_a_wheel_is_built_and_nothing_else_is_left(box: Box) -> None:
    """The copy is the builder's own file."""
    wheel = box.build("open('left', 'w'); open(os.path.expanduser('~/left'), 'w')")
    assert wheel.read_text() == "the wheel"
    assert not list(box.folder.rglob("left"))
    assert box.client.requirements(box.tree("", "other"), "empty") == ["needed"]


def test_the_password_of_the_package_index_is_not_there(box: Box) -> None:
    """A build needs no package index; everything else of the environment is there."""
    box.build("assert 'PIP_INDEX_URL' not in os.environ and 'PATH' in os.environ")


@pytest.mark.parametrize(
    "does",
    [
        "wheel.unlink()",
        "wheel.unlink(); wheel.symlink_to('/etc/passwd')",
        "wheel.unlink(); os.mkfifo(wheel)",
        "wheel.unlink(); wheel.mkdir()",
        "name = '../../elsewhere-1.0-py3-none-any.whl'",
        "name = 'x'; wheel.rename(wheel.with_name(name))",
    ],
)
def test_what_is_no_file_in_the_output_folder_is_no_wheel(box: Box, does: str) -> None:
    """The server is root, and must not open anything else."""
    assert str(box.fails(does)).startswith("it left no wheel: ")


def test_a_failure_has_its_output(box: Box) -> None:
    """Of a lot of output the beginning and the end."""
    problem = box.fails("print('begin'); print('x\\n' * 9_999_999); sys.exit('the end')")
    text = "".join(problem.output)
    assert text.startswith("begin\n")
    assert "the end" in text
    assert "…" in text
    assert len(text) < 5 << 20


def test_builds_run_side_by_side(box: Box) -> None:
    """Each of two waits for the other."""
    does = """
folder = pathlib.Path({!r})
(folder / {!r}).touch()
while not (folder / {!r}).exists(): time.sleep(0.01)
"""
    trees = [box.tree(does.format(str(box.folder), f"{a}!", f"{b}!"), a) for a, b in ("xy", "yx")]
    threads = [
        threading.Thread(target=box.client.requirements, args=(tree, "empty")) for tree in trees
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_what_a_build_reads_is_reported(box: Box) -> None:
    """By name; code can report names that are not there."""
    reads = box.folder / "reads"
    tree = box.tree("open(os.environ['READS_TO'], 'ab').write(b'made up\\0')")
    box.client.requirements(tree, "empty", reads)
    assert {b"do", b"own.py", b"made up"} <= {*reads.read_bytes().split(b"\0")}


def test_a_virtualenv_gets_the_bytecode_of_the_modules_that_are_used(box: Box) -> None:
    """It is compiled by the builder, from the wheels."""
    wheel = make_wheel(box.folder, "used", "1.0", seen="from the wheel")
    box.client.make_virtualenv("first", [wheel])
    out = box.folder / "out"
    out.mkdir()
    box.client.wheel(box.tree("import used"), "first", out)
    used = box.client.modules["first"]
    assert any(name.endswith("/site-packages/used.py") for name in used)
    archive = box.folder / "bytecode"
    bytecode.pack(archive, [wheel], {*used, "lib/python3/site-packages/../../evil.py"})
    box.client.make_virtualenv("second", [wheel], archive)
    assert "second" not in box.client.modules
    does = "import used; assert os.path.exists(used.__cached__); assert used.SEEN"
    box.client.requirements(box.tree(does, "again"), "second")


def test_only_modules_of_the_virtualenv_are_compiled(tmp_path: Path) -> None:
    """The names are what code of others says, and the server that compiles them is root."""
    virtualenv = tmp_path / "virtualenv"
    for folder in (virtualenv, tmp_path / "elsewhere"):
        folder.mkdir()
        for name in ("one.py", "two.py", "three.txt"):
            (folder / name).write_text("x = 1\n")
    (virtualenv / "link.py").symlink_to(tmp_path / "elsewhere" / "one.py")
    (virtualenv / "two.py").write_text("x = (\n")
    names = ["one.py", "two.py", "three.txt", "none.py", "link.py", "../elsewhere/two.py", "*", ""]
    sandbox.compile_modules(virtualenv, [*names, str(tmp_path / "elsewhere" / "one.py")])
    compiled = [path.name.partition(".")[0] for path in tmp_path.rglob("*.pyc")]
    assert compiled == ["one"]
    assert (virtualenv / "__pycache__").is_dir()


def test_a_wheel_that_is_none_is_a_failure(box: Box) -> None:
    """It is named, and the sandbox goes on."""
    wheel = box.folder / "bad-1.0-py3-none-any.whl"
    wheel.write_text("nothing")
    with pytest.raises(errors.Failure, match="is not a zip file"):
        box.client.make_virtualenv("bad", [wheel])
    assert box.build("").read_text() == "the wheel"


def answering(do: Callable[[socket.socket], object]) -> sandbox_client.Sandbox:
    """Return the client of a server that reads each job, and then does something."""
    control, its = socket.socketpair()

    def serve() -> None:
        with contextlib.suppress(EOFError), its:
            while True:
                _, file = messages.receive(its)
                assert file is not None
                with socket.socket(fileno=file) as job:
                    _, archive = messages.receive(job)
                    assert archive is not None
                    os.close(archive)
                    do(job)

    threading.Thread(target=serve, daemon=True).start()
    return sandbox_client.Sandbox(lambda: control, Path("/ca"))


def with_file(message: dict[str, Any], size: int) -> Callable[[socket.socket], None]:
    """Return what answers with a message and a file of some size, which takes no room."""

    def answer(job: socket.socket) -> None:
        file = os.memfd_create("wheel")
        os.ftruncate(file, size)
        messages.send(job, message, file)
        os.close(file)

    return answer


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (lambda _: None, "has ended; run this again"),
        (lambda job: job.sendall(b"\xff" * 9), "makes no sense; run this again"),
        (lambda job: messages.send(job, {}), "makes no sense"),
        (lambda job: messages.send(job, {"wheel": "one-1.0-py3-none-any.whl"}), "makes no sense"),
        (with_file({"wheel": "../one-1.0-py3-none-any.whl"}, 1), "makes no sense"),
        (with_file({"wheel": ["x"]}, 1), "makes no sense"),
        (with_file({"wheel": "one-1.0-py3-none-any.whl"}, (4 << 30) + 1), "larger than 4 GB"),
        (lambda job: messages.send(job, {"failure": "x", "output": "text"}), "makes no sense"),
    ],
)
def test_a_sandbox_that_ends_or_answers_nonsense_is_one_error(
    tmp_path: Path, do: Callable[[socket.socket], object], says: str
) -> None:
    """In a line, and no wheel is kept."""
    (tmp_path / "tree").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    client = answering(do)
    with pytest.raises(errors.Failure) as problem:
        client.wheel(source_tree.tree_at(tmp_path / "tree"), "empty", out)
    assert says in str(problem.value)
    assert len(str(problem.value).splitlines()) == 1
    assert sum(path.stat().st_size for path in out.iterdir()) == 0


def test_a_job_whose_process_is_killed_is_one_error(box: Box) -> None:
    """The builder does not wait for ever, and the sandbox goes on."""
    problem = box.fails("import signal; os.kill(os.getppid(), signal.SIGKILL)")
    assert str(problem) == "its process ended with status 9, without an answer"
    assert box.build("", "other").read_text() == "the wheel"


def test_a_sandbox_that_never_starts_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop is asked to start it first."""
    monkeypatch.setattr(sandbox_client, "WAIT", 0.05)
    asked: list[str] = []
    (tmp_path / "meeting").mkdir()
    listener = sandbox_client.Listener(
        tmp_path / "meeting" / "one", lambda: asked.append("started")
    )
    client = sandbox_client.Sandbox(listener.connect, tmp_path)
    with pytest.raises(errors.Failure, match="did not start within"):
        client.make_virtualenv("empty", [])
    assert asked == ["started"]


def test_the_two_meet_in_a_folder_that_nobody_else_can_enter(tmp_path: Path) -> None:
    """What a killed build left there is replaced; the sandbox removes it."""
    meeting = tmp_path / "meeting"
    for name in ("one", "older"):
        (meeting / name).mkdir(parents=True)
    os.utime(meeting / "older", (0, 0))
    (meeting / "one" / "socket").touch()
    listener = sandbox_client.Listener(meeting / "one", lambda: None)
    assert os.listdir(meeting) == ["one"]
    assert stat.S_IMODE((meeting / "one").stat().st_mode) == 0o700
    with contextlib.ExitStack() as stack:
        words = [sys.executable, "-B", "-m", "slipway.builder"]
        words += ["sandbox", "--sandbox", str(meeting / "one")]
        environment = {**os.environ, "PYTHONPATH": str(DEPLOY)}
        process = stack.enter_context(subprocess.Popen(words, env=environment))
        listener.connect().close()
        assert process.wait(30) == 0, "it ends with the builder"
    assert os.listdir(meeting) == []
