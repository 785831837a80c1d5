"""The same inputs give the same image, byte for byte; what does not is named."""

from __future__ import annotations

import re

from tests.containers.workshop import Workshop


def test_verify_builds_the_same_image_in_another_folder(compiled: Workshop) -> None:
    """From nothing, one package compiled again: the wheels and the image's ID are equal."""
    compiled.make("image")
    image, wheels = compiled.image, compiled.wheels()
    said = compiled.make("verify")
    assert "builder: building markupsafe" in said, "it is compiled again, in spite of the cache"
    assert said.splitlines()[-1] == f"slipway: verify: 3 wheels and {image} came out the same again"
    assert compiled.image == image
    assert compiled.wheels() == wheels
    left = compiled.laptop.docker("image", "ls", "--format", "{{.Repository}}")
    assert f"{compiled.name}-verify" not in left


def test_verify_names_what_is_not_the_same(greeter: Workshop) -> None:
    """A file that no build would give is named; the image that is here stays for a look."""
    greeter.make("image")
    image, docker = greeter.image, greeter.laptop.docker
    script = "echo changed >>/etc/issue && echo new >/usr/lib/planted"
    container = docker(
        *("run", "--detach", "--user", "0", "--entrypoint", "sh", f"{greeter.name}-run"),
        *("-c", script),
    ).strip()
    docker("wait", container)
    changed = docker("commit", container, f"{greeter.name}-run").strip()
    docker("rm", container)
    # as if it had been what the last build made
    greeter.edit(".deploy/state.json", image, changed)
    said = greeter.make_fails("verify").splitlines()
    named = {found[1] for line in said if (found := re.search(r"\bfile (/\S+)", line))}
    assert named - {"/etc", "/usr/lib"} == {"/etc/issue", "/usr/lib/planted"}
    assert greeter.image == changed
    greeter.edit(".deploy/state.json", changed, image)
    greeter.make("image")
    assert greeter.image == image
