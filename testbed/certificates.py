"""The certificates that this machine trusts beyond the usual ones.

Behind an inspecting proxy a container needs them as well; they are what a user there copies into
the generated project.
"""

from __future__ import annotations

import shutil
from pathlib import Path

LOCAL = Path("/usr/local/share/ca-certificates")


def extra_certificates(folder: Path = LOCAL) -> list[Path]:
    """The certificates that an administrator has added, in a stable order."""
    return sorted(folder.rglob("*.crt"))


def copy_certificates(place: Path) -> None:
    """Copy them to a folder that is there."""
    for certificate in extra_certificates():
        shutil.copy(certificate, place)
