"""The certificates that this machine trusts in addition to the usual ones.

Behind a proxy that inspects TLS, containers need them too. A user copies such certificates into the
generated project.
"""

from __future__ import annotations

import shutil
from pathlib import Path

LOCAL = Path("/usr/local/share/ca-certificates")


def extra_certificates(folder: Path = LOCAL) -> list[Path]:
    """Return the certificates that an administrator has added, in a stable order."""
    return sorted(folder.rglob("*.crt"))


def copy_certificates(place: Path) -> None:
    """Copy these certificates to an existing folder."""
    for certificate in extra_certificates():
        shutil.copy(certificate, place)
