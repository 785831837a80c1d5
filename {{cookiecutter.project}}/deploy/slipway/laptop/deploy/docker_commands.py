"""The docker commands that server/docker/deploy.sh runs on a server, for DRY_RUN=1.

A test compares them with those of the script itself. Commands that only ask are left out.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from slipway.laptop.deploy.plan import Plan
from slipway.laptop.deploy.survey import Container, Facts
from slipway.laptop.servers.survey import lock_entry_name


class Step(NamedTuple):
    """A step on a server: the words after `docker`, or another command as a shell reads it."""

    words: tuple[str, ...] = ()
    other: str = ""
    note: str = ""

    def remote(self, docker: str) -> str:
        """Return the command line for the server's shell."""
        return self.other or shlex.join([*shlex.split(docker), *self.words])


@dataclass(frozen=True)
class Known:
    """A container of the project, as the script sees it."""

    release: str
    running: bool
    policy: str
    ends: bool
    overlaps: bool
    age: int  # its place in Docker's list, which begins with the newest


def _known(each: Container, age: int) -> Known:
    ends, overlaps = bool(each.label("ends")), bool(each.label("overlaps"))
    return Known(each.label("release"), each.running, each.policy, ends, overlaps, age)


class Script:
    """The steps of a job on one server; each method does what its namesake in the script does."""

    def __init__(self, facts: Facts, project: str) -> None:
        self.facts = facts
        self.project = project
        self.steps: list[Step] = []
        self.there = {
            each.name: _known(each, age)
            for age, each in enumerate(facts.containers)
            if each.label("project") == project
        }

    def docker(self, *words: str, note: str = "") -> None:
        """Add a docker command."""
        self.steps.append(Step(words, note=note))

    def create(self, name: str, plan: Plan, by: str, at: str) -> None:
        """Create a container of the new release."""
        wanted = plan.wanted
        labels = {
            "project": self.project,
            "digest": wanted.digest,
            "release": wanted.release,
            "options": wanted.options_sum,
            "revision": wanted.revision,
            "by": by,
            "at": at,
        }
        words = ["create", "--name", name, "--restart=no", *shlex.split(plan.early)]
        for key, value in labels.items():
            words += ["--label", f"slipway.{key}={value}"]
        environment = f".slipway/{self.project}/env-{wanted.options_sum}"
        is_candidate = name == f"{self.project}-try"
        if is_candidate and wanted.hidden:
            hidden = f"sed -E '/^({'|'.join(wanted.hidden)})=/d' {environment} >{environment}-try"
            self.steps.append(Step(other=hidden, note="without what others find it by"))
            environment += "-try"
        words += ["--env-file", environment]
        words += shlex.split(wanted.candidate_options if is_candidate else wanted.options)
        words += [] if is_candidate else shlex.split(wanted.published)
        ends = "slipway.ends=yes" in shlex.split(wanted.options)
        self.docker(*words, f"{self.project}-run:{wanted.release}")
        self.there[name] = Known(wanted.release, False, "no", ends, wanted.overlaps, age=-1)

    def start(self, name: str) -> None:
        """Start a container."""
        self.docker("start", name)
        self.there[name] = replace(self.there[name], running=True)

    def stop(self, name: str) -> None:
        """Stop a container."""
        self.docker("stop", name)
        self.there[name] = replace(self.there[name], running=False)

    def policy(self, policy: str, name: str) -> None:
        """Change a container's restart policy."""
        self.docker("update", f"--restart={policy}", name)
        self.there[name] = replace(self.there[name], policy=policy)

    def rename(self, name: str, new: str) -> None:
        """Rename a container."""
        self.docker("rename", name, new)
        self.there[new] = self.there.pop(name)

    def remove(self, name: str) -> None:
        """Remove a container, if it exists."""
        if self.there.pop(name, None):
            self.docker("rm", "--force", "--volumes", name)

    def dismiss(self, name: str) -> None:
        """End and remove a candidate, if it exists."""
        if self.there.pop(name, None):
            self.docker("stop", name)
            self.docker("rm", "--volumes", name)

    def wait_healthy(self, name: str, options: Sequence[str], steady: int) -> None:
        """Wait until a container is healthy."""
        docker = self.facts.docker
        if self.there[name].ends:
            self.docker("wait", name, note="a one-off job must exit with status 0")
        elif "--no-healthcheck" in options:
            self.steps.append(Step(other=f"sleep {steady}", note=f"{name} must keep running"))
        else:
            health = f"{docker} inspect --format '{{{{.State.Health.Status}}}}' {name}"
            until = f'until [ "$({health})" = healthy ]; do sleep 1; done'
            note = f"{name} must become healthy" + f" and stay so for {steady} s" * bool(steady)
            self.steps.append(Step(other=until, note=note))

    def _final_policy(self, name: str) -> str:
        return "on-failure:3" if self.there[name].ends else "always"

    def finish(self, name: str) -> None:
        """Make a healthy container the running release."""
        project = self.project
        self.policy(self._final_policy(name), name)
        if project in self.there:
            self.policy("no", project)
            if self.there[project].running:
                self.stop(project)
            if f"{project}-previous" in self.there:
                kept = self._kept_name(f"{project}-previous")
                self.remove(kept)
                self.rename(f"{project}-previous", kept)
            self.rename(project, f"{project}-previous")
        self.rename(name, project)

    def _kept_name(self, name: str) -> str:
        return f"{self.project}-{self.there[name].release or 'old'}"

    def park(self, name: str) -> None:
        """Put a container aside that is not to run."""
        project = self.project
        self.policy("no", name)
        self.stop(name)
        if name != f"{project}-back":
            self.remove(f"{project}-failed")
            self.rename(name, f"{project}-failed")
        elif f"{project}-previous" in self.there:
            self.rename(name, self._kept_name(name))
        else:
            self.rename(name, f"{project}-previous")

    def recover(self) -> None:
        """Put in order what a deploy that was cut off has left."""
        project = self.project
        for new in (f"{project}-next", f"{project}-back"):
            if new not in self.there:
                continue
            if self.there[new].policy == "no":
                self.park(new)
                continue
            if project in self.there:
                self.policy("no", project)
                self.stop(project)
            if not self.there[new].running:
                self.start(new)
            self.finish(new)
        if project not in self.there and f"{project}-previous" in self.there:
            self.rename(f"{project}-previous", project)
        if project in self.there:
            self.policy(self._final_policy(project), project)
            if not self.there[project].ends:
                self.start(project)
        self.dismiss(f"{project}-try")

    @property
    def is_in_order(self) -> bool:
        """Whether no deploy was cut off."""
        if any(f"{self.project}-{word}" in self.there for word in ("next", "back", "try")):
            return False
        runs = self.there.get(self.project)
        return runs is not None and runs.policy == "always" and runs.running

    def switch(self, name: str, options: Sequence[str], steady: int) -> None:
        """Run a container in place of the running release."""
        if self.project in self.there and not self.there[name].overlaps:
            self.stop(self.project)
        self.start(name)
        self.wait_healthy(name, options, steady)
        self.finish(name)

    def tidy(self, keep: int) -> None:
        """Remove the releases beyond the number to keep."""
        own = [f"{self.project}{word}" for word in ("", "-previous", "-failed", "-try")]
        kept = sorted(set(self.there) - set(own), key=lambda name: self.there[name].age)
        old = kept[max(keep - 2, 0) :]
        if old:
            self.docker("rm", "--force", "--volumes", *old)
        note = f"then it removes images of {self.project}-run that no release uses any more"
        self.steps.append(Step(note=note))


def deploy(plan: Plan, reference: str, *, by: str, at: str, steady: int, keep: int) -> list[Step]:
    """Return the steps of a deploy of an image that the server has by a reference."""
    wanted, script = plan.wanted, Script(plan.facts, plan.wanted.project)
    project, options = wanted.project, shlex.split(wanted.options)
    image = f"{project}-run:{wanted.release}"
    if not script.is_in_order:
        script.recover()
    script.docker("tag", reference, image)
    if wanted.volumes:
        mounts = [f"--volume={volume}" for volume in wanted.volumes.split()]
        places = " ".join(volume.partition(":")[2] for volume in wanted.volumes.split())
        helper = ["run", "--rm", "--network", "none", "--user", "0:0", "--entrypoint", "/bin/sh"]
        user = f"$({plan.facts.docker} image inspect --format '{{{{.Config.User}}}}' {image})"
        words = shlex.join([*shlex.split(plan.facts.docker), *helper, *mounts, image, "-c"])
        note = "only for volumes that do not exist yet: they get the image's user as their owner"
        script.steps.append(Step(other=f'{words} "chown -hR {user} {places}"', note=note))
    beside = wanted.candidate and project in script.there
    if beside:
        script.create(f"{project}-try", plan, by, at)
        script.start(f"{project}-try")
    script.create(f"{project}-next", plan, by, at)
    if beside:
        script.wait_healthy(f"{project}-try", options, steady)
    script.switch(f"{project}-next", options, 0 if beside else steady)
    if beside:
        script.stop(f"{project}-try")
    script.remove(f"{project}-failed")
    script.tidy(keep)
    if beside:
        script.docker("rm", "--volumes", f"{project}-try")
    return script.steps


def rollback(facts: Facts, project: str, release: str, *, keep: int) -> list[Step]:
    """Return the steps of a rollback to a kept release, or to the previous one."""
    script = Script(facts, project)
    if not script.is_in_order:
        script.recover()
    runs = script.there.get(project)
    if release and runs and runs.release.startswith(release):
        return [*script.steps, Step(note=f"nothing to do: {runs.release} runs")]
    others = (project, f"{project}-try", f"{project}-volumes")
    found = [
        name
        for name, each in script.there.items()
        if name not in others and each.release.startswith(release)
    ]
    target = (found or [""])[0] if release else f"{project}-previous"
    if target not in script.there:
        wanted = f"release {release}" if release else "previous release"
        return [*script.steps, Step(note=f"it fails: no {wanted} is kept there")]
    script.rename(target, f"{project}-back")
    script.switch(f"{project}-back", (), 0)
    script.tidy(keep)
    return script.steps


def change(facts: Facts, project: str, command: str) -> list[Step]:
    """Return the steps of start, stop, restart or remove."""
    script = Script(facts, project)
    if command in ("stop", "remove"):
        for name in (project, *(f"{project}-{word}" for word in ("next", "back", "try"))):
            if name in script.there:
                script.policy("no", name)
                script.stop(name)
        if command == "remove":
            if script.there:
                newest_first = sorted(script.there, key=lambda name: script.there[name].age)
                script.docker("rm", "--volumes", *newest_first)
            images = f"it removes the images of {project}-run, and ~/.slipway/{project}"
            script.steps.append(Step(note=f"then {images}; volumes stay"))
        return script.steps
    if not script.is_in_order:
        script.recover()
    if command == "restart" and project in script.there:
        script.stop(project)
        script.start(project)
    return script.steps or [Step(note="nothing to do")]


def unlock(facts: Facts, project: str) -> list[Step]:
    """Return the steps that end a running deploy and recover."""
    script = Script(facts, project)
    if facts.lock_is_alive:
        process = facts.lock.partition(" ")[0]
        note = "the deploy puts its containers in order when it ends"
        script.steps.append(Step(other=f"kill {process}", note=note))
    if facts.lock:
        volume = f"slipway-lock.{project}.{lock_entry_name(facts.lock)}"
        script.docker("volume", "rm", volume)
    if not script.is_in_order:
        script.recover()
    return script.steps or [Step(note="nothing to do: no deploy holds the lock")]
