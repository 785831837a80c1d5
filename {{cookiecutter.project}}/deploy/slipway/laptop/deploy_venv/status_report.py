"""Reports of what runs on servers without Docker, for people and as data (FORMAT=json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway.laptop.deploy_venv.survey import Facts
from slipway.laptop.servers.survey import describe_lock


def state(facts: Facts, host: str, project: str) -> dict[str, Any]:
    """Return a server's state as data: the running release, other releases, the problem."""

    def known(release: str) -> dict[str, Any]:
        read = facts.releases.get(release, {})
        names = ("revision", "by", "at")
        return {"release": release, **{name: read.get(name, "") for name in names}}

    others = [each for each in facts.releases if each != facts.current]
    return {
        "host": host,
        "project": project,
        "problem": problem(facts, project),
        "running": known(facts.current) if facts.current else None,
        "state": facts.state.get("ActiveState", ""),
        "health": facts.health,
        "restarts": int(facts.state.get("NRestarts") or 0),
        "since": facts.state.get("ActiveEnterTimestamp", ""),
        "previous": facts.previous or None,
        "releases": [known(each) for each in others],
        "lock": describe_lock(facts.lock) if facts.lock else None,
        "log": facts.log,
    }


def problem(facts: Facts, project: str) -> str:
    """Return a server's problem and what to do about it; empty if everything is healthy."""
    if facts.lock_is_alive:
        return f"a deploy is running: {describe_lock(facts.lock)}"
    if facts.is_trying or facts.lock:
        return (
            "a deploy was cut off. Run make deploy-venv or make rollback-venv, which recover first."
        )
    if not facts.current:
        return f"no release of {project} runs here. Run make deploy-venv."
    if not facts.is_active:
        return (
            f"the service is {facts.state.get('ActiveState') or 'gone'}, restarted"
            f" {facts.state.get('NRestarts') or 0} times. Run make logs-venv to see why, or"
            " make rollback-venv."
        )
    if facts.health.startswith("unhealthy"):
        return (
            f"the release is {facts.health}. Run make logs-venv to see why, or make rollback-venv."
        )
    return ""


def status(found: Mapping[str, Any]) -> list[str]:
    """Return a server's state for people."""
    lines = []
    if found["running"]:
        each = found["running"]
        lines += [
            f"{found['project']}.service: {found['state']}, since {found['since']}",
            f"    release   {each['release']}, commit {each['revision'][:12] or 'unknown'}",
            f"    deployed  {each['at']} by {each['by']}",
            f"    health    {found['health']}",
        ]
    for each in found["releases"]:
        word = "previous" if each["release"] == found["previous"] else "kept"
        lines.append(f"{word}: {each['release']}, deployed {each['at']} by {each['by']}")
    if found["log"]:
        lines += ["the last deploys:", *(f"    {line}" for line in found["log"][-5:])]
    return lines
