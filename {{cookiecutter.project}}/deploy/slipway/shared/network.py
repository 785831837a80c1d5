#!/usr/bin/env python3
"""What a step that talks to the network needs to know of your network.

`network.py CA_FOLDER COMMAND…` runs a command that trusts the certificates in CA_FOLDER/*.crt
beside the usual ones (for people behind an inspecting proxy). pip_conf writes the PIP_* variables
of the environment as a pip.conf, which a build mounts as a secret, so that an index's password
lands in no image, history or process list.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Settings of pip that mean the same inside a container; PIP_CERT or PIP_FIND_LINKS name files here.
PIP_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_PROXY",
)

# Each tool that a wheel's build may start has its own name for "trust these".
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
)


def pip_conf(environment: Mapping[str, str]) -> str:
    """Write pip's own settings from the environment as the text of a pip.conf."""
    lines = ["[global]", "disable-pip-version-check = true"]
    for variable in PIP_SETTINGS:
        value = environment.get(variable, "")
        if value:
            # several values are separated by blanks in the environment, by lines in a file
            option = variable[len("PIP_") :].lower().replace("_", "-")
            lines.append(f"{option} =\n    " + "\n    ".join(value.split()))
    return "\n".join(lines) + "\n"


def usual_bundle() -> str:
    """Read the certificates that this system trusts already; empty when it has none."""
    import ssl  # slow, and the laptop's scripts want the names above alone

    paths = ssl.get_default_verify_paths()
    for candidate in (
        os.environ.get("SSL_CERT_FILE"),
        paths.cafile,
        paths.openssl_cafile,
        "/etc/ssl/certs/ca-certificates.crt",
    ):
        if candidate and os.path.isfile(candidate):
            return Path(candidate).read_text(encoding="utf-8", errors="replace")
    try:
        from pip._vendor import certifi  # a Python without a system bundle, as on macOS
    except ImportError:
        return ""
    return Path(certifi.where()).read_text(encoding="utf-8")


def trusting(folder: Path, scratch: Path) -> dict[str, str]:
    """Give the environment variables that make tools trust folder's *.crt files as well.

    The bundle is written to scratch; nothing is changed when there are no extra certificates.
    """
    extra = sorted(folder.glob("*.crt")) if folder.is_dir() else []
    if not extra:
        return {}
    texts = [usual_bundle()]
    for certificate in extra:
        # whatever stands around the certificate may be in any encoding
        texts.append(certificate.read_text(encoding="utf-8", errors="replace"))
        if "-----BEGIN CERTIFICATE-----" not in texts[-1]:
            raise ValueError(
                f"{certificate.name} in deploy/ca is not a PEM certificate:"
                " convert it with `openssl x509 -inform der`"
            )
    bundle = scratch / "ca-bundle.pem"
    bundle.write_text("\n".join(text.rstrip() for text in texts if text) + "\n", encoding="utf-8")
    return dict.fromkeys(BUNDLE_VARIABLES, str(bundle))


def main(arguments: list[str]) -> int:
    """Run as the module's docstring says; gives the command's exit status."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        try:
            added = trusting(Path(arguments[0]), Path(scratch))
        except ValueError as problem:
            print(f"slipway: {problem}", file=sys.stderr)
            return 1
        return subprocess.call(arguments[1:], env={**os.environ, **added})


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
