"""A docker without an engine: keeps containers in a file, and records what changes them.

`fake_docker.py FOLDER WORDS…`. It evaluates the few templates that the server's script uses.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

Containers = dict[str, dict[str, Any]]


def rendered(template: str, name: str, each: dict[str, Any]) -> str:
    """Return what docker prints for one of the script's templates."""
    labels = {key: each["labels"].get(f"slipway.{key}", "") for key in ("project", "options")}
    labels["release"] = each["labels"].get("slipway.release", "")
    labels["overlaps"] = each["labels"].get("slipway.overlaps", "")
    if "|project=" in template:
        known = {**labels, "policy": each["policy"], "running": str(each["running"]).lower()}
        order = ("project", "release", "options", "policy", "running")
        return f"/{name}|" + "".join(f"{key}={known[key]}|" for key in order)
    if "$ends :=" in template:  # the health, and how often it was restarted
        begin = f"{name} 0 " if template.startswith("{{.Id}}") else ""
        return f"{begin}{'healthy' if each['running'] else 'exited'} 0"
    if "NetworkSettings.Ports" in template or "{{if not .State.Running}}" in template:
        return ""
    if template.startswith("{{.Name}} {{.Image}}"):  # to tidy up
        return f"/{name} image-of-{labels['release']} {labels['options']}"
    for key, value in labels.items():
        if f"slipway.{key}" in template:
            return str(value)
    values = {
        "{{.Name}}": f"/{name}",
        "{{.Id}}": name,
        "{{.State.Running}}": str(each["running"]).lower(),
        "{{.State.ExitCode}}": "0",
        "{{.HostConfig.RestartPolicy.Name}}": each["policy"],
    }
    return str(values.get(template, ""))


def create(containers: Containers, words: list[str]) -> None:
    """Add a container, as the newest."""
    pairs = dict(word.split("=", 1) for word in words if word.startswith("slipway."))
    name = words[words.index("--name") + 1]
    containers[name] = {"labels": pairs, "running": False, "policy": "no"}


def change(containers: Containers, command: str, words: list[str]) -> bool:
    """Do a command that changes containers; return whether it changed anything."""
    names = [word for word in words if not word.startswith("-")]
    if command == "create":
        create(containers, words)
    elif command in ("start", "stop"):
        containers[names[-1]]["running"] = command == "start"
    elif command == "update":
        containers[names[-1]]["policy"] = words[0].partition("=")[2]
    elif command == "rename":
        old, new = names
        if new in containers or old not in containers:
            sys.exit(1)
        # in its place, which is that of its creation
        items = [(new if name == old else name, each) for name, each in containers.items()]
        containers.clear()
        containers.update(items)
    elif command == "rm":
        return bool([containers.pop(name) for name in names if name in containers])
    return True


def volume(folder: Path, words: list[str]) -> int:
    """Do a command on volumes, which are the entries of the lock; return the exit status."""
    folder.mkdir(exist_ok=True)
    if words[0] == "create":
        entry = next(word for word in words if word.startswith("slipway.entry="))
        (folder / words[-1]).write_text(entry.partition("=")[2])
    elif words[0] == "ls":
        print("\n".join(each.read_text() for each in folder.iterdir()))
    elif words[0] == "rm":
        (folder / words[-1]).unlink()
    return 0


def main(folder: Path, command: str, words: list[str]) -> int:
    """Do one docker command; return the exit status."""
    if command == "volume":
        return volume(folder / "volumes", words)
    path = folder / "containers.json"
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # until the process ends
    containers: Containers = json.loads(path.read_text())
    if command == "ps":
        newest_first = list(reversed(containers))
        if "--format" in words:
            for name in newest_first:
                release = containers[name]["labels"].get("slipway.release", "")
                print(f"{name} {release}")
        else:
            print("\n".join(newest_first))
        return 0
    if (command, *words[:1]) == ("container", "inspect"):
        template, names = words[2], words[3:]
        for name in names:
            if name not in containers:
                return 1
            print(rendered(template, name, containers[name]))
        return 0
    if command in ("create", "start", "stop", "update", "rename", "rm", "tag"):
        if change(containers, command, words):
            with (folder / "changes").open("a") as log:
                log.write(shlex.join([command, *words]) + "\n")
        path.write_text(json.dumps(containers))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
