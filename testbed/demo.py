"""`make demo`: build and deploy a sample application, with every command shown.

The demo sets up an engine, a registry image and a server if this machine has none, generates a
project in .demo/, runs `make wheels image push deploy` there, and shows the server's answer.
Everything keeps running for inspection until `make demo-down`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import testbed
from testbed import engine as engines
from testbed import servers
from testbed.projects import BIN, ROOT, without_make

FOLDER = ROOT / ".demo"
LEASE = "demo"
PROJECT = "slipway-demo"  # unlikely to be the name of a user's project
PORT = 8081
STORAGE = "registry-5051_storage"
OTHERS = FOLDER / "registry-of-others"


def say(text: str) -> None:
    """Print a line of the demo that stands out from the output of the commands."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def shown(command: list[str], environment: dict[str, str], folder: Path) -> None:
    """Show a command as a user would type it, and run it; raise HarnessError if it fails."""
    say(f"$ {' '.join(Path(word).name if '/' in word else word for word in command)}")
    status = subprocess.call(command, env=environment, cwd=folder)
    if status:
        raise testbed.HarnessError(f"demo: {command[0]} failed with status {status}: see above")


def up(python: str) -> None:
    """Build and deploy the sample, and show the server's answer."""
    engine = engines.up(LEASE)
    for image in (testbed.BASE, testbed.REGISTRY):
        testbed.provide(engine, image)
    servers.remove_kept(engine, LEASE)
    with testbed.Server(engine, ports=[PORT], lease=LEASE) as server:
        say("The server: sshd and a Docker engine of its own, without any image")
    if FOLDER.exists():  # an earlier demo, which may have started the registry
        shared = OTHERS.exists()
    else:
        shared = engine.succeeds("docker", "volume", "inspect", STORAGE)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    if shared:
        OTHERS.touch()
    (FOLDER / "cookiecutter.yaml").write_text(
        f"cookiecutters_dir: {FOLDER}\nreplay_dir: {FOLDER}\n", encoding="utf-8"
    )
    cookiecutter = str(BIN / "cookiecutter")
    answers = [f"project={PROJECT}", f"python={python}", "deploy_host=server"]
    environment = without_make(
        {
            **engine.environment,
            "COOKIECUTTER_CONFIG": str(FOLDER / "cookiecutter.yaml"),
            "SSH": server.ssh,
        }
    )
    shown([cookiecutter, "--no-input", str(ROOT), *answers], environment, FOLDER)
    project = FOLDER / PROJECT
    testbed.copy_certificates(project / "deploy" / "ca")
    for target in ("wheels", "image", "push", "deploy"):
        shown(["make", target], environment, project)
    address = server.address(PORT)
    say(f"$ curl http://{address}/        (the server's port {PORT})")
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as response:
        print(response.read().decode(), flush=True)
    say("The project is in .demo/slipway-demo. To deploy a change of it by hand, type:")
    if engine.ours:
        print('    eval "$(python3 -m testbed env)"   # the engine that the demo started')
    print(f'    export SSH="{server.ssh}"')
    print("    cd .demo/slipway-demo && make deploy")
    print("To stop the demo and remove everything, type:\n    make demo-down", flush=True)


def down() -> None:
    """Remove the server, the images and, if nothing else uses it, the testbed's engine."""
    engine = engines.running()
    if engine:
        servers.remove_kept(engine, LEASE)
        project = FOLDER / PROJECT
        environment = without_make(engine.environment)
        if project.is_dir():
            shared = OTHERS.exists()
            for target in ("clean",) if shared else ("clean", "registry-down"):
                subprocess.call(["make", target], env=environment, cwd=project)
            if not shared:
                engine.succeeds("docker", "volume", "rm", STORAGE)
    engines.down(LEASE)
    shutil.rmtree(FOLDER, ignore_errors=True)
    say("The demo is removed.")


def main() -> int:
    """Run `up` or `down`; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("job", choices=("up", "down"))
    parser.add_argument("--python", default="PyPy", choices=("PyPy", "CPython"))
    options = parser.parse_args()
    try:
        if options.job == "up":
            up(options.python)
        else:
            down()
    except testbed.HarnessError as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
