"""What runs on servers, said to people and to machines (FORMAT=json)."""

from __future__ import annotations

from typing import Any

from slipway.laptop.deploy.survey import UNFINISHED, Container, Facts
from slipway.laptop.servers.survey import describe_lock


def of(facts: Facts, host: str, project: str) -> dict[str, Any]:
    """Give a server's state as data: what runs, other releases, what is the matter."""
    found = facts.releases(project)
    return {
        "host": host,
        "project": project,
        "matter": matter(facts, project),
        "running": next((_release(each) for each in found if each.name == project), None),
        "releases": [_release(each) for each in found],
        "lock": describe_lock(facts.lock) if facts.lock else None,
        "log": facts.log,
    }


def _release(each: Container) -> dict[str, Any]:
    return {
        "release": each.label("release"),
        "container": each.name,
        "digest": each.label("digest"),
        "revision": each.label("revision"),
        "health": each.health,
        "since": each.since or None,
        "restarts": each.restarts,
        "by": each.label("by"),
        "at": each.label("at"),
    }


def matter(facts: Facts, project: str) -> str:
    """Say what is the matter with a server and what to do, or nothing when all is well."""
    runs = facts.container(project)
    if facts.lock_is_alive:
        return f"a deploy is at work: {describe_lock(facts.lock)}"
    left = [word for word in UNFINISHED if facts.container(f"{project}-{word}")]
    if left or facts.lock:
        return "a deploy was cut off: make deploy or make rollback puts it in order"
    if runs is None:
        return f"no release of {project} runs here: run make deploy"
    if runs.label("project") != project:
        return f"a container named {project} is here that no deploy made: rename it"
    if not runs.is_well:
        return f"the release is {runs.health}: make logs shows why, make rollback puts back"
    if runs.policy == "no":
        return "a reboot would not bring the release back: run make deploy"
    return ""


def status(found: dict[str, Any]) -> list[str]:
    """Say a server's state to a person."""
    lines = []
    for each in found["releases"]:
        lines.append(f"{each['container']}: {each['health']}")
        since = f"since {each['since']}, " if each["since"] else ""
        restarts = f", restarted {each['restarts']} times" if each["restarts"] else ""
        lines += [
            f"    release   {each['release']}, commit {each['revision'][:12] or 'unknown'}",
            f"    digest    {each['digest']}",
            f"    deployed  {each['at']} by {each['by']}",
            *([f"    healthy   {since.rstrip(', ')}{restarts}"] if since else []),
        ]
    if found["log"]:
        lines += ["the last deploys:", *(f"    {line}" for line in found["log"][-5:])]
    return lines


def releases(found: dict[str, Any]) -> list[str]:
    """List the releases that a rollback can go to, in a table."""
    rows = [("RELEASE", "COMMIT", "DEPLOYED", "BY", "IS")]
    project = found["project"]
    for each in found["releases"]:
        word = each["container"][len(project) + 1 :]
        if word in UNFINISHED:
            continue
        names = {"": f"running, {each['health']}", "previous": "previous", "failed": "failed"}
        rows.append(
            (
                each["release"],
                each["revision"][:12],
                each["at"],
                each["by"],
                names.get(word, "kept"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
