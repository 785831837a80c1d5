"""The catalogue of C libraries: from any of their names to Debian packages.

    python -m slipway.shared.native.catalogue build NAME…    print the packages to build with

A library is found by any common name: openssl, libssl-dev, pg_config, libxml/parser.h, psycopg2.
`apt:PACKAGE` names a Debian package. It is installed for the build. The run image gets the package
itself, or the shared libraries that a package of headers or tools depends on. `build:PACKAGE` names
a package that is installed for the build only. `locale:de_DE.UTF-8` names a locale to run with.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

CATALOGUE = Path(__file__).resolve().parent / "catalogue.ini"
APT_NAME = re.compile(
    r"(apt|build):([a-z0-9][a-z0-9+.-]+)|locale:[a-z]{2,3}(_[A-Z]{2})?\.UTF-8(@[a-z]+)?"
)

# The fields of a library that identify it, and the fields whose names are spelled in many ways.
KINDS = ("headers", "modules", "programs", "libraries", "pypi", "loads")
SPELLED = ("names", "packages", "modules", "libraries", "programs")
# Words that distributions add to the name of a library.
ADDED = (
    "dev|devel|headers?|static|libs?|shared|bin|data|tools?|utils?|common|core|client|runtime|all"
    "|loader|compat|[cg]xx|cpp|c\\+\\+|c|compiler|ocr|openssl|gnutls|nss|base|free|src|default|soft|x11"
    "|modules?|community|connector|server|sys|ng|glx|dri|threaded"
)

Words = tuple[str, ...]

# Names that the catalogue cannot provide, and what to do instead.
NOT_A_WORD = {
    **dict.fromkeys(
        ("gcc", "cc", "make", "pkg-config", "pkgconf", "build-essential"),
        "the builder always has it: leave it out",
    ),
    **dict.fromkeys(
        ("oracle", "instantclient", "oracle-instantclient"),
        "it is not in Debian; the PyPI package oracledb needs no library",
    ),
    **dict.fromkeys(
        ("cuda", "cudnn", "nvidia"), "it is not in Debian's main: start from NVIDIA's BASE_IMAGE"
    ),
    "rocm": "it is not in Debian's main as a whole: start from AMD's BASE_IMAGE",
    **dict.fromkeys(("mkl", "intel-mkl"), "it is not in Debian's main: blas does the same"),
    **dict.fromkeys(("db2", "ibm_db"), "it is not in Debian; the wheel of ibm-db contains it"),
    **dict.fromkeys(("tkinter", "python3-tk"), "it is apt:python3-tk"),
    "opencv": "the wheel of opencv-python-headless contains it; Debian's is apt:libopencv-dev",
    "grpc": "the wheel of grpcio contains it; Debian's is apt:libgrpc++-dev",
}

# Packages whose wheels have, or need, the library that another package would load.
PROVIDERS = {"psycopg": ("psycopg-binary", "psycopg-c")}


class UnknownName(ValueError):
    """A name that the catalogue does not have; the message lists similar names."""


class Library:
    """One section of the catalogue; catalogue.ini describes the fields."""

    aliases: Words = ()
    build: Words = ()
    run: Words = ()
    headers: Words = ()
    modules: Words = ()
    programs: Words = ()
    libraries: Words = ()
    pypi: Words = ()
    loads: Words = ()

    def __init__(self, name: str) -> None:
        """Keep the name; the reader sets the other fields."""
        self.name = name

    def names(self) -> Iterator[str]:
        """Yield the library's name and aliases."""
        yield self.name
        yield from self.aliases

    def packages(self) -> Iterator[str]:
        """Yield the library's Debian packages, each alternative by itself."""
        for each in (*self.build, *self.run):
            yield from each.split("|")


class Catalogue:
    """The libraries, and an index of all their names."""

    def __init__(self, libraries: list[Library]) -> None:
        """Fill the index; a name that two libraries share leads to the first one.

        A package belongs to the library that lists it first; other libraries only need it too.
        """
        self.libraries = libraries
        self._index: dict[str, dict[str, Library]] = {}
        for kind in ("names", "packages", *KINDS):
            self._index[kind] = {}
        for library in self.libraries:
            for package in (each for role in (library.build, library.run) for each in role[:1]):
                for name in package.split("|"):
                    self._index["packages"].setdefault(name, library)
        for library in self.libraries:
            for kind, index in self._index.items():
                value = getattr(library, kind)
                for name in value() if callable(value) else value:
                    index.setdefault(name.lower(), library)

    @functools.cached_property
    def _plain(self) -> dict[str, Library]:
        # made when it is first needed, which is seldom: it takes half the time of the rest
        found: dict[str, Library] = {}
        for kind in SPELLED:
            for name, library in self._index[kind].items():
                found.setdefault(plainly(name), library)
        return found

    def by(self, kind: str, name: str) -> Library | None:
        """Return the library that has a module, program, library or PyPI package."""
        return self._index[kind].get(name.lower())

    def by_header(self, path: str) -> Library | None:
        """Return the library that has the header of an #include."""
        exact = self.by("headers", path)
        if exact:
            return exact
        for pattern, library in self._index["headers"].items():
            glob = f"{pattern}*" if pattern.endswith("/") else pattern
            if "*" in glob and fnmatch.fnmatchcase(path.lower(), glob):
                return library
        return None

    def by_file(self, name: str) -> Library | None:
        """Return the library that has a shared library, by a file name such as `libpq.so.5`."""
        return self.by("libraries", stem_of(name))

    def find(self, word: str) -> Library | None:
        """Return the library that a word means, whatever kind of name it is."""
        word = word.strip().lower()
        for kind in ("names", "packages", "modules", "programs", "pypi", "loads"):
            if found := self.by(kind, word):
                return found
        if word.startswith("-l"):
            return self.by("libraries", word[2:])
        found = self.by_header(word) or self.by_file(word) or self.by("libraries", word)
        if found:
            return found
        for form in plainer(word):
            for kind in SPELLED:
                if found := self.by(kind, form):
                    return found
        return self._plain.get(plainly(word))

    def nearest(self, word: str) -> list[str]:
        """Return the names of libraries whose spelling is most similar to a word."""
        import difflib  # slow, and seldom needed

        plain = self._plain
        names = self._index["names"]
        near = difflib.get_close_matches(word.lower(), names, n=3, cutoff=0.7)
        found = [names[each] for each in near]
        near = difflib.get_close_matches(plainly(word), plain, n=6, cutoff=0.6)
        found += [plain[each] for each in near]
        return list(dict.fromkeys(each.name for each in found))[:3]


def stem_of(name: str) -> str:
    """Return a shared library's name for the linker: `pq` for `libpq.so.5`."""
    stem = re.sub(r"\.(so|a)(\.[0-9.]+)?$", "", name.rpartition("/")[2])
    stem = re.sub(r"^lib", "", stem)
    return re.sub(r"-[0-9a-f]{8}$", "", stem)  # auditwheel's copies


def plainer(word: str) -> Iterator[str]:
    """Yield shorter and shorter forms of a name, without the additions of distributions.

    `libfoo4-dev`, `foo-devel`, `foo-libs`, `foo@4`, `libfoo.so.4` and `foo:amd64` lead to `foo`.
    """
    name = re.sub(r"^.*/|::.*$|:(amd64|arm64|any)$|(?<=.)@.*$", "", word.lower())
    name = name.replace("_", "-")
    yield name
    while True:
        shorter = re.sub(rf"(?<=.)-({ADDED})$", "", name)
        if shorter == name:
            shorter = re.sub(r"(?<=..)(t64|v5|\+\+|[-.]?[0-9][-.0-9]*[a-z]?)$", "", name)
        if shorter == name:
            shorter = re.sub(r"^(xorg|mesa|gcc|gnu|llvm|dh|mit|mod)-", "", name)
        if shorter == name:
            break
        name = shorter
        yield name
        yield name[3:] if re.match("lib.", name) else f"lib{name}"


def plainly(name: str) -> str:
    """Return the shortest form of a name: `pq` for `libpq-dev` and `libpq5`."""
    *_, name = plainer(name)
    return re.sub(r"^lib(?=..)", "", name).replace("-", "")


def read(text: str) -> Catalogue:
    """Return the catalogue in a text; this reader needs a tenth of ConfigParser's time."""
    libraries = []
    for line in text.splitlines():
        if line.startswith("["):
            libraries.append(Library(line.strip("[] ")))
        elif line.strip() and not line.startswith("#"):
            name, _, value = line.partition("=")
            words = re.sub(r"\s*\|\s*", "|", value).split()
            setattr(libraries[-1], name.strip(), tuple(words))
    return Catalogue(libraries)


@functools.cache
def catalogue(path: Path = CATALOGUE) -> Catalogue:
    """Return the catalogue in the file beside this module."""
    return read(path.read_text(encoding="utf-8"))


def check(word: str, known: Catalogue) -> Library | None:
    """Return the library that a name in NATIVE means, or None for a Debian package or a locale.

    UnknownName names an unknown word and similar names.
    """
    if APT_NAME.fullmatch(word):
        return None
    if word.lower() in NOT_A_WORD:
        raise UnknownName(
            f"NATIVE in deploy/settings.mk names {word!r}: {NOT_A_WORD[word.lower()]}"
        )
    if word.startswith("locale:"):
        raise UnknownName(
            f"NATIVE in deploy/settings.mk names {word!r}: write a locale as locale:de_DE.UTF-8"
        )
    library = known.find(word)
    if library is None:
        near = known.nearest(word)
        listed = "see deploy/slipway/shared/native/catalogue.ini."
        hint = f"did you mean {' or '.join(near)}?" if near else listed
        raise UnknownName(
            f"NATIVE in deploy/settings.mk names {word!r}, which is not in the catalogue: {hint}"
            " A Debian package is named as apt:PACKAGE"
        )
    return library


def packages(wanted: Sequence[str], role: str, path: Path = CATALOGUE) -> list[str]:
    """Return the packages for a role (`build` or `run`), as arguments of apt.sh.

    UnknownName names an unknown word and similar names.
    """
    found: list[str] = []
    for word in wanted:
        library = check(word, catalogue(path))
        if library is None:
            kind, _, package = word.partition(":")
            if kind == "locale":
                found += [word] if role == "run" else []
            elif role == "build":
                found.append(package)
            elif kind == "apt":
                found.append(f"for:{package}")
        elif role == "build":
            found += library.build
        else:
            # a future release may have other names: then the build package's dependency is used
            fallback = "".join(f"|for:{each}" for each in library.build[:1] if "|" not in each)
            found += [each + fallback if "|" in each else each for each in library.run]
            if library.libraries and not library.run and library.build[0].endswith("-dev"):
                found += [f"for:{each}" for each in library.build]
    return list(dict.fromkeys(found))


def unlike(words: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return the words that mean something new, and of words with the same meaning the last."""
    known = catalogue()

    def meaning(word: str) -> str:
        library = None if APT_NAME.fullmatch(word) else known.find(word)
        return library.name if library else word

    there = {meaning(word) for word in wanted}
    return list({meaning(word): word for word in words if meaning(word) not in there}.values())


def loaded(names: AbstractSet[str]) -> Iterator[tuple[Library, str]]:
    """Yield the libraries that packages of a lock load when they run, with the package."""
    for library in catalogue().libraries:
        for name in sorted(names & set(library.loads)):
            if names.isdisjoint(PROVIDERS.get(name, ())):
                yield library, name


def main(arguments: list[str]) -> int:
    """Print the packages on one line, and return the exit status."""
    role, *wanted = arguments
    try:
        print(*packages(wanted, role))
    except UnknownName as problem:
        print(f"slipway: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
