"""Generate, `make wheels image push deploy`, and it answers on the server."""

from __future__ import annotations

import json
import re
import shlex
import tarfile
import time
from pathlib import Path

import pytest

from tests.containers.laptop import BRIEFLY, Shipped, answer_of, free_port


def files_of(shipped: Shipped, tmp_path: Path) -> list[str]:
    """List every file of the run image, as paths without the leading slash."""
    container = shipped.laptop.docker("create", shipped.run_image).strip()
    archive = tmp_path / "image.tar"
    try:
        shipped.laptop.docker("export", "--output", str(archive), container)
    finally:
        shipped.laptop.docker("rm", container)
    with tarfile.open(archive) as tar:
        return [member.name for member in tar if not member.isdir()]


def layers_of(shipped: Shipped) -> list[str]:
    """List the run image's layers, the lowest first."""
    layers: list[str] = json.loads(
        shipped.laptop.docker(
            "image", "inspect", "--format", "{{json .RootFS.Layers}}", shipped.run_image
        )
    )
    return layers


def test_application_answers_on_the_server(shipped: Shipped) -> None:
    """A browser at the server's address gets the sample's text."""
    assert shipped.answer == "Hello, world!"


def test_server_runs_the_image_that_was_built_here(shipped: Shipped) -> None:
    """The image's ID and the pushed digest are the same on both sides."""
    here = shipped.laptop.docker("image", "inspect", "--format", "{{.Id}}", shipped.run_image)
    assert shipped.on_server(".Image") == here.strip()
    state = json.loads(shipped.project.read(".deploy/state.json"))
    digests = shipped.laptop.server.docker(
        "image", "inspect", "--format", "{{json .RepoDigests}}", here.strip()
    )
    assert [name.partition("@")[2] for name in json.loads(digests)] == [state["push"]["digest"]]


def test_release_restarts_by_itself_and_has_no_local_files(shipped: Shipped) -> None:
    """Restart policy always, read-only root, no capabilities, not root."""
    assert shipped.on_server(".HostConfig.RestartPolicy.Name") == "always"
    assert shipped.on_server(".HostConfig.ReadonlyRootfs") == "true"
    assert shipped.on_server(".HostConfig.CapDrop") == "[ALL]"
    assert shipped.on_server(".State.Health.Status") == "healthy"
    in_container = ("exec", shipped.name)
    assert shipped.laptop.server.docker(*in_container, "id", "-u").strip() == "10001"
    script = "touch /appenv/x /x 2>/dev/null; ls /appenv/x /x 2>/dev/null | wc -l; touch /tmp/x"
    assert shipped.laptop.server.docker(*in_container, "sh", "-c", script).strip() == "0"


def test_tunnel_is_gone_afterwards(shipped: Shipped) -> None:
    """No ssh connection from here is left, and the port that pulled is closed on the server."""
    [name] = json.loads(
        shipped.laptop.server.docker(
            "image", "inspect", "--format", "{{json .RepoDigests}}", shipped.on_server(".Image")
        )
    )
    port = int(re.match(r"127\.0\.0\.1:(\d+)/", name)[1])  # type: ignore[index]
    assert port != shipped.laptop.registry_port, "the server chooses the port"
    listening = shipped.laptop.server.run("cat", "/proc/net/tcp")
    rows = [line.split() for line in listening.splitlines()[1:]]
    # 0A is LISTEN, see the kernel's include/net/tcp_states.h
    ports = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A"}
    assert 22 in ports
    assert port not in ports


def test_run_image_has_nothing_to_build_with(shipped: Shipped, tmp_path: Path) -> None:
    """No compiler, headers, pip, wheel files, sources or package lists are in any layer's sum."""
    files = files_of(shipped, tmp_path)
    assert "appenv/start" in files
    names = {Path(name).name for name in files}
    tools = ("gcc", "cc", "g++", "c++", "as", "ld", "make", "pip", "pip3", "curl", "wget", "git")
    assert not names & set(tools)
    unwanted = re.compile(
        r"\.(whl|deb)$|/pip/|/setuptools/|^var/lib/apt/lists/.*_Packages|^usr/include/"
        r"|^(opt|wheelhouse|application|cache)/|/pyproject\.toml$"
    )
    assert not [name for name in files if unwanted.search(name)]


def test_run_image_has_nothing_to_install_or_log_in_with(shipped: Shipped, tmp_path: Path) -> None:
    """Debian's package tools are gone, and no program gets root; a shell is there for a look."""
    programs = {Path(name).name for name in files_of(shipped, tmp_path) if "/bin/" in name}
    assert not programs & {"apt-get", "dpkg", "perl", "su", "passwd", "mount"}
    assert {"sh", "bash", "ls", "cat", "grep"} < programs
    with_root = "find / -xdev -perm /6000 -type f 2>/dev/null || true"
    assert shipped.laptop.runs(shipped.run_image, with_root) == ""
    listed = shipped.laptop.runs(shipped.run_image, "grep ^Package: /var/lib/dpkg/status").split()
    assert {"libc6", "libssl3t64", "libffi8"} < set(listed)
    assert not {"apt", "perl-base"} & set(listed)


def test_bytecode_is_in_the_image(shipped: Shipped, tmp_path: Path) -> None:
    """Each module of the application has its compiled form beside it."""
    package = shipped.name.replace("-", "_")
    files = files_of(shipped, tmp_path)
    [module] = [name for name in files if name.endswith(f"site-packages/{package}/__init__.py")]
    caches = [name for name in files if name.startswith(str(Path(module).parent / "__pycache__"))]
    assert len(caches) == 1


@pytest.mark.quiet
def test_run_image_stops_in_under_a_second(shipped: Shipped) -> None:
    """SIGTERM reaches the application as process 1: it is not killed after its second."""
    container = shipped.laptop.docker("run", "--detach", shipped.run_image).strip()
    try:
        deadline = time.monotonic() + 60
        health = ""
        while health != "healthy" and time.monotonic() < deadline:
            health = shipped.laptop.docker(
                "inspect", "--format", "{{.State.Health.Status}}", container
            ).strip()
            time.sleep(0.2)
        assert health == "healthy"
        shipped.laptop.docker("stop", "--time", "1", container)
        status = shipped.laptop.docker("inspect", "--format", "{{.State.ExitCode}}", container)
        assert status.strip() != "137", "it had to be killed"
    finally:
        shipped.laptop.docker("rm", "--force", container)


def test_image_says_what_it_is(shipped: Shipped) -> None:
    """The OCI labels name title, version, revision, time and base."""
    labels = json.loads(
        shipped.laptop.docker(
            "image", "inspect", "--format", "{{json .Config.Labels}}", shipped.run_image
        )
    )
    prefix = "org.opencontainers.image."
    revision = shipped.project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert labels[f"{prefix}title"] == shipped.name
    assert labels[f"{prefix}version"] == "0.1.0"
    assert labels[f"{prefix}revision"].removesuffix("-dirty") == revision
    assert re.match(r"20\d\d-\d\d-\d\dT", labels[f"{prefix}created"])
    assert labels[f"{prefix}base.name"] == "debian:trixie-slim"


def test_wheelhouse_is_what_the_lock_and_the_application_name(shipped: Shipped) -> None:
    """One wheel a pin, one for the application, each with its sum; nothing else."""
    [folder] = (shipped.project.path / "wheelhouse").glob("p*3")
    pins = re.findall(r"^([a-z0-9.-]+)==", shipped.project.read("requirements.txt"), re.M)
    wheels = {path.name.split("-")[0].replace("_", "-").lower() for path in folder.glob("deps/*")}
    assert wheels - {"requirements.txt"} == {name.replace(".", "-") for name in pins}
    [application] = folder.glob("app/*.whl")
    assert application.name.startswith(shipped.name.replace("-", "_"))


def test_size_accounts_for_the_image(shipped: Shipped) -> None:
    """The layers of `make size` add up to docker's own figure, and every wheel has a line."""
    said = shipped.make("size")
    total = float(said.split()[0])
    size = shipped.laptop.docker("image", "inspect", "--format", "{{.Size}}", shipped.run_image)
    assert abs(total - int(size) / 1e6) < 0.1
    wheels = list((shipped.project.path / "wheelhouse").glob("*/*/*.whl"))
    assert all(wheel.name in said for wheel in wheels)


def test_source_tree_is_only_read(shipped: Shipped) -> None:
    """Of all that was made, git sees the two locks and nothing else."""
    said = shipped.project.run("git", "status", "--porcelain").stdout
    changed = {line[3:] for line in said.splitlines()}
    assert changed <= {"requirements.txt", "deploy/base.lock"}


def test_nothing_is_done_twice(shipped: Shipped) -> None:
    """With nothing changed every target reports that, and the image keeps its ID."""
    before = layers_of(shipped)
    said = shipped.make("wheels", "image", "push", "deploy")
    assert said.count("nothing to do") == 4
    assert layers_of(shipped) == before


def test_run_and_stop_here(shipped: Shipped) -> None:
    """`make run` answers on the port that was asked for, on loopback only; `make stop` ends it."""
    port = free_port()
    said = shipped.make("run", f"PORT={port}")
    try:
        assert f"http://127.0.0.1:{port}" in said
        assert answer_of(f"127.0.0.1:{port}") == "Hello, world!"
        published = shipped.laptop.docker("port", f"{shipped.name}-local").split("\n")[0]
        assert published.endswith(f"127.0.0.1:{port}")
    finally:
        shipped.make("stop")
    assert f"{shipped.name}-local" not in shipped.laptop.docker("ps", "--all")


def test_changed_application_replaces_the_old_one_and_comes_back(shipped: Shipped) -> None:
    """A second deploy ships one layer, is kept when it is healthy, and is rolled back by name."""
    module = f"src/{shipped.name.replace('-', '_')}/__init__.py"
    before = layers_of(shipped)
    shipped.edit(module, "Hello, world!", "Hello, second!")
    try:
        shipped.make("deploy", BRIEFLY)
        assert shipped.answer == "Hello, second!"
        after = layers_of(shipped)
        assert len(after) == len(before)
        assert after[:-1] == before[:-1], "only the application's layer is another"
        running = shipped.laptop.server.docker("ps", "--format", "{{.Names}}").split()
        assert shipped.name in running
        assert f"{shipped.name}-previous" not in running

        shipped.make("rollback", BRIEFLY)
        assert shipped.answer == "Hello, world!"
        assert "healthy" in shipped.make("status")
        assert "GET / HTTP" in shipped.make("logs")
    finally:
        shipped.edit(module, "Hello, second!", "Hello, world!")


def received(shipped: Shipped) -> int:
    """Count the bytes that the server's network interface has received."""
    return int(shipped.laptop.server.run("cat", "/sys/class/net/eth0/statistics/rx_bytes"))


def test_a_changed_line_is_sent_in_kilobytes(shipped: Shipped) -> None:
    """The interface counts less than 20 kB beside what the ssh connection itself takes."""
    module = f"src/{shipped.name.replace('-', '_')}/__init__.py"
    shipped.make("deploy", BRIEFLY)
    shipped.edit(module, "Hello, world!", "Hello, third!")
    try:
        shipped.make("push")
        before = received(shipped)
        ssh = shlex.split(shipped.laptop.server.ssh)
        shipped.laptop.engine.run(*ssh, shipped.laptop.server.host, "true")
        handshake = received(shipped) - before
        before = received(shipped)
        shipped.make("deploy", BRIEFLY)
        assert shipped.answer == "Hello, third!"
        sent = received(shipped) - before
        assert sent < handshake + 20_000, (sent, handshake)
    finally:
        shipped.edit(module, "Hello, third!", "Hello, world!")
        shipped.make("deploy", BRIEFLY)


def test_broken_release_is_rolled_back(shipped: Shipped) -> None:
    """A release that exits at once costs nothing but its own log lines on standard error."""
    module = f"src/{shipped.name.replace('-', '_')}/__init__.py"
    text = shipped.project.read(module)
    shipped.make("deploy", BRIEFLY)
    path = shipped.project.path / module
    path.write_text(text + "\nraise SystemExit('no database today')\n", encoding="utf-8")
    try:
        said = shipped.make_fails("deploy", "HEALTH_TIMEOUT=20")
        assert "no database today" in said
        assert "runs as before" in said
        assert shipped.answer == "Hello, world!"
        assert shipped.on_server(".HostConfig.RestartPolicy.Name") == "always"
        assert f"{shipped.name}-failed" not in shipped.laptop.server.docker("ps")
    finally:
        path.write_text(text, encoding="utf-8")
    assert "nothing to do" in shipped.make("deploy", BRIEFLY).splitlines()[-1]


@pytest.mark.parametrize("script", ["build.sh", "run.sh"])
def test_scripts_work_without_make_from_anywhere(shipped: Shipped, script: str) -> None:
    """The docker command lines need neither make nor a current directory."""
    port = str(free_port())
    path = shipped.project.path / "deploy" / script
    elsewhere = f"cd / && exec {str(path)!r}"
    done = shipped.laptop.run(shipped.project, "bash", "-c", elsewhere, PORT=port)
    assert done.returncode == 0, done.stdout
    if script == "run.sh":
        assert answer_of(f"127.0.0.1:{port}") == "Hello, world!"
        shipped.make("stop")
