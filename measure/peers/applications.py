"""The applications that are built: folders with a source, a lock, and a line that changes."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# All applications have the same name, package and port, so that each peer needs one dockerfile.
NAME = "bench-app"
PORT = 8081
GREETING = "Hello, world!"


@dataclass(frozen=True)
class Application:
    """An application: its interpreter, its own files, and the file with the greeting.

    The sample application has no files here, since the template generates them. An application that
    is never started has no greeting.
    """

    python: str
    files: Path | None = None
    greeter: str | None = None

    @property
    def answers(self) -> dict[str, str]:
        """The answers to cookiecutter's questions."""
        answers = {"project": NAME, "python": self.python, "port": str(PORT)}
        if self.files:
            answers |= {"app": "existing", "native_deps": " ", "command": "run-the-app"}
        return answers

    @property
    def program(self) -> str:
        """The name of the interpreter's Debian package and of its program."""
        return {"CPython": "python3", "PyPy": "pypy3"}[self.python]

    def greet(self, folder: Path, greeting: str) -> None:
        """Change the application's answer, which is one line of a checkout."""
        assert self.greeter
        file = folder / self.greeter
        text = file.read_text(encoding="utf-8")
        before, start, rest = text.partition('"Hello, ')
        _, end, after = rest.partition('"')
        assert start and end, f"{file} contains no greeting"
        file.write_text(f'{before}"{greeting}"{after}', encoding="utf-8")

    def copy_from(self, checkout: Path, folder: Path) -> None:
        """Copy the application from another checkout, without slipway's machinery."""
        folder.mkdir(parents=True)
        shutil.copytree(checkout / "src", folder / "src")
        for name in ("pyproject.toml", "requirements.txt"):
            shutil.copy(checkout / name, folder)


SAMPLE = Application("CPython", greeter="src/bench_app/__init__.py")
SAMPLE_ON_PYPY = Application("PyPy", greeter="src/bench_app/__init__.py")
SHOP = Application("CPython", files=HERE / "apps/shop", greeter="src/bench_app/site.py")
SOURCE = Application("CPython", files=HERE / "apps/source")


def greeting(change: int) -> str:
    """Return the application's answer after this number of changes."""
    return f"Hello, change {change}!" if change else GREETING


def pins_of(lock: str) -> dict[str, str]:
    """Return the version of each distribution in a lock of pip's format."""
    pins = {}
    for line in lock.splitlines():
        name, equal, rest = line.partition("==")
        if equal and not line.startswith((" ", "#", "-")):
            pins[name.partition("[")[0].strip()] = rest.split()[0].rstrip(";\\")
    return pins


def uv_pins_of(lock: str) -> dict[str, str]:
    """Return the version of each distribution in a lock of uv's format."""
    packages = tomllib.loads(lock)["package"]
    return {each["name"]: each["version"] for each in packages if "version" in each}
