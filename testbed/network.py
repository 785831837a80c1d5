"""Address ranges, interface names, ports and packet sizes that suit this machine's network.

An engine must not use the addresses of another engine on this machine, or of a company network.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from testbed.console import HarnessError, run

CANDIDATES = [
    *(f"10.{second}.0.0/16" for second in range(210, 250)),
    *(f"172.{second}.0.0/16" for second in range(20, 32)),
]


def free_ranges(taken: Iterable[IPv4Network], count: int) -> list[IPv4Network]:
    """Return the first private ranges that do not overlap a taken one.

    Raises HarnessError if there are too few.
    """
    used = list(taken)
    free = [
        candidate
        for candidate in map(IPv4Network, CANDIDATES)
        if not any(candidate.overlaps(other) for other in used)
    ]
    if len(free) < count:
        raise HarnessError(
            "network: this machine uses all private address ranges: remove a route or a network"
        )
    return free[:count]


def taken_ranges() -> list[IPv4Network]:
    """Return the ranges of this machine's addresses, routes and name servers."""
    texts: list[str] = re.findall(
        r"^nameserver\s+([0-9.]+)\s*$", _read("/etc/resolv.conf"), re.MULTILINE
    )
    if shutil.which("ip"):
        for address in _ip("-4", "address"):
            texts += [f"{each['local']}/{each['prefixlen']}" for each in address["addr_info"]]
        texts += [
            each["dst"]
            for each in _ip("-4", "route", "show", "table", "all")
            if each["dst"] != "default"
        ]
    return [network for text in texts if (network := range_of(text))]


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def mtu() -> int:
    """Return the size of the largest packet on the default route, the limit for containers."""
    sizes = {each["ifname"]: int(each["mtu"]) for each in _ip("link")}
    out = [each.get("dev") for each in _ip("-4", "route", "show", "default")]
    return min([1500, *(sizes[name] for name in out if name in sizes)])


def bridge_name() -> str:
    """Return an unused name for a bridge."""
    used = {each["ifname"] for each in _ip("link")}
    return next(name for number in range(1000) if (name := f"slipway{number}") not in used)


def bridges_in(network: IPv4Network) -> list[str]:
    """Return the interfaces with an address in a range."""
    return [
        address["ifname"]
        for address in _ip("-4", "address")
        if any(
            (each := range_of(info["local"])) and each.subnet_of(network)
            for info in address["addr_info"]
        )
    ]


def range_of(text: str) -> IPv4Network | None:
    """Return an address or range in the notation of iptables and ip; None for other texts."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def _ip(*words: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run("network", ["ip", "-json", *words]) or "[]")
    return answer


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
