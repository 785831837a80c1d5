"""Remove an engine's rules and chains from the firewall.

dockerd removes neither when it stops. The chains have the same names for every engine. The rules of
the testbed's engine are recognized by its bridges and its address range.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import chain

from testbed.console import run, succeeds
from testbed.network import range_of

ENGINE_CHAIN = re.compile(r"DOCKER(-.*)?$")
FAMILIES = ("iptables", "ip6tables")


@dataclass(frozen=True)
class Rule:
    """A line `-A CHAIN …` of iptables-save."""

    table: str
    chain: str
    words: tuple[str, ...]

    def value(self, *options: str) -> str | None:
        """Return the value of the first of these options that the rule has."""
        for option, value in zip(self.words, self.words[1:], strict=False):
            if option in options:
                return value
        return None


def policies() -> dict[str, str]:
    """Return the policy of each family for forwarded packets without a rule."""
    found = {}
    for family in FAMILIES:
        if succeeds([family, "-S", "FORWARD"]):
            first = run("network", [family, "-S", "FORWARD"]).splitlines()[0]
            found[family] = first.split()[-1]
    return found


def set_policies(wanted: Mapping[str, str]) -> None:
    """Restore the policies that `policies` returned."""
    for family, policy in wanted.items():
        run("network", [family, "-P", "FORWARD", policy])


def remove(bridges: Collection[str], network: IPv4Network) -> bool:
    """Remove an engine's rules; also the chains, if no other engine uses them.

    Return whether there is no other engine.
    """
    alone = True
    for family in FAMILIES:
        if not succeeds([family, "-S", "FORWARD"]):
            continue
        saved = run("network", [f"{family}-save"])
        alone = alone and not _is_shared(saved, bridges, network)
        for words in removals(saved, bridges, network):
            run("network", [family, *words])
    return alone


def rules_in(saved: str) -> Iterator[Rule]:
    """Return the rules in the output of iptables-save."""
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith("-A "):
            _, name, *words = shlex.split(line)
            yield Rule(table, name, tuple(words))


def removals(saved: str, bridges: Collection[str], network: IPv4Network) -> list[list[str]]:
    """Return the arguments of iptables that remove the rules of the engine with these addresses.

    The chains are removed as well if no other engine has a bridge, and nobody else added a rule.
    """
    rules = list(rules_in(saved))
    ours = [rule for rule in rules if _is_ours(rule, bridges, network)]
    commands = [["-t", rule.table, "-D", rule.chain, *rule.words] for rule in ours]
    rest = [rule for rule in rules if rule not in ours]
    if _is_shared(saved, bridges, network):
        return commands
    jumps = [rule for rule in rest if ENGINE_CHAIN.match(rule.value("-j", "-g") or "")]
    commands += [["-t", rule.table, "-D", rule.chain, *rule.words] for rule in jumps]
    chains = [(table, name) for table, name in _chains_in(saved) if ENGINE_CHAIN.match(name)]
    return commands + list(
        chain.from_iterable(
            (["-t", table, "-F", name], ["-t", table, "-X", name]) for table, name in chains
        )
    )


def _is_shared(saved: str, bridges: Collection[str], network: IPv4Network) -> bool:
    rest = (rule for rule in rules_in(saved) if not _is_ours(rule, bridges, network))
    return any(_is_an_engine(rule) for rule in rest)


def _is_ours(rule: Rule, bridges: Collection[str], network: IPv4Network) -> bool:
    if rule.value("-i") in bridges or rule.value("-o") in bridges:
        return True
    addresses = (range_of(rule.value(option) or "") for option in ("-s", "-d"))
    return any(each and each.subnet_of(network) for each in addresses)


def _is_an_engine(rule: Rule) -> bool:
    """Return whether a rule shows that an engine with another bridge uses the chains."""
    named = rule.value("-i", "-o") is not None
    target = rule.value("-j", "-g") or ""
    if ENGINE_CHAIN.match(rule.chain):
        own = rule.chain == "DOCKER-USER" and target == "RETURN"
        return named or not (own or target in ("RETURN", "DROP"))
    return named and bool(ENGINE_CHAIN.match(target))


def _chains_in(saved: str) -> Iterator[tuple[str, str]]:
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            yield table, line[1:].split()[0]
