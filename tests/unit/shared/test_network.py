"""The user's own network: certificates and package indexes."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.shared import network
from tests.unit.conftest import DEPLOY

# Made by `openssl req -x509 -newkey ec -nodes -subj "/CN=Inspecting proxy"`; its key is nowhere.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBjjCCATOgAwIBAgIUNd7pdJXn8xVMZcNJkP6/2j6/GeowCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQSW5zcGVjdGluZyBwcm94eTAgFw0yNjExMjMxMDI5MzBaGA8y
MTI2MTAzMDEwMjkzMFowGzEZMBcGA1UEAwwQSW5zcGVjdGluZyBwcm94eTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABNasnpmR4S4BuGauIjuM7TOJVXO5LHg2Z6nk
7L2dfmvaq178IZpyx1yajc7ksyQ9HMpl+9yTjyMvOLwmBwhgRKSjUzBRMB0GA1Ud
DgQWBBSSX5owAMdWKQEtZ+pxIxVF3eRltjAfBgNVHSMEGDAWgBSSX5owAMdWKQEt
Z+pxIxVF3eRltjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQDu
gRDFqJtw74oZii+dgiHbkhtLY687AykqIuimB+9FgQIhAMv7GyM5V4Y35iogdrsz
meOZ/jOOzMiShgnz+6yXqxxx
-----END CERTIFICATE-----
"""


def trusted(bundle: str) -> list[str]:
    """Return the common names of the certificates in a bundle, according to OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    certificates: list[Any] = context.get_ca_certs()
    subjects = [dict(pair[0] for pair in each["subject"]) for each in certificates]
    return [subject.get("commonName", "") for subject in subjects]


def run_in(ca: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command by `network.py CA_FOLDER COMMAND…`."""
    return subprocess.run(
        [sys.executable, str(DEPLOY / "slipway" / "shared" / "network.py"), str(ca), *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "data",
    [
        CERTIFICATE.encode(),
        CERTIFICATE.strip().encode(),
        CERTIFICATE.replace("\n", "\r\n").encode(),
        b"Subject: CN=Soci\xe9t\xe9\n" + CERTIFICATE.encode(),
    ],
    ids=["plain", "no last newline", "Windows lines", "words around it"],
)
def test_extra_certificates_are_trusted_beside_the_usual_ones(tmp_path: Path, data: bytes) -> None:
    """The bundle has both, whatever text surrounds a certificate."""
    ca = tmp_path / "ca"
    ca.mkdir()
    (ca / "proxy.crt").write_bytes(data)
    usual = tmp_path / "usual.pem"
    usual.write_text(CERTIFICATE.replace("meOZ/jOOzMiShgnz+6yXqxxx", "meOZ/jOOzMiShgnz+6yXqxxw"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(usual))
        added = network.trusting(ca, tmp_path)
    assert set(added) == set(network.BUNDLE_VARIABLES)
    (bundle,) = set(added.values())
    assert trusted(bundle) == ["Inspecting proxy", "Inspecting proxy"]


def test_the_usual_certificates_are_those_of_the_system(tmp_path: Path) -> None:
    """An additional certificate does not remove others."""
    (tmp_path / "proxy.crt").write_text(CERTIFICATE)
    bundle = network.trusting(tmp_path, tmp_path)["SSL_CERT_FILE"]
    usual = network.usual_bundle().count("BEGIN CERTIFICATE")
    assert Path(bundle).read_text().count("BEGIN CERTIFICATE") == usual + 1
    assert usual > 10


def test_a_command_sees_the_bundle_while_it_runs(tmp_path: Path) -> None:
    """The variables name a temporary file; the command's exit status is returned."""
    (tmp_path / "proxy.crt").write_text(CERTIFICATE)
    show = 'test -s "$GIT_SSL_CAINFO" && echo "$GIT_SSL_CAINFO" "$PIP_CERT" && exit 7'
    done = run_in(tmp_path, "sh", "-c", show)
    assert done.returncode == 7
    one, other = done.stdout.split()
    assert one == other
    assert not os.path.exists(one)


@pytest.mark.parametrize("name", ["README.md", "proxy.pem"])
def test_without_extra_certificates_nothing_changes(tmp_path: Path, name: str) -> None:
    """Only *.crt files count; the user's own variables are kept."""
    (tmp_path / name).write_text(CERTIFICATE)
    done = run_in(tmp_path, "sh", "-c", "echo $PIP_CERT", PIP_CERT="/mine")
    assert (done.returncode, done.stdout) == (0, "/mine\n")
    assert network.trusting(tmp_path / "nowhere", tmp_path) == {}


def test_a_certificate_in_another_form_is_refused_in_words(tmp_path: Path) -> None:
    """Browsers and Windows save DER; the message names the file and the command to convert it."""
    (tmp_path / "proxy.crt").write_bytes(ssl.PEM_cert_to_DER_cert(CERTIFICATE))
    done = run_in(tmp_path, "sh", "-c", "echo was run")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "slipway: proxy.crt in deploy/ca is not a PEM certificate:"
        " convert it with `openssl x509 -inform der`\n"
    )


INDEXES = {
    "PIP_INDEX_URL": "https://me:p%40ss#word@index.example/simple",
    "PIP_EXTRA_INDEX_URL": "https://one.example/simple https://two.example/simple",
    "PIP_TRUSTED_HOST": "index.example one.example",
    "PIP_DEFAULT_TIMEOUT": "30",
    "PIP_RETRIES": "1",
    "PIP_PROXY": "http://proxy.example:3128",
}


def test_pip_reads_from_the_file_what_the_environment_said(tmp_path: Path) -> None:
    """Builds mount the file; pip reads the same settings from it."""
    environment = {**os.environ, **INDEXES, "PIP_CERT": "/here/only", "PIP_FIND_LINKS": "/here"}
    text = network.pip_conf(environment)
    (tmp_path / "pip.conf").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    said = subprocess.check_output(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**clean, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path)},
        text=True,
    )
    found = dict(line.split("=", 1) for line in said.splitlines() if line.startswith("global."))
    seen = {
        "PIP_" + name[len("global.") :].upper().replace("-", "_"): " ".join(
            value.strip("'").replace("\\n", " ").split()
        )
        for name, value in found.items()
    }
    # this machine may have a pip.conf of its own
    assert seen == {**seen, **INDEXES, "PIP_DISABLE_PIP_VERSION_CHECK": "true"}
    assert "/here" not in text


def test_every_setting_of_pip_that_the_builder_gets_is_in_the_file() -> None:
    """The builder image and its containers use the same settings."""
    text = network.pip_conf(dict.fromkeys(network.PIP_SETTINGS, "x"))
    assert text.count("=\n    x\n") == len(network.PIP_SETTINGS) == len(INDEXES)
    assert {*network.PIP_SETTINGS} == {*INDEXES}


def test_who_wants_only_the_names_waits_for_no_cryptography() -> None:
    """Each command reads the settings, which need only the names of the variables."""
    script = "from slipway.laptop.settings import load; raise SystemExit('ssl' in sys.modules)"
    command = [sys.executable, "-c", f"import sys; {script}"]
    assert subprocess.run(command, cwd=DEPLOY).returncode == 0


def test_without_an_index_of_ones_own_the_file_names_none() -> None:
    """An empty variable does not count."""
    text = network.pip_conf({"PIP_INDEX_URL": "", "PIP_CERT": "/x"})
    assert text == "[global]\ndisable-pip-version-check = true\n"
