"""The analysis of a failed build's output: one sentence for people, and the same as data."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from slipway.shared.native import build_errors
from slipway.shared.native.build_errors import Diagnosis

PYTHON = platform.python_implementation()
DATA = Path(__file__).parents[2] / "data"

# What packages' builds really say, and the word that mends it.
COMPLAINTS = [
    ("psycopg2", "Error: pg_config executable not found.\n", "libpq"),
    (
        "psycopg2",
        "./psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory",
        "libpq",
    ),
    ("pyodbc", "src/pyodbc.h:56:10: fatal error: sql.h: No such file or directory", "unixodbc"),
    ("lxml", "fatal error: libxml/xmlversion.h: No such file or directory", "xml2"),
    (
        "lxml",
        "Error: Please make sure the libxml2 and libxslt development packages are installed.",
        "xml2",
    ),
    (
        "pycurl",
        "Could not run curl-config: [Errno 2] No such file or directory: 'curl-config'",
        "curl",
    ),
    ("gssapi", "/bin/sh: 1: krb5-config: not found", "krb5"),
    (
        "python-ldap",
        "Modules/common.h:15:10: fatal error: lber.h: No such file or directory",
        "ldap",
    ),
    (
        "pycairo",
        '../cairo/meson.build:31:12: ERROR: Dependency "cairo" not found, tried pkgconfig',
        "cairo",
    ),
    (
        "pygobject",
        "meson.build:30:9: ERROR: Dependency 'girepository-2.0' is required but not found.",
        "girepository",
    ),
    ("dbus-python", 'ERROR: Dependency "dbus-1" not found, tried pkgconfig and cmake', "dbus"),
    ("pygit2", "fatal error: git2.h: No such file or directory", "git2"),
    ("numpy-like", "/usr/bin/ld: cannot find -lopenblas: No such file or directory", "blas"),
    (
        "snappy-like",
        "/usr/bin/x86_64-linux-gnu-ld: cannot find -lsnappy\ncollect2: error",
        "snappy",
    ),
    ("pyicu", "Package icu-i18n was not found in the pkg-config search path.", "icu"),
    ("pycups", "Package 'cups', required by 'virtual:world', not found", "cups"),
    ("hidapi", "Exception: pkg-config package 'libusb-1.0 >= 1.0.9' not found", "usb"),
    ("m2crypto", "error: command 'swig' failed: No such file or directory", "swig"),
    ("orjson", "error: can't find Rust compiler", "rust"),
    ("orjson", "Cargo, the Rust package manager, is not installed or is not on PATH.", "rust"),
    (
        "scipy",
        "../meson.build:88:0: ERROR: Unknown compiler(s): [['gfortran'], ['flang']]",
        "fortran",
    ),
    (
        "pillow",
        "The headers or library files could not be found for jpeg,\na required dependency",
        "jpeg",
    ),
    ("some", "CMake Error: Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)", "zlib"),
    ("some", 'Could not find a package configuration file provided by "Eigen3" with', "eigen"),
    ("some", "FileNotFoundError: [Errno 2] No such file or directory: 'cmake'", "cmake"),
    ("some", "FileNotFoundError: [Errno 2] No such file or directory: 'gdal-config'", "gdal"),
    ("some", "./autogen.sh: 5: autoreconf: not found", "autotools"),
    ("some", "configure: error: Package requirements (libusb-1.0 >= 1.0.9) were not met:", "usb"),
    (
        "some",
        "The system library `libsodium` required by crate `libsodium-sys` was not found.",
        "sodium",
    ),
    (
        "h5py",
        "error: libhdf5.so: cannot open shared object file: No such file or directory",
        "hdf5",
    ),
    (
        "mysqlclient",
        "Exception: Can not find valid pkg-config name.\nSpecify MYSQLCLIENT_CFLAGS",
        "mariadb",
    ),
    ("xmlsec", "error: Unable to invoke pkg-config.", "xml2"),
    ("isal", "make: nasm: No such file or directory", "nasm"),
    (
        "some",
        "Could not find directory of OpenSSL installation, and this `-sys` crate cannot",
        "openssl",
    ),
    (
        "some",
        '`"pkg-config" "--libs" "--cflags" "openssl"` did not exit successfully: exit status: 1',
        "openssl",
    ),
    (
        "some",
        "Unable to find libclang: \"couldn't find any valid shared libraries matching:"
        " ['libclang.so', 'libclang-*.so']\"",
        "clang",
    ),
    ("some", "Could not find `protoc` installation and this build crate cannot", "protoc"),
    ("some", "Could not find `protoc`. If `protoc` is installed, try setting", "protoc"),
    ("some", "error: could not find native static library `sodium`, perhaps an -L", "sodium"),
    ("some", "/usr/bin/ld: cannot find /usr/lib/libz.so: No such file", "zlib"),
    ("some", "RuntimeError: CMake must be installed to build this", "cmake"),
    ("some", "Problem with the CMake installation, aborting. CMake executable is cmake", "cmake"),
    (
        "some",
        'CMake was unable to find a build program corresponding to "Ninja".',
        "ninja",
    ),
    ("some", "unable to execute 'swig': No such file or directory", "swig"),
    ("some", "configure: error: no acceptable yacc found in $PATH", "bison"),
    ("some", "./configure: line 9: flex: command not found", "flex"),
    ("some", "checking for inflate in -lz... no\nconfigure: error: sorry", "zlib"),
    ("some", "KeyError: JAVA_HOME is not set", "java"),
    ("some", "Could NOT find PostgreSQL (missing: PostgreSQL_LIBRARY)", "libpq"),
]

# What real builds said; the file says how it was made.
BUILDS = [
    (*(field.strip() for field in head.split("|")), said)
    for head, _, said in (
        each.partition("\n")
        for each in (DATA / "builds.txt").read_text(encoding="utf-8").split("\n=== ")[1:]
    )
]


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the libraries that are installed on this machine."""
    monkeypatch.setattr(build_errors, "is_here", lambda library: False)


def diagnose(name: str, version: str, lines: list[str]) -> Diagnosis:
    """Return the diagnosis of a failed build; an empty one if there is none."""
    return build_errors.diagnose(name, version, lines) or Diagnosis("")


@pytest.mark.parametrize(("name", "said", "word"), COMPLAINTS)
def test_complaint_becomes_one_line(name: str, said: str, word: str) -> None:
    """The message names the package, the library and the command to run."""
    lines = ["running build_ext\n", *said.splitlines(keepends=True), "error: metadata failed\n"]
    answer = diagnose(name, "1.0", lines)
    assert answer.message.startswith(f"{name} 1.0 needs ")
    assert "\n" not in answer.message
    assert word in answer.add
    assert "to NATIVE in deploy/settings.mk, or run: make native ADD=" in answer.message


@pytest.mark.parametrize(("package", "how", "word", "said"), BUILDS)
def test_real_build_becomes_one_line(package: str, how: str, word: str, said: str) -> None:
    """The output is enough: the catalogue does not have the package `some`."""
    lines = said.splitlines(keepends=True)
    answer = diagnose("some", "", lines)
    assert word in answer.message, f"{package}: {how}"
    assert answer.message.startswith("some ")
    assert "\n" not in answer.message
    assert bool(answer.add) == ("make native ADD=" in answer.message)
    assert bool(answer.find) == ("make native FIND=" in answer.message)
    name, _, version = package.partition(" ")
    if word.startswith("ADD="):
        known = {library.name for library in build_errors.built_with(name)}
        assert known <= {*diagnose(name, version, lines).add}


def test_at_least_20_kinds_of_real_builds() -> None:
    """The examples cover the common kinds."""
    assert len({how for _, how, _, _ in BUILDS}) >= 20


def test_all_headers_that_end_a_build_are_named() -> None:
    """Compilers work on several files at once."""
    lines = [f"fatal error: {name}: No such file or directory" for name in ("jpeglib.h", "zlib.h")]
    answer = diagnose("some", "2", lines)
    assert answer.message == (
        "some 2 needs jpeg and zlib (jpeglib.h not found, zlib.h not found): add jpeg zlib to"
        " NATIVE in deploy/settings.mk, or run: make native ADD='jpeg zlib'"
    )
    assert answer.add == ("jpeg", "zlib")


def test_what_a_package_is_known_to_need_comes_along() -> None:
    """The package does not have to fail once for each library."""
    answer = diagnose("gmpy2", "2", ["fatal error: gmp.h: No such file or directory"])
    assert set(answer.add) == {"gmp", "mpfr", "mpc"}


def test_what_ends_the_build_counts_before_what_it_tried() -> None:
    """Many builds ask pkg-config for optional libraries."""
    lines = [
        "Package 'libraqm', required by 'virtual:world', not found",
        "Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)",
        "fatal error: tiff.h: No such file or directory",
    ]
    assert diagnose("some", "", lines).add == ("tiff",)


def test_header_that_nobody_knows_is_to_be_looked_for() -> None:
    """The message names the command that finds its Debian package."""
    lines = ["fatal error: frob/nicate.h: No such file or directory"]
    answer = diagnose("some", "1", lines)
    assert answer.message.endswith("find its Debian package with: make native FIND=frob/nicate.h")
    assert answer.find == ("frob/nicate.h",)


@pytest.mark.parametrize(
    "said",
    [
        "error: rustc 1.85.0 is not supported by the following packages:",
        "error: package `a v1` cannot be built because it requires rustc 1.88 or newer,"
        " while the currently active rustc version is 1.85.0",
    ],
)
def test_compiler_of_rust_that_is_too_old_is_said(said: str) -> None:
    """No library name in NATIVE can help."""
    answer = diagnose("orjson", "9", [said])
    assert answer.message.startswith("orjson 9 needs a newer Rust than this release has (1.85.0)")
    assert answer.add == ()


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        (
            "this version of Cargo is older than the `2024` edition, and only supports `2021`",
            "a newer Rust",
        ),
        ("cc1plus: error: unrecognized command-line option '-std=c++26'", "a compiler for C++26"),
        ('Target "x" requires the language dialect "CXX23" , but CMake does', "for C++23"),
        ("CMake Error: this project requires a compiler with C++23 support", "for C++23"),
        ("#error C++20 support is required", "a compiler for C++20"),
        ("ERROR: NumPy requires GCC >= 15.1", "a compiler for GCC 15.1"),
        (
            "Dependency glib-2.0 found: NO. Found 2.74.6 but need: '>= 2.80.0'\n"
            "m.build:9:7: ERROR: Dependency lookup for glib-2.0 with method 'pkgconfig' failed:"
            " Invalid version, need 'glib-2.0' ['>= 2.80.0'] found '2.74.6'.",
            "glib-2.0 >= 2.80.0, and this release has 2.74.6",
        ),
        (
            "Package 'libgit2' has version '1.5.1', required version is '>= 1.9'",
            "libgit2 >= 1.9, and this release has 1.5.1",
        ),
        (
            'Could NOT find GEOS: Found unsuitable version "3.11.1", but required is at least "4"',
            "GEOS at least 4, and this release has 3.11.1",
        ),
        (
            "Requested 'zlib >= 9' but version of zlib is 1.3.1",
            "zlib >= 9, and this release has 1.3.1",
        ),
    ],
)
def test_what_the_release_has_in_an_older_version_is_said(
    monkeypatch: pytest.MonkeyPatch, said: str, needs: str
) -> None:
    """An installed library is not added again; a later release or an older package helps."""
    monkeypatch.setattr(build_errors, "is_here", lambda library: True)
    answer = diagnose("some", "9", said.splitlines(keepends=True))
    assert answer.message.startswith("some 9 needs ")
    assert f"{needs}" in answer.message
    assert "ask for an older some" in answer.message
    assert answer.add == ()


@pytest.mark.parametrize(
    "said",
    [
        "checking whether g++ supports C++23... no: it needs C++23",
        "-- Performing Test HAS_CXX20: without C++20",
        "Compiler supports C++20: YES",
    ],
)
def test_what_a_configuration_tries_is_no_old_compiler(said: str) -> None:
    """Only the header that ends the build counts."""
    assert build_errors.diagnose("some", "9", [said]) is None
    fatal = "fatal error: zlib.h: No such file or directory"
    assert diagnose("some", "9", ["requires C++20", fatal]).add == ("zlib",)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (
            "a.c:1:2: error: \u2018PyThing_Old\u2019 undeclared (first use in this function)",
            PYTHON,
        ),
        (
            "a.cpp:1: error: \u2018PyFrameObject\u2019 has no member named \u2018f_code\u2019",
            PYTHON,
        ),
        (
            "a.c:1: error: implicit declaration of function \u2018foo_new\u2019",
            "this release's libraries",
        ),
        ("a.c:1:10: fatal error: longintrepr.h: No such file or directory", PYTHON),
        ("a.c:1: fatal error: internal/pycore_frame.h: No such file or directory", PYTHON),
        ("  djvu/a.pyx:9:19: 'is_string' is not a constant", "today's Cython ('is_string' is not"),
    ],
)
def test_another_interface_is_no_missing_library(said: str, what: str) -> None:
    """No library can fix code that was written for another version."""
    answer = diagnose("some", "1", ["Package 'frob' not found", said])
    assert f"some 1 does not compile with {what}" in answer.message
    assert answer.add == answer.find == ()


def test_code_that_pypy_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """All messages count on PyPy; on CPython such errors are shown unchanged."""
    said = (
        "/usr/include/pypy3.11/pypy_decl.h:131:28: error: initialization of 'int' from 'struct x'"
    )
    assert build_errors.diagnose("some", "1", [said]) is None
    monkeypatch.setattr("platform.python_implementation", lambda: "PyPy")
    answer = diagnose("some", "1", [said])
    assert answer.message.startswith("some 1 does not compile with PyPy ")
    assert answer.message.endswith("or take another PYTHON in deploy/settings.mk")


def test_part_of_a_library_that_is_there_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's headers and its code may be in two Debian packages."""
    monkeypatch.setattr(build_errors, "is_here", lambda library: library.name == "zlib")
    answer = diagnose("some", "1", ["/usr/bin/ld: cannot find -lz: No such file"])
    assert answer.find == ("z",)


def test_library_that_is_there_in_another_version_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """python-gammu prints the same message if the library is not installed."""
    said = ["Can not find supported Gammu version using pkg-config!"]
    assert diagnose("python-gammu", "", said).add == ("gammu",)
    monkeypatch.setattr(build_errors, "is_here", lambda library: True)
    answer = diagnose("python-gammu", "", said)
    assert answer.message.startswith(
        "python-gammu needs another version of gammu than this release has:"
    )


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Please install libfrob, then try again", "libfrob"),
        (
            "Did not find CMake 'cmake'\nFound CMake: NO\n"
            'meson.build:11:14: ERROR: Dependency "frob" not found (tried pkg-config)',
            "frob",
        ),
        ("Could not run frob-config: no such thing", "bin/frob-config"),
        ("Package frob-2.0 was not found in the pkg-config search path.", "frob-2.0"),
        (
            "Could NOT find Doxygen (missing: X)\nCould NOT find Frob (missing: FROB_LIBRARY)",
            "Frob",
        ),
    ],
)
def test_what_is_asked_for_and_known_to_nobody_is_looked_for(said: str, name: str) -> None:
    """The last message counts if no other one explains the failure."""
    answer = diagnose("some", "1", said.splitlines())
    assert answer.find == (name,)


def test_program_that_nobody_knows_is_looked_for_among_programs() -> None:
    """A library of the same name may be installed already."""
    answer = diagnose("some", "1", ["/bin/sh: 1: frobnicate: not found"])
    assert answer.find == ("bin/frobnicate",)


@pytest.mark.parametrize(
    "said",
    [
        "fatal error: numpy/arrayobject.h: No such file or directory",
        "configure: file not found",
        "SyntaxError: invalid syntax",
        "error: command '/usr/bin/gcc' failed with exit code 1",
        "",
    ],
)
def test_what_no_library_mends_is_left_as_it_was_said(said: str) -> None:
    """The output itself is shown then."""
    assert build_errors.diagnose("some", "1", [said]) is None


def test_what_is_there_is_not_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old library is not named again."""
    monkeypatch.setattr(build_errors, "is_here", lambda library: library.name == "libpq")
    assert build_errors.diagnose("psycopg2", "1", ["error: PQnewer was not declared"]) is None


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("Error: pg_config executable not found.", "needs libpq (pg_config not found): sudo apt"),
        ("Error: pg_config executable not found.", "install libpq-dev (or what this system calls"),
        (
            "error: command 'gcc' failed: No such file or directory",
            "install gcc g++ make pypy3-dev",
        ),
        ("x86_64-linux-gnu-g++: command not found", "has to be compiled: sudo apt install gcc"),
        ("a.c:1:10: fatal error: Python.h: No such file or directory", "install pypy3-dev (or"),
        ("a.c:1:10: fatal error: odd.h: No such file or directory", "does not know: install it"),
    ],
)
def test_on_the_users_own_machine_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, said: str, says: str
) -> None:
    """This is for `make venv`: NATIVE and the builder's compiler are for images only."""
    assert "sudo apt" not in diagnose("thing", "1.0", [said]).message
    monkeypatch.setenv("WHEELS_HERE", "yes")
    monkeypatch.setenv("PYTHON", "pypy3")
    answer = diagnose("thing", "1.0", [said])
    assert says in answer.message
    assert "NATIVE" not in answer.message
