"""Proxies, package indexes and certificates for every step that uses the network.

`network.py CA_FOLDER COMMAND…` runs a command that trusts the certificates in CA_FOLDER/*.crt in
addition to the usual ones, for users behind an inspecting proxy. `pip_conf` turns the PIP_*
variables of the environment into a pip.conf. Builds mount that file as a secret, so that the
password of a package index does not appear in an image, its history or a process list.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Settings of pip that have the same meaning in a container. PIP_CERT and PIP_FIND_LINKS do not:
# they name files of this machine.
PIP_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_PROXY",
)

# Each tool that a build may start has a variable of its own for the certificates to trust.
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
)

# Those that libraries of an application look at.
RUN_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Where Debian has the certificates that it trusts.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

# What to do when a tool does not trust a certificate.
UNTRUSTED = (
    "a certificate is not trusted: copy that of your inspecting proxy, or of your package index's"
    " authority, into deploy/ca as a .crt file"
)


def pip_conf(environment: Mapping[str, str]) -> str:
    """Return the text of a pip.conf with pip's settings from the environment."""
    lines = ["[global]", "disable-pip-version-check = true"]
    for variable in PIP_SETTINGS:
        value = environment.get(variable, "")
        if value:
            # values are separated by blanks in the environment, and by line ends in the file
            option = variable[len("PIP_") :].lower().replace("_", "-")
            lines.append(f"{option} =\n    " + "\n    ".join(value.split()))
    return "\n".join(lines) + "\n"


def usual_bundle() -> str:
    """Return the certificates that this system trusts; empty if it has none."""
    import ssl  # slow, and most commands of the laptop need only the names above

    paths = ssl.get_default_verify_paths()
    for candidate in (
        os.environ.get("SSL_CERT_FILE"),
        paths.cafile,
        paths.openssl_cafile,
        BUNDLE,
    ):
        if candidate and os.path.isfile(candidate):
            return Path(candidate).read_text(encoding="utf-8", errors="replace")
    try:
        from pip._vendor import certifi  # for a Python without a system bundle, as on macOS
    except ImportError:
        return ""
    return Path(certifi.where()).read_text(encoding="utf-8")


def trusting(folder: Path, scratch: Path) -> dict[str, str]:
    """Return the environment variables that make tools trust a folder's *.crt files as well.

    The bundle is written to `scratch`. Without extra certificates there are no variables.
    """
    extra = sorted(folder.glob("*.crt")) if folder.is_dir() else []
    if not extra:
        return {}
    texts = [usual_bundle()]
    for certificate in extra:
        # the text around a certificate may have any encoding
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
    """Run a command as described at the top, and return its exit status."""
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
