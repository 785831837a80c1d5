"""Reports of what runs on servers with Docker, for people and as data (FORMAT=json)."""

from __future__ import annotations

import calendar
import time
from typing import Any

from slipway.laptop.deploy.survey import UNFINISHED, Container, Facts
from slipway.laptop.servers.survey import describe_lock


def commit(revision: str) -> str:
    """Return a commit in short; it keeps the mark of files that differed from it."""
    return revision[:12] + "-dirty" * revision.endswith("-dirty")


def local(moment: str) -> str:
    """Return a time of a server, which is UTC, in this machine's time zone."""
    try:
        seconds = calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))
    except (ValueError, OverflowError):
        return moment


def _local_line(line: str) -> str:
    moment, blank, rest = line.partition(" ")
    return local(moment) + blank + rest


def state(facts: Facts, host: str, project: str) -> dict[str, Any]:
    """Return a server's state as data: the running release, other releases, the problem."""
    found = facts.releases(project)
    return {
        "host": host,
        "project": project,
        "problem": problem(facts, project),
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


def problem(facts: Facts, project: str) -> str:
    """Return a server's problem and what to do about it; empty if everything is healthy."""
    runs = facts.container(project)
    if facts.lock_is_alive:
        return f"a deploy is running: {describe_lock(facts.lock)}"
    left = [word for word in UNFINISHED if facts.container(f"{project}-{word}")]
    if left or facts.lock:
        return "a deploy was cut off. Run make deploy or make rollback, which recover first."
    if runs is None:
        return f"no release of {project} runs here. Run make deploy."
    if runs.label("project") != project:
        return f"the container {project} here is not managed by slipway. Rename it."
    if runs.policy == "no" and not runs.running:
        return "the release was stopped. Run make start ON=server, or make deploy."
    if not runs.is_healthy:
        return f"the release is {runs.health}. Run make logs to see why, or make rollback."
    if runs.policy == "no":
        return "the release would not start after a reboot. Run make deploy."
    return ""


def status(found: dict[str, Any]) -> list[str]:
    """Return a server's state for people."""
    lines = []
    for each in found["releases"]:
        lines.append(f"{each['container']}: {each['health']}")
        since = f"since {local(each['since'])}, " if each["since"] else ""
        restarts = f", restarted {each['restarts']} times" if each["restarts"] else ""
        lines += [
            f"    release   {each['release']}, commit {commit(each['revision']) or 'unknown'}",
            f"    digest    {each['digest']}",
            f"    deployed  {local(each['at'])} by {each['by']}",
            *([f"    healthy   {since.rstrip(', ')}{restarts}"] if since else []),
        ]
    if found["log"]:
        lines += ["the last deploys:", *(f"    {_local_line(line)}" for line in found["log"][-5:])]
    return lines


def releases(found: dict[str, Any]) -> list[str]:
    """Return a table of the releases that a rollback can use."""
    rows = [("RELEASE", "COMMIT", "DEPLOYED", "BY", "STATE")]
    project = found["project"]
    for each in found["releases"]:
        word = each["container"][len(project) + 1 :]
        if word in UNFINISHED:
            continue
        names = {"": f"running, {each['health']}", "previous": "previous", "failed": "failed"}
        rows.append(
            (
                each["release"],
                commit(each["revision"]),
                local(each["at"]),
                each["by"],
                names.get(word, "kept"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
