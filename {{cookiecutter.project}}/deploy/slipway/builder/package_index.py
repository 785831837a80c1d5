"""Download the files of a lock's pins from the package index, in parallel.

pip's own PackageFinder chooses the files: it knows tags, yanked files, --no-binary and several
package indexes, and accepts only files whose SHA-256 is in the lock. `pip download` would download
one file after another, and would run the back end of each source distribution to learn its name.

PackageFinder is reached through pip-tools and through private modules of pip. This module therefore
needs exactly the versions of both that requirements.txt pins.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email import message_from_string
from pathlib import Path
from typing import Any

from slipway.builder.errors import Failure
from slipway.builder.run_tool import results
from slipway.builder.store import Store
from slipway.shared import lockfile, network
from slipway.shared.files import digest

AT_ONCE = 8  # requests; a package index on the same continent answers in about 50 ms
TRIES = 3


class Index:
    """The package index, and the store that keeps its files."""

    def __init__(self, store: Store, environment: Mapping[str, str]) -> None:
        """Read pip's settings from the environment."""
        self.store = store
        self._environment = environment
        self._lock = threading.Lock()
        self._skipped_pages = SkippedPages()
        self._repositories: dict[tuple[str, ...], Any] = {}
        self._fetching = 0
        # called now, by one thread: sysconfig is not complete for the first of several threads
        lockfile.system()

    def fetch(self, pins: Sequence[lockfile.Pin], options: Sequence[str] = ()) -> list[Path]:
        """Return the file of each pin, a wheel or a source distribution, in the order of the pins.

        Options are those of a lock, such as --no-binary NAME. Failure names every pin for which the
        package index has no suitable file.
        """
        with self._lock:
            # some routers drop a connection that was idle for minutes without closing it
            if not self._fetching:
                for repository in self._repositories.values():
                    repository.session.close()
            self._fetching += 1
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                tasks = [pool.submit(self._fetch, pin, tuple(options)) for pin in pins]
            return results(tasks)
        finally:
            with self._lock:
                self._fetching -= 1

    def on_several(self, names: Sequence[str]) -> list[str]:
        """Return those of some distributions that more than one package index has, sorted.

        pip takes the highest version of them all, whoever owns the name there.
        """
        finder = self._repository(()).finder

        def pages(name: str) -> set[str]:
            found = finder.find_all_candidates(name)
            return {str(candidate.link.comes_from) for candidate in found}

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(zip(names, pool.map(pages, names)))
        return sorted(name for name, places in found.items() if len(places) > 1)

    def requirements_of_newest(self, name: str) -> list[str]:
        """Return the requirements of a distribution's newest version, from its wheel for CPython.

        Only the metadata is downloaded: as a file of its own if there is one (PEP 658), or else as
        a part of the wheel. The list is empty for a distribution without a wheel.
        """
        from pip._internal.index.package_finder import PackageFinder
        from pip._internal.models.selection_prefs import SelectionPreferences
        from pip._internal.models.target_python import TargetPython
        from pip._internal.network.lazy_wheel import dist_from_wheel_url
        from pip._vendor.packaging.utils import canonicalize_name

        repository, version = self._repository(()), sys.version_info
        systems = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
        finder = PackageFinder.create(
            link_collector=repository.finder._link_collector,
            selection_prefs=SelectionPreferences(allow_yanked=False),
            target_python=TargetPython(
                platforms=[f"{each}_{platform.machine()}" for each in systems],
                py_version_info=version[:3],
                abis=[f"cp{version[0]}{version[1]}", "abi3", "none"],
                implementation="cp",
            ),
        )
        best = finder.find_best_candidate(name).best_candidate
        if best is None or not best.link.is_wheel:
            return []
        link = best.link.metadata_link()
        if link is None:
            whole = best.link.url_without_fragment
            metadata = dist_from_wheel_url(
                canonicalize_name(name), whole, repository.session
            ).metadata
        else:
            response = repository.session.get(link.url_without_fragment)
            response.raise_for_status()
            metadata = message_from_string(response.text)
        return metadata.get_all("Requires-Dist") or []

    def _fetch(self, pin: lockfile.Pin, options: tuple[str, ...]) -> Path:
        key = digest(lockfile.system(), options, pin.name, pin.version, pin.hashes)
        chosen = self.store.choice(key)
        # the store may be changed by whatever ran in a builder; a file counts only by the lock
        found = self.store.file(chosen) if chosen in pin.sums else None
        if found is None:
            link = self._link(pin, options)
            stated = {link.hash} if link.hash_name == "sha256" else pin.sums
            present = (self.store.file(sum_) for sum_ in stated) if len(stated) == 1 else ()
            found = next(filter(None, present), None) or self._download(link, stated)
            self.store.add_choice(key, found.parent.name)
        return found

    def _link(self, pin: lockfile.Pin, options: tuple[str, ...]) -> Any:
        """Return the link to the file of the package index that pip would choose for a pin."""
        from pip._internal.utils.hashes import Hashes
        from pip._vendor.packaging.specifiers import SpecifierSet  # pip accepts only its own copy

        if not pin.sums:
            raise Failure(f"the lock states no sha256 for {pin.name}: run make lock")
        found = self._repository(options).finder.find_best_candidate(
            pin.name,
            specifier=SpecifierSet(f"=={pin.version}"),
            hashes=Hashes({"sha256": sorted(pin.sums)}),
        )
        best = found.best_candidate
        if best is None:
            versions = sorted({each.version for each in found.all_candidates})
            why = self._skipped_pages.explain(pin.name)
            if why and not versions:
                raise Failure(f"the package index does not provide {pin.name}: {why}")
            there = ", ".join(str(version) for version in versions[-5:])
            raise Failure(
                f"the package index has no {pin.name}=={pin.version} for {lockfile.system()}"
                + (f" (it has: {there})" if there else "")
            )
        if best.link.hash_name == "sha256" and best.link.hash not in pin.sums:
            raise Failure(
                f"{best.link.filename} on the package index does not have the SHA-256 of the lock:"
                " the file has changed, or it is another file; if you trust it, run make upgrade"
            )
        return best.link

    def _download(self, link: Any, sums: set[str]) -> Path:
        """Download a file into the store; try again if the file is damaged or incomplete."""
        session = self._repository(()).session

        def write(place: Path) -> None:
            # without compression, which would change the checksum, and without pip's cache
            headers = {"Accept-Encoding": "identity", "Cache-Control": "no-cache, no-store"}
            response = session.get(link.url_without_fragment, stream=True, headers=headers)
            response.raise_for_status()
            with place.open("wb") as file:
                shutil.copyfileobj(response.raw, file, 1 << 20)

        for tries_left in reversed(range(TRIES)):
            try:
                return self.store.add_file(link.filename, sums, write)
            except Exception as problem:  # the types are those of pip's copies of requests, urllib3
                if not tries_left:
                    raise Failure(f"{link.filename} cannot be downloaded: {problem}") from problem
        raise AssertionError

    def _repository(self, options: tuple[str, ...]) -> Any:
        with self._lock:
            if options not in self._repositories:
                from piptools.repositories import PyPIRepository

                # pip reads its settings from the environment of this process
                os.environ.update(self._environment)
                self._repositories[options] = PyPIRepository(
                    ["--no-input", *options], cache_dir=self._environment["PIP_CACHE_DIR"]
                )
                told = logging.getLogger("pip._internal.index.collector")
                told.setLevel(logging.DEBUG)
                told.addHandler(self._skipped_pages)
            return self._repositories[options]


class SkippedPages(logging.Handler):
    """The reasons why pip skipped pages of the package index; pip logs them at its debug level."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Record a message about a page that could not be downloaded."""
        text = record.getMessage()
        if text.startswith("Could not fetch URL"):
            self.messages.append(text)

    def explain(self, name: str) -> str:
        """Return the reason why a project's page was skipped; empty if it was not."""
        about = [text for text in self.messages if f"/{name}/" in text]
        if any("CERTIFICATE_VERIFY_FAILED" in text for text in about):
            return network.UNTRUSTED
        # "Could not fetch URL <address>: <reason> - skipping"
        reasons = (re.sub(r"^Could not fetch URL \S+ |- skipping$", "", text) for text in about)
        return next(filter(None, reasons), "").strip()
