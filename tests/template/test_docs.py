"""The documentation is true: every link, make target, variable, file and question in it exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from jinja2 import Template

from tests.conftest import ROOT, Baker, Project

TEMPLATE = "{{cookiecutter.project}}"
APPS = ("hello", "attachments", "existing")
LISTED = subprocess.check_output(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    text=True,
)
# The pages of this repository; the generated ones are checked in generated projects.
PAGES = sorted(
    name
    for name in LISTED.split("\0")
    if name and not name.startswith(TEMPLATE) and (ROOT / name).is_file()
)
# What pages link to and name, and other branches of this change add. Remove each when it is there.
COMING = {"tests/apps/"}
COMING_TARGETS = {"test-quick"}
# Variables of other programs that pages name: environments of applications, pip, ssh keys in CI.
OTHERS = {
    *("DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "POSTGRES_PASSWORD", "GREETING"),
    *("DATABASES", "ALLOWED_HOSTS", "ROOT_URLCONF", "INSTALLED_APPS", "MIDDLEWARE", "STATIC_URL"),
    *("WHITENOISE_USE_FINDERS", "SECURE_PROXY_SSL_HEADER"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "LANG", "TZ", "LC_ALL"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "SSH_KEY", "KNOWN_HOSTS", "RUN_ENV"),
    *("ENTRYPOINT", "CMD", "HEALTHCHECK", "EXPOSE", "FROM", "SIGTERM", "CDLL", "NAME"),
    *("VIRTUAL_HOST", "VIRTUAL_HOST_MULTIPORTS", "VIRTUAL_PORT", "VIRTUAL_PATH", "VIRTUAL_DEST"),
    *("VIRTUAL_PROTO", "VIRTUAL_ROOT"),
}
COMMAND = re.compile(
    r"`(?:[A-Z_]+=\S+ )?make ([^`…]*?)`|^\s*(?:\$ |    )?make ([a-z][^#`|]*?)(?:\s+#.*)?$", re.M
)
# Prefixes of targets in pages about Makefiles that have targets of their own.
PREFIXES = re.compile(r"^(?:slipway|shop|mail)-")
VARIABLE = re.compile(r"^([A-Z][A-Z_]{2,})(?: ?(?:[:?]?=).*)?$", re.S)


def code_of(text: str) -> list[str]:
    """Return the code of a page: each span, and each line of each block."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.M | re.S)
    rest = re.sub(r"^ *```\w*\n.*?^ *```$", "", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [*re.findall(r"`([^`\n]+)`", rest), *(line.strip() for line in lines)]


def targets_named(text: str) -> set[str]:
    """Return every target that a page runs with make."""
    words = " ".join(first or second for first, second in COMMAND.findall(text)).split()
    found = {word for word in words if re.fullmatch(r"[a-z-]+", word)} - {"make"}
    return {PREFIXES.sub("", word) for word in found}


def variables_named(text: str) -> set[str]:
    """Return every variable that a page sets, names in code, or gives to make."""
    found = {match[1] for code in code_of(text) if (match := VARIABLE.match(code))}
    for code in code_of(text):
        if re.search(r"\bmake\b", code):
            found |= set(re.findall(r"\b([A-Z][A-Z_]{2,})=", code))
    return found


def targets_of(folder: Path) -> set[str]:
    """Return the targets that a folder's Makefile has, as make itself knows them."""
    command = ["make", "--print-data-base", "--dry-run", "--question", "help"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"^([a-z][a-z-]*):", said, re.M))


def variables_of(project: Project) -> set[str]:
    """Return the variables of a generated project and of this repository's own Makefile."""
    known = re.search(r"^DEPLOY_KNOWN := ((?:.*\\\n)*.*)", project.read("deploy/deploy.mk"), re.M)
    assert known
    texts = [project.read("deploy/settings.mk"), (ROOT / "Makefile").read_text(encoding="utf-8")]
    if project.has("Makefile"):
        texts.append(project.read("Makefile"))
    set_here = re.findall(r"^([A-Z_]+) *[:?]?=|\$\(or \$\(([A-Z]+)\)", "\n".join(texts), re.M)
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    of_tests = re.findall(r"[\"'](ATTACHMENTS_[A-Z]+|FAULTS|SEED)[\"']", "\n".join(tests))
    own = re.findall(r"^\| `([A-Z_]+)` \|", attachments_page(project), re.M)
    words = {word for words in set_here for word in words if word}
    return {*known[1].replace("\\", "").split(), *words, *of_tests, *own, "DEPLOY_PREFIX"}


def attachments_page(project: Project) -> str:
    """Return the page of the attachments application, which lists its own variables."""
    return project.read("ATTACHMENTS.md") if project.has("ATTACHMENTS.md") else ""


def anchors_of(text: str) -> set[str]:
    """Return the anchors that a forge makes of a page's headings."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        unique = anchor
        while unique in found:
            unique = f"{anchor}-{number}"
            number += 1
        found.add(unique)
    return found


def broken_links(folder: Path, name: str) -> list[str]:
    """Return the relative links of a page whose file or anchor does not exist."""
    text = (folder / name).read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (folder / name).parent / path if path else folder / name
        if not file.exists():
            inside = file.resolve().relative_to(folder.resolve()).as_posix()
            if inside not in COMING:
                found.append(target)
        elif anchor and anchor not in anchors_of(file.read_text(encoding="utf-8")):
            found.append(target)
    return found


@pytest.fixture(scope="module")
def projects(bake: Baker) -> dict[str, Project]:
    """Return a generated project of each kind."""
    return {app: bake(app=app) for app in APPS}


@pytest.fixture(scope="module")
def variables(projects: dict[str, Project]) -> set[str]:
    """Return the variables of this repository, of generated projects and of other programs."""
    return OTHERS.union(*(variables_of(project) for project in projects.values()))


@pytest.fixture(scope="module")
def targets(projects: dict[str, Project]) -> set[str]:
    """Return the targets of this repository and of each kind of generated project."""
    each = [targets_of(project.path) for project in projects.values()]
    return set().union(targets_of(ROOT), COMING_TARGETS, *each)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_and_headings_that_exist(name: str) -> None:
    """Every relative link of every page, with its anchor."""
    assert not broken_links(ROOT, name)


@pytest.mark.parametrize("app", APPS)
def test_links_of_generated_pages_work_in_a_project(projects: dict[str, Project], app: str) -> None:
    """The generated pages link to files that the project has."""
    project = projects[app]
    pages = [name for name in project.files() if name.endswith(".md")]
    assert {"README.md", "deploy/README.md", "deploy/ca/README.md"} <= set(pages)
    assert not [link for name in pages for link in broken_links(project.path, name)]


def test_every_page_of_the_documentation_is_linked() -> None:
    """The index of each folder links to each page in it."""
    for folder in ("docs", "docs/how-to", "docs/reference", "docs/explanation", "docs/figures"):
        index = (ROOT / folder / "README.md").read_text(encoding="utf-8")
        pages = [path.name for path in (ROOT / folder).glob("*.md") if path.name != "README.md"]
        assert not [page for page in pages if f"({page}" not in index], folder


@pytest.mark.parametrize("name", PAGES)
def test_documented_targets_exist(targets: set[str], name: str) -> None:
    """Each `make …` in a page is a target here or in a generated project."""
    assert targets_named((ROOT / name).read_text(encoding="utf-8")) <= targets


@pytest.mark.parametrize("name", PAGES)
def test_documented_variables_exist(variables: set[str], name: str) -> None:
    """Each variable in a page is a setting, a variable of make, or another program's."""
    assert variables_named((ROOT / name).read_text(encoding="utf-8")) <= variables


@pytest.mark.parametrize("app", APPS)
def test_generated_readme_names_targets_and_variables_that_exist(
    projects: dict[str, Project], app: str
) -> None:
    """Each `make …` and variable in a generated README exists there, and all targets are named."""
    project = projects[app]
    text = project.read("README.md")
    existing = targets_of(project.path)
    assert targets_named(text) <= existing
    assert variables_named(text) <= variables_of(project) | OTHERS
    contract = {name for name in existing if not name.startswith("slipway-")}
    contract -= {"help", "test", *targets_named(attachments_page(project)), "database-down"}
    assert contract <= targets_named(text) | set(code_of(text))


@pytest.mark.parametrize("app", APPS)
def test_generated_readme_is_found_by_the_words_people_look_for(
    projects: dict[str, Project], app: str
) -> None:
    """An owner searches the page for these words, and it has no long table of files."""
    text = projects[app].read("README.md")
    for word in ("database", "https", "migrate", "cron", "ci", "backup", "secret", "rollback"):
        assert re.search(rf"\b{word}", text, re.I), word
    assert len(text.splitlines()) < 110


@pytest.mark.parametrize("app", APPS)
def test_readme_of_deploy_names_every_entry(projects: dict[str, Project], app: str) -> None:
    """deploy/README.md has every visible entry of deploy/ and every folder of the machinery."""
    project = projects[app]
    text = project.read("deploy/README.md")
    assert len(text.splitlines()) <= 30
    rows = " ".join(re.findall(r"^\| (`.*?) \|", text, re.M))
    named = set(re.findall(r"`([^`]+)`", rows))
    assert {"settings.mk", "deploy.mk", "base.docker", "build.docker", "run.docker", "ca/"} <= named
    deploy = project.path / "deploy"
    entries = [path for path in deploy.iterdir() if path.name[0] not in "._"]
    rooms = [path for path in (deploy / "slipway").iterdir() if path.name[0] not in "._"]
    rooms = [path for path in rooms if path.is_dir()]
    there = {f"{path.name}/" if path.is_dir() else path.name for path in [*entries, *rooms]}
    assert there - named == {"README.md"}
    assert named - there <= {"base.lock", "vendor/"}


def test_attachments_are_documented_as_they_are(bake: Baker) -> None:
    """Each setting with its default, each address, each target and each module."""
    project = bake(app="attachments")
    text = project.read("ATTACHMENTS.md")
    code = project.read("src/attachments/settings.py")
    fields = re.findall(r"^    ([a-z_]+): (?:int|str) = (.*)", code, re.M)
    assert len(fields) > 10
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| ([^|]+) \|$", text, re.M))
    for name, default in fields:
        if name != "port":
            documented = rows.pop(name.upper())
            value = default.replace("_", "").replace(" << 30", "G").replace("1 << 40", "1T")
            words = ("database_url", "write_token", "allowed_hosts")
            assert name in words or documented == value
    assert not rows
    assert {"backup", "restore", "database"} <= targets_named(text) <= targets_of(project.path)
    modules = [name for name in project.files() if name.startswith("src/attachments/")]
    for name in modules:
        file = name.removeprefix("src/attachments/")
        known = file.split("/")[0]
        assert known in text or known == "__init__.py", file


def test_readme_shows_the_questions_that_are_asked() -> None:
    """The transcript in the README has each prompt and each default."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = {name: default for name, default in questions.items() if not name.startswith("_")}
    assert len(asked) == 8
    for name, default in asked.items():
        prompt = questions["__prompts__"][name]
        if isinstance(default, list):
            assert prompt["__prompt__"] in text
            assert all(prompt[choice] in text for choice in default)
        else:
            shown = Template(default).render(cookiecutter={"app": asked["app"][0]})
            assert f"{prompt} ({shown}):" in text


def test_readme_is_short_and_begins_with_what_needs_no_clone() -> None:
    """Less than 120 lines; how to get the template comes before the demo in a clone."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    order = ("pipx run cookiecutter gh:", "make demo", "In one minute", "The picture", "make test")
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_figures_in_the_readme_have_their_commands() -> None:
    """The README names the page of each picture, and the command that makes it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/figures/bench.svg)" in text
    for page, command in (("bench", "make bench"), ("blobs", "make bench-blobs")):
        assert re.search(rf"\(docs/figures/{page}\.md\), by `{command}`", text)


def test_figures_count_what_was_measured() -> None:
    """Numbers that other pages repeat are those of the measured results."""
    native = json.loads((ROOT / "docs/figures/native.json").read_text(encoding="utf-8"))
    built = [row for rows in native.values() for row in rows.values() if "built" in row]
    used = sum(bool(row["used"]) for row in built)
    for page in ("README.md", "docs/explanation/native-libraries.md"):
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        assert f"{used} of {len(built)} builds of packages from source" in text, page


def test_every_file_that_the_map_names_exists() -> None:
    """No row of the map in CONTRIBUTING.md is out of date."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", text.split("## The map")[1].split("\n## ")[0], re.M)
    assert len(rows) > 5
    assert not [name for name in rows if not (ROOT / name).exists() and name not in COMING]
