"""Other commands of one image: a worker beside the application, and a job that ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import testbed
from tests.conftest import Baker
from tests.containers.laptop import BRIEFLY, PORTS, SESSION, Laptop, Shipped

NAME = f"programs-{SESSION}"
OTHERS = """
COMMAND_worker := sh -c 'echo it works; exec sleep 1000'
COMMAND_stock := sh -c 'echo 3 apples; exit $${STATUS:-0}'
HEALTH_stock := ends
"""


@pytest.fixture(scope="module")
def programs(generate: Baker, laptop: Laptop, server: testbed.Server) -> Iterator[Shipped]:
    """A server and two other commands, pushed and not deployed."""
    port = PORTS["existing"]
    project = generate(
        **{"project": NAME, "app": "existing", "python": "CPython", "native_deps": " "},
        **{"command": f"python -m http.server {port}", "port": str(port)},
    )
    (project.path / "requirements.in").write_text("six\n", encoding="utf-8")
    settings = project.read("deploy/settings.mk") + OTHERS
    (project.path / "deploy" / "settings.mk").write_text(settings, encoding="utf-8")
    shipped = Shipped(laptop, project, NAME, port)
    shipped.make("wheels", "image", "push")
    yield shipped
    laptop.engine.succeeds("docker", "rm", "--force", "--volumes", f"{NAME}-local")
    server.run(
        *("sh", "-c", 'docker rm --force --volumes $(docker ps --all --quiet --filter name="$1")'),
        *("sh", NAME),
    )


def test_a_worker_is_deployed_beside_the_application(programs: Shipped) -> None:
    """From the same image, in a container of its own, without a port; it has its own releases."""
    programs.make("deploy", BRIEFLY)
    programs.make("deploy", BRIEFLY, "PROGRAM=worker")
    worker = f"{NAME}-worker"
    assert programs.on_server(".State.Running", worker) == "true"
    assert programs.on_server(".HostConfig.RestartPolicy.Name", worker) == "always"
    assert programs.on_server("json .HostConfig.PortBindings", worker) == "{}"
    assert programs.on_server(".Image", worker) == programs.on_server(".Image")
    assert "it works" in programs.make("logs", "PROGRAM=worker")
    assert f"{worker}: steady" in programs.make("status", "PROGRAM=worker")
    assert f"{NAME}: healthy" in programs.make("status")
    assert "nothing to do" in programs.make("deploy", BRIEFLY, "PROGRAM=worker")


def test_a_release_is_stopped_started_and_removed(
    programs: Shipped, server: testbed.Server
) -> None:
    """On the server; what stays stopped is reported, and what was removed is deployed anew."""
    on = ("PROGRAM=worker", "ON=server")
    worker = f"{NAME}-worker"
    programs.make("deploy", BRIEFLY, "PROGRAM=worker")
    assert "is stopped, also after a reboot" in programs.make("stop", *on)
    assert programs.on_server(".State.Running", worker) == "false"
    assert "the release was stopped. Run make start" in programs.make_fails("status", *on[:1])
    programs.make("start", *on)
    assert programs.on_server(".HostConfig.RestartPolicy.Name", worker) == "always"
    started = programs.on_server(".State.StartedAt", worker)
    programs.make("restart", *on)
    assert programs.on_server(".State.StartedAt", worker) != started
    assert "nothing was removed" in programs.make_fails("remove", *on)
    assert f"removes the containers {worker}" in programs.make("remove", *on, "YES=1")
    assert worker not in server.docker("ps", "--all", "--format", "{{.Names}}").split()
    assert f"{worker}-run" not in server.docker("image", "ls", "--format", "{{.Repository}}")
    programs.make("deploy", BRIEFLY, "PROGRAM=worker")
    assert programs.on_server(".State.Running", worker) == "true"


def test_a_job_that_succeeds_is_a_release(programs: Shipped) -> None:
    """It runs once and not again; one that fails is put aside, and the one before stays."""
    job = f"{NAME}-stock"
    said = programs.make("deploy", "PROGRAM=stock")
    assert "3 apples" in said
    assert f"has finished. To run it again: docker start --attach {job}" in said
    started = programs.on_server(".State.StartedAt", job)
    assert "3 apples" in programs.make("logs", "PROGRAM=stock")
    assert f"{job}: ended" in programs.make("status", "PROGRAM=stock")
    assert "has finished" in programs.make("deploy", "PROGRAM=stock")
    assert programs.on_server(".State.StartedAt", job) == started
    run_env = programs.project.path / "deploy" / "run.env"
    run_env.write_text("STATUS=3\n")
    said = programs.make_fails("deploy", "PROGRAM=stock")
    run_env.unlink()
    assert f"{job}-next ended with status 3" in said
    assert f"the failed container is kept stopped as {job}-failed" in said
    assert programs.on_server(".State.StartedAt", job) == started
    assert programs.on_server(".State.ExitCode", job) == "0"


def test_a_job_here_ends_as_it_does(programs: Shipped) -> None:
    """Its output is shown; an exit status other than 0 is a failure."""
    assert "3 apples" in programs.make("run", "PROGRAM=stock")
    said = programs.make_fails("run", "PROGRAM=stock", "COMMAND_stock=sh -c 'exit 4'")
    assert f"{NAME}-stock-local ended with status 4" in said
    assert "no COMMAND_stok (there are: stock, worker)" in programs.make_fails(
        "run", "PROGRAM=stok"
    )


def test_what_stops_somebody_elses_application_is_reported_with_the_setting(
    programs: Shipped,
) -> None:
    """It writes to its working directory, listens on its own port, or is a job."""
    writes = "COMMAND=python -c \"open('kept', 'w')\""
    said = programs.make_fails("run", writes)
    assert "the application may not write to kept. It may write to /tmp" in said
    said = programs.make_fails("run", writes, "RUN_OPTIONS=--workdir /tmp")
    assert "ended with status 0: a server must stay in the foreground. For a one-off" in said
    programs.make("run", writes, "RUN_OPTIONS=--workdir /tmp", "HEALTH=ends")
    said = programs.make_fails("run", "COMMAND=python -m http.server 9999", "HEALTH_TIMEOUT=6")
    assert "it listens on 9999: set PORT, or the port that COMMAND names" in said
