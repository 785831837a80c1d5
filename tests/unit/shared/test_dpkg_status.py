"""Reading dpkg's status file."""

from __future__ import annotations

from slipway.shared import dpkg_status

STATUS = """\
Package: libssl3
Status: install ok installed
Version: 3.5.1-1
Architecture: amd64
Depends: libc6,
 debconf (>= 0.5) | debconf-2.0

Package: gone
Status: deinstall ok config-files
Version: 1.0
Architecture: amd64


Package: tzdata
Status: install ok installed
Version: 2025b-4
Description: time zones
 Package: is no field here
"""


def test_only_installed_packages_count() -> None:
    """A removed package that left its configuration is ignored."""
    found = dpkg_status.installed(STATUS)
    assert set(found) == {"libssl3", "tzdata"}
    assert found["libssl3"]["Depends"] == "libc6,\n debconf (>= 0.5) | debconf-2.0"
    assert dpkg_status.versions(STATUS) == {"libssl3": "3.5.1-1", "tzdata": "2025b-4"}


def test_a_status_file_is_split_into_its_packages() -> None:
    """In their order, with their whole text."""
    stanzas = dpkg_status.stanzas_of(STATUS)
    assert [dpkg_status.name_of(stanza) for stanza in stanzas] == ["libssl3", "gone", "tzdata"]
    assert stanzas[1].startswith("Package: gone\n")
    assert stanzas[2].endswith(" Package: is no field here")
    assert dpkg_status.stanzas_of("") == []
    assert dpkg_status.name_of("Status: install ok installed") == ""


def test_relations_are_read_without_versions_and_architectures() -> None:
    """In the notation of Debian's policy, over several lines."""
    assert dpkg_status.alternatives("libc6 (>= 2.38), a | b:any [amd64],\n c") == [
        ["libc6"],
        ["a", "b"],
        ["c"],
    ]
