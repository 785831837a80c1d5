"""Check the answers, and report all problems in one message.

cookiecutter renders this file and runs it from a temporary directory, so it can import nothing
of the template; the tests import it as it stands.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import json
import keyword
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Where files are generated, besides the top.
PLACES = ("deploy", "src", "tests")
# The sample applications, until post_gen_project.py moves the chosen one into place.
APPS = Path("slipway-apps")

# What the samples are locked to, by import and by distribution name: a project cannot have the
# name of its own dependency, and its package must not hide one.
LOCKED = """anyio attr attrs automat cffi click constantly cryptography exceptiongroup h11 hyperlink
idna incremental klein markupsafe multipart openssl packaging pip pkg_resources psycopg pyasn1
pyasn1_modules pycparser pymysql pyopenssl service_identity setuptools six starlette treq tubes
twisted typing_extensions uvicorn werkzeug wheel zope zope_interface""".split()
# Modules that PyPy provides, modules that Python runs at its start, and the sample's own folder.
TAKEN = "greenlet hpy sitecustomize tests usercustomize".split()
# Console scripts of those packages, which installing the sample would overwrite.
SCRIPTS = """automat-visualize cffi-gen-src cftp ckeygen conch idna incremental mailmail
pyhtmlizer tkconch trial twist twistd uvicorn wheel""".split()
INTERPRETER = r"(python|pypy|pip|activate)[0-9.]*(\.[a-z0-9]+)?"
WINDOWS_DEVICES = r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?"

NAME = r"[a-z0-9]+([._-][a-z0-9]+)*"
ARGUMENT = r"[A-Za-z0-9_./:=@%+,-]"
# quoted as a shell reads it, with nothing that it would expand
QUOTED = r"""'[^'\\\x00-\x1f]*'|"[^"\\$`\x00-\x1f]*\""""
PLAIN = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
IMAGE = (
    r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)


def project(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check the name of a directory, a distribution, an image and, with app=hello, a package."""
    # Docker accepts no container name of one letter.
    if not re.fullmatch(NAME, answer) or not 2 <= len(answer) <= 60:
        slug = re.sub(r"[^a-z0-9]+", "-", answer.lower()).strip("-")[:60].strip("-")
        yield (
            f"{answer!r} cannot name a directory, a distribution and an image: type 2 to 60"
            " lowercase letters and digits with single . _ or - between them,"
            f" such as {slug if len(slug) > 1 else 'deployme'}"
        )
        return
    if re.fullmatch(WINDOWS_DEVICES, answer):
        yield f"{answer!r} is a device on Windows: type another name, such as {answer[:3]}-app"
        return
    package = re.sub(r"[.-]", "_", answer)
    if answers["app"] != "existing" and package in LOCKED:
        yield f"the sample requires a package called {answer!r}: type another, such as my-{answer}"
    elif answers["app"] != "hello":
        return  # only hello has a package of the project's name
    elif not package.isidentifier() or keyword.iskeyword(package):
        yield (
            f"the sample's package cannot be called {package!r} in Python: type a name that starts"
            f" with a letter and is not a keyword, such as app-{answer}"
        )
    elif package in {*TAKEN, *sys.stdlib_module_names}:
        yield f"{package!r} would hide a module of that name: type another, such as my-{answer}"


def deploy(answers: Mapping[str, Any]) -> Path | None:
    """Return the template's deploy folder, or None if its place is unknown.

    cookiecutter passes the template's path, as given on the command line; cruft does not. For
    cruft, post_gen_project.py repeats the check in the generated project.
    """
    template = Path(answers.get("_output_dir", ""), answers.get("_repo_dir", "nowhere"))
    return next((path.parent for path in template.glob("*cookiecutter*/deploy/slipway")), None)


def catalogue(answers: Mapping[str, Any]) -> Any:
    """Return the catalogue of C libraries, or None if the template's place is unknown."""
    folder = deploy(answers)
    file = folder and folder / "slipway" / "shared" / "native" / "catalogue.py"
    spec = file and importlib.util.spec_from_file_location("native", file)
    if not (spec and spec.loader):
        return None
    module = sys.modules["native"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.catalogue()


def native_deps(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check names of C libraries, and of Debian packages."""
    known = catalogue(answers)
    for name in answer.split() if known else ():
        if known.find(name) or re.fullmatch(r"(apt|build):[a-z0-9][a-z0-9+.-]+", name):
            continue
        near = known.nearest(name)
        instead = ", ".join([*near, "or apt:NAME for the Debian package NAME"]).removeprefix("or ")
        yield f"no known C library is called {name!r}: type {instead}"


def python(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check that the packages named in native_deps work on the interpreter."""
    folder = deploy(answers)
    sample = answers["app"] != "existing"
    if not (answer == "PyPy" or (answer == "default" and sample)) or folder is None:
        return
    lines = (
        (folder / "slipway/shared/native/not_on_pypy.ini").read_text(encoding="utf-8").splitlines()
    )
    instead = dict(re.findall(r"^([a-z0-9.-]+) = *(.*)$", "\n".join(lines), re.M))
    for name in answers["native_deps"].lower().split():
        if name in instead:
            other = f"CPython, or in native_deps the library that {instead[name]} needs"
            yield f"{name} does not work on PyPy: type {other if instead[name] else 'CPython'}"


def command(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check a console script and its arguments, quoted as for a shell that does not run."""
    if not answer.strip() and answers["app"] == "existing":
        return  # make adopt finds the command
    strange = sorted(set(re.sub(rf"{QUOTED}|{ARGUMENT}| ", "", answer)))
    script, _, arguments = answer.partition(" ")
    if strange:
        yield (
            f"no shell reads it, so it cannot have {' '.join(map(ascii, strange))}: type a console"
            " script and its arguments, such as run-the-app, or sh -c '…'"
        )
    elif not re.fullmatch(PLAIN, script):
        yield (f"{script!r} is not a console script: type a bare name, such as run-the-app")
    elif answers["app"] != "existing" and arguments:
        yield f"this names the sample's console script: type one word, such as {script}"
    elif answers["app"] != "existing" and (script in SCRIPTS or re.fullmatch(INTERPRETER, script)):
        yield f"{script!r} would overwrite a program's script: type another, such as run-the-app"


def port(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check a port number."""
    if not re.fullmatch(r"[1-9][0-9]{0,4}", answer) or int(answer) > 65535:
        yield f"{answer!r} is not a port: type a whole number from 1 to 65535, such as 8081"


def base_image(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check that an image names its release, so that builds can be repeated."""
    match = re.fullmatch(IMAGE, answer)
    if not match or len(answer) > 255:
        yield f"{answer!r} is not an image: type a name and a release, such as debian:trixie-slim"
    elif match["tag"] in (None, ":latest") and not match["digest"]:
        yield f"{answer!r} changes with every release: name a release, such as debian:trixie-slim"


def deploy_host(answer: str, answers: Mapping[str, Any]) -> Iterator[str]:
    """Check that ssh reads each server as a host, and never as an option."""
    for place in answer.split():
        user, _, host = place.rpartition("@")
        if place.startswith("ssh://"):
            yield f"{place!r} is a URL: type user@server, and set the port in ~/.ssh/config"
        elif "-" in (place[:1], host[:1]):
            yield f"{place!r} is an option of ssh: type user@server, and set it in ~/.ssh/config"
        elif ("@" in place and not re.fullmatch(PLAIN, user)) or not is_host(host):
            yield (
                f"{place!r} is not a server: type user@server, where server is a name, an IPv4"
                " address or an IPv6 address in brackets, and set the port in ~/.ssh/config"
            )


def is_host(host: str) -> bool:
    """Return whether a host is a name, an alias or an address."""
    if host.startswith("[") and host.endswith("]"):
        try:
            return ipaddress.IPv6Address(host[1:-1]).scope_id is None
        except ValueError:
            return False
    return bool(re.fullmatch(PLAIN, host))


CHECKS = (project, python, native_deps, command, port, base_image, deploy_host)


def problems(answers: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each wrong answer, which names the question and what to type."""
    found = []
    for check in CHECKS:
        question, answer = check.__name__, str(answers[check.__name__])
        if answer.strip(" ") and answer != " ".join(answer.split()):
            found.append(
                f"{question}: remove the extra space from {answer!r}: type single spaces between"
                " words, and none around them"
            )
        else:
            found += [f"{question}: {sentence}" for sentence in check(answer, answers)]
    return found


def there(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file where files are generated; empty for a directory."""
    places = [*folder.glob("*"), *(p for top in PLACES for p in (folder / top).rglob("*"))]
    return {
        path.relative_to(folder).as_posix(): ""
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in places
        if path.is_dir() or path.is_file()
    }


def main(answers: Mapping[str, Any]) -> None:
    """Exit if no working project can be generated; otherwise note which files exist already."""
    if wrong := problems(answers):
        sys.exit("\n  ".join(("Nothing is generated, because of these answers:", *wrong)))
    if os.path.lexists(APPS):
        sys.exit(
            f"Nothing is generated, because {APPS.absolute()} exists: remove or rename it, and try"
            " again (an interrupted generation leaves a folder of that name)"
        )
    if before := there(Path.cwd()):
        APPS.mkdir()
        # post_gen_project.py reports what became of these files.
        (APPS / ".before.json").write_text(json.dumps(before), encoding="utf-8")
        # The template has a file of this name that contains "replace". cookiecutter overwrites this
        # one with it unless it was told to keep existing files: hooks are not told about the flags.
        (APPS / ".existing-files").write_text("keep\n", encoding="utf-8")


if __name__ == "__main__":
    # tojson escapes the quotes that could end this literal.
    main(json.loads(r"""{{ cookiecutter | tojson }}"""))
