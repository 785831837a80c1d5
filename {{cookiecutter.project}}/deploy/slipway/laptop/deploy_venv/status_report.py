"""What make deploy-venv has put on servers, said to people and to machines (FORMAT=json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway.laptop.deploy_venv.plan import Facts
from slipway.laptop.servers.survey import describe_lock


def state(facts: Facts, host: str, project: str) -> dict[str, Any]:
    """Give a server's state as data: what runs, other releases, what is the matter."""

    def known(release: str) -> dict[str, Any]:
        read = facts.releases.get(release, {})
        names = ("revision", "by", "at")
        return {"release": release, **{name: read.get(name, "") for name in names}}

    others = [each for each in facts.releases if each != facts.current]
    return {
        "host": host,
        "project": project,
        "matter": matter(facts, project),
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


def matter(facts: Facts, project: str) -> str:
    """Say what is the matter with a server and what to do, or nothing when all is well."""
    if facts.lock_is_alive:
        return f"a deploy is at work: {describe_lock(facts.lock)}"
    if facts.is_trying or facts.lock:
        return "a deploy was cut off: make deploy-venv or make rollback-venv puts it in order"
    if not facts.current:
        return f"no release of {project} runs here: run make deploy-venv"
    if not facts.is_active:
        return (
            f"the service is {facts.state.get('ActiveState') or 'gone'}, restarted"
            f" {facts.state.get('NRestarts') or 0} times: make logs-venv shows why,"
            " make rollback-venv puts back"
        )
    if facts.health.startswith("unhealthy"):
        return f"the release is {facts.health}: make logs-venv, make rollback-venv puts back"
    return ""


def status(found: Mapping[str, Any]) -> list[str]:
    """Say a server's state to a person."""
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
