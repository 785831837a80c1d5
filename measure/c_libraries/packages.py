"""The packages of the table, each with a line of Python that uses it.

The line uses the C library at run time: it reads the library's version, or calls a function.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A package of the package index, and how it is used.

    Attributes:
        requirements: packages that are built from source.
        use: Python that fails if the library does not work.
        others: packages that may be installed as wheels.
        words: library names that the user has to add to NATIVE by hand.
    """

    requirements: str
    use: str
    others: str = ""
    words: str = ""

    @property
    def name(self) -> str:
        """The first package, which is the subject of the row."""
        return self.requirements.split()[0]


CASES = (
    # databases
    Case("psycopg2", "import psycopg2; assert psycopg2.extensions.libpq_version() > 100000"),
    Case(
        "psycopg-c",
        "from psycopg import pq; assert pq.__impl__ == 'c' and pq.version() > 100000",
        others="psycopg[c]",
    ),
    Case("pygresql", "import pg; assert pg.get_pqlib_version() > 100000"),
    Case("mysqlclient", "import MySQLdb; assert MySQLdb.get_client_info()"),
    Case("pyodbc", "import pyodbc; pyodbc.drivers()"),
    Case(
        "pysqlite3",
        "import pysqlite3; assert pysqlite3.connect(':memory:').execute('select 1').fetchone()[0]",
    ),
    Case(
        "plyvel", "import plyvel, tempfile; plyvel.DB(tempfile.mkdtemp(), create_if_missing=True)"
    ),
    Case("berkeleydb", "import berkeleydb; assert berkeleydb.db.version()"),
    Case("pylibmc", "import pylibmc; assert pylibmc.libmemcached_version"),
    Case("pymssql", "import pymssql; assert pymssql.version_info()"),
    Case("mariadb", "import mariadb; assert mariadb.mariadbapi_version"),
    Case("firebird-driver", "from firebird.driver import fbapi; assert fbapi.load_api() is None"),
    Case(
        "sqlcipher3",
        "import sqlcipher3; assert sqlcipher3.connect(':memory:').execute('select 1').fetchone()",
    ),
    # text, XML and languages
    Case("lxml", "from lxml import etree; assert etree.fromstring('<a/>').tag == 'a'"),
    Case("xmlsec lxml", "import xmlsec; assert xmlsec.get_libxmlsec_version()"),
    Case("pyicu", "import icu; assert icu.Transliterator.createInstance('Any-Latin')"),
    Case("onigurumacffi", "import onigurumacffi as o; assert o.compile('a+').match('aa')"),
    Case("hunspell", "import hunspell; assert hunspell.HunSpell"),
    Case("ssdeep", "import ssdeep; assert ssdeep.hash('x' * 9999)"),
    Case("pyenchant", "import enchant; assert enchant.get_enchant_version()"),
    # images, drawing and pages
    Case(
        "pillow",
        "from PIL import features; assert features.check('jpg') and features.check('zlib')",
    ),
    Case("pycairo", "import cairo; assert cairo.ImageSurface(cairo.FORMAT_ARGB32, 2, 2)"),
    Case("cairocffi", "import cairocffi; assert cairocffi.cairo_version()"),
    Case("weasyprint", "import weasyprint; assert weasyprint.HTML(string='<p>x').write_pdf()"),
    Case("pygobject", "from gi.repository import GLib; assert GLib.MAJOR_VERSION == 2"),
    Case("pdftotext", "import pdftotext; assert pdftotext.PDF"),
    Case("tesserocr", "import tesserocr; assert tesserocr.tesseract_version()"),
    Case("pygraphviz", "import pygraphviz; assert pygraphviz.AGraph('graph { a -- b }').nodes()"),
    Case("openslide-python", "import openslide; assert openslide.__library_version__"),
    Case("py3exiv2", "import pyexiv2; assert pyexiv2.__exiv2_version__"),
    Case("python-sane", "import sane; assert sane.init()"),
    # network and security
    Case("pycurl", "import pycurl; assert 'libcurl' in pycurl.version"),
    Case("pyzmq", "import zmq; assert zmq.Context().socket(zmq.PUB)"),
    Case("m2crypto", "from M2Crypto import Rand; assert len(Rand.rand_bytes(4)) == 4"),
    Case("python-ldap", "import ldap; assert ldap.initialize('ldap://127.0.0.1')"),
    Case("gssapi", "import gssapi; assert gssapi.Name('a@b')"),
    Case("pcapy-ng", "import pcapy; assert pcapy.open_live"),
    Case("netfilterqueue", "import netfilterqueue; assert netfilterqueue.NetfilterQueue"),
    Case("pyscard", "import smartcard.scard as s; assert s.SCARD_SCOPE_USER == 0"),
    Case("pysmbc", "import smbc; assert smbc.Context()"),
    Case("pygit2", "import pygit2; assert pygit2.LIBGIT2_VERSION"),
    Case("krb5", "import krb5; assert krb5.init_context()"),
    Case("pysctp", "import sctp; assert sctp.sctpsocket_tcp"),
    Case("libvirt-python", "import libvirt; assert libvirt.getVersion()"),
    # numbers and geography
    Case("gmpy2", "import gmpy2; assert gmpy2.is_prime(97) and gmpy2.mpfr_version()"),
    Case("shapely", "import shapely; assert shapely.geos_version"),
    Case("pyproj", "import pyproj; assert pyproj.proj_version_str"),
    # sound
    Case("pyaudio", "import pyaudio; assert pyaudio.get_portaudio_version()"),
    Case("pyalsaaudio", "import alsaaudio; assert alsaaudio.asoundlib_version()"),
    Case("soundfile", "import soundfile; assert soundfile.__libsndfile_version__"),
    Case("python-rtmidi", "import rtmidi; assert rtmidi.get_compiled_api()"),
    # the system
    Case(
        "cffi",
        "import cffi; f = cffi.FFI(); f.cdef('int abs(int);'); assert f.dlopen(None).abs(-1) == 1",
    ),
    Case("python-magic", "import magic; assert magic.from_buffer(b'%PDF-1.4')"),
    Case("libarchive-c", "import libarchive; assert libarchive.ffi.version_number()"),
    Case("python-lzo", "import lzo; assert lzo.decompress(lzo.compress(b'x' * 99)) == b'x' * 99"),
    Case("dbus-python", "import dbus; assert dbus.String('x') == 'x'"),
    Case("systemd-python", "from systemd import journal, id128; assert journal.Reader"),
    Case("pylibacl", "import posix1e; assert posix1e.ACL(text='u::rw,g::r,o::-').valid()"),
    Case("pycups", "import cups; cups.setServer('127.0.0.1')"),
    Case("python-prctl", "import prctl; assert prctl.get_name()"),
    Case("hidapi", "import hid; assert hid.enumerate() is not None"),
    Case("pyparted", "import parted; assert parted.version()"),
    Case("pyfuse3", "import pyfuse3; assert pyfuse3.ROOT_INODE"),
    Case("mod-wsgi", "from mod_wsgi.server import apxs_config; assert apxs_config"),
    Case("rrdtool", "import rrdtool; assert rrdtool.lib_version()"),
)

# On PyPy: packages whose authors support it. The others are refused when they are locked.
ON_PYPY = (
    "psycopg2cffi mysqlclient lxml cffi cairocffi pycairo pillow pyzmq python-magic"
    " soundfile libarchive-c onigurumacffi pyenchant python-lzo pylibacl"
    " pygobject dbus-python pylibmc pygresql xmlsec pyicu hunspell weasyprint"
    " pdftotext tesserocr pygraphviz python-ldap pcapy-ng pyscard pysmbc pyproj"
    " pyalsaaudio systemd-python pycups"
).split()
NOT_ON_PYPY = (
    "psycopg2 psycopg-c plyvel pycurl gssapi pyodbc gmpy2 pyaudio pysqlite3 python-prctl m2crypto"
    " berkeleydb"
).split()
PYPY_CASES = (
    Case("psycopg2cffi", "import psycopg2cffi; assert psycopg2cffi.extensions"),
    *(case for case in CASES if case.name in ON_PYPY),
)
REFUSED = tuple(case for case in CASES if case.name in NOT_ON_PYPY)
