"""A failed build's output, read for what was missing: one line that says what to add."""

from __future__ import annotations

import importlib

import pytest

missing = importlib.import_module("missing")

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
]


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine has to build with is no part of a test."""
    monkeypatch.setattr(missing, "is_here", lambda library: False)


@pytest.mark.parametrize(("name", "said", "word"), COMPLAINTS)
def test_complaint_becomes_one_line(name: str, said: str, word: str) -> None:
    """It names the package, the library, and the command to run."""
    lines = ["running build_ext\n", *said.splitlines(keepends=True), "error: metadata failed\n"]
    answer = missing.explain(name, "1.0", lines)
    assert answer.startswith(f"{name} 1.0 needs ")
    assert "\n" not in answer
    assert word in missing.words_in(answer)
    assert "to NATIVE in deploy/settings.mk, or run: make native ADD=" in answer


def test_all_headers_that_end_a_build_are_named() -> None:
    """Compilers work on several files at once."""
    lines = [f"fatal error: {name}: No such file or directory" for name in ("jpeglib.h", "zlib.h")]
    answer = missing.explain("some", "2", lines)
    assert answer == (
        "some 2 needs jpeg and zlib (jpeglib.h not found, zlib.h not found): add jpeg zlib to"
        " NATIVE in deploy/settings.mk, or run: make native ADD='jpeg zlib'"
    )
    assert missing.words_in(f"wheels: {answer}\n") == ["jpeg", "zlib"]


def test_what_a_package_is_known_to_need_comes_along() -> None:
    """It is not built three times to learn of three libraries."""
    answer = missing.explain("gmpy2", "2", ["fatal error: gmp.h: No such file or directory"])
    assert set(missing.words_in(answer)) == {"gmp", "mpfr", "mpc"}


def test_what_ends_the_build_counts_before_what_it_tried() -> None:
    """Many builds ask pkg-config for what they can do without."""
    lines = [
        "Package 'libraqm', required by 'virtual:world', not found",
        "Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)",
        "fatal error: tiff.h: No such file or directory",
    ]
    assert missing.words_in(missing.explain("some", "", lines)) == ["tiff"]


def test_header_that_nobody_knows_is_to_be_looked_for() -> None:
    """The command that finds its Debian package is named."""
    lines = ["fatal error: frob/nicate.h: No such file or directory"]
    answer = missing.explain("some", "1", lines)
    assert answer.endswith("find its Debian package with: make native FIND=frob/nicate.h")
    assert missing.searched_in(answer) == ["frob/nicate.h"]


@pytest.mark.parametrize(
    "said",
    [
        "error: rustc 1.85.0 is not supported by the following packages:",
        "error: package `a v1` cannot be built because it requires rustc 1.88 or newer,"
        " while the currently active rustc version is 1.85.0",
    ],
)
def test_compiler_of_rust_that_is_too_old_is_said(said: str) -> None:
    """No word of NATIVE brings another one."""
    answer = missing.explain("orjson", "9", [said])
    assert answer.startswith("orjson 9 needs a newer Rust than this release has (1.85.0)")
    assert missing.words_in(answer) == []


def test_program_that_nobody_knows_is_looked_for_among_programs() -> None:
    """A library of that name, which may be there already, is something else."""
    answer = missing.explain("some", "1", ["/bin/sh: 1: frobnicate: not found"])
    assert missing.searched_in(answer) == ["bin/frobnicate"]


@pytest.mark.parametrize(
    "said",
    [
        "fatal error: numpy/arrayobject.h: No such file or directory",
        "fatal error: internal/pycore_frame.h: No such file or directory",
        "SyntaxError: invalid syntax",
        "error: command '/usr/bin/gcc' failed with exit code 1",
        "",
    ],
)
def test_what_no_library_mends_is_left_as_it_was_said(said: str) -> None:
    """Then the output itself is shown."""
    assert missing.explain("some", "1", [said]) == ""


def test_what_is_there_is_not_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is too old is no reason to name it again."""
    monkeypatch.setattr(missing, "is_here", lambda library: library.name == "libpq")
    assert missing.explain("psycopg2", "1", ["error: PQnewer was not declared"]) == ""


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
    """`make venv`: NATIVE is of the images alone, which the builder gives a compiler."""
    assert "sudo apt" not in missing.explain("thing", "1.0", [said])
    monkeypatch.setenv("WHEELS_HERE", "yes")
    monkeypatch.setenv("PYTHON", "pypy3")
    answer = missing.explain("thing", "1.0", [said])
    assert says in answer
    assert "NATIVE" not in answer
