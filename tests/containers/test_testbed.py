"""The engine that the harness starts: what a machine's own one would give its containers."""

from __future__ import annotations

from pathlib import Path

from tests.containers.laptop import Shipped


def test_the_gateway_stays_where_it_is_when_containers_come_and_go(shipped: Shipped) -> None:
    """At another address every other container would find no way out for half a minute."""
    name = '{{index .Options "com.docker.network.bridge.name"}}'
    bridge = shipped.laptop.docker("network", "inspect", "bridge", "--format", name).strip()
    address = Path("/sys/class/net", bridge, "address")
    seen = [address.read_text()]
    started = []
    try:
        # each has a random address, of which a bridge without one of its own takes the least
        for _ in range(6):
            run = ("run", "--detach", "--entrypoint", "sleep", shipped.run_image, "60")
            started.append(shipped.laptop.docker(*run).strip())
            seen.append(address.read_text())
    finally:
        shipped.laptop.docker("rm", "--force", *started)
    assert {*seen, address.read_text()} == {seen[0]}
