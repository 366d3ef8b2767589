"""What README and guide say of files and of the environment is so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.env import parse_env
from config.local.options import read_options

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LOCAL = ROOT / "platform" / "config" / "local"
TEST_SERVICES = ROOT / "tests" / "plugins" / "local_services.py"

KINDS = {
    "code": "code-tools.md",
    "files": "files.md",
    "flows": "pipelines.md",
    "handmade": "resources-and-prompts.md",
    "http": "http-apis.md",
    "mcp": "upstream-servers.md",
    "postgres": "sql-tools.md",
    "sqlite": "sqlite.md",
    "toolkit": "toolkit.md",
}
"""The page of each kind of data source."""

EXAMPLES = {
    "caching.md": "servers/test_caching_docs.py",
    "code-tools.md": "servers/test_code_tools.py",
    "configuration-as-files.md": "servers/test_configuration.py",
    "files.md": "servers/execution/files/test_docs_examples.py",
    "http-apis.md": "servers/execution/http/test_docs_page.py",
    "openapi.md": "servers/test_openapi_docs.py",
    "pipelines.md": "servers/test_flow_tools.py",
    "plugins.md": "servers/execution/plugins/test_example.py",
    "resources-and-prompts.md": "servers/test_rest_handmade.py",
    "secrets.md": "servers/named_secrets/test_docs_page.py",
    "sql-tools.md": "servers/test_database_docs.py",
    "sqlite.md": "servers/test_sqlite_docs.py",
    "tasks.md": "protocol/test_tasks_docs.py",
    "toolkit.md": "servers/execution/toolkit/test_guide.py",
    "upstream-servers.md": "servers/test_upstream_docs.py",
    "versions.md": "servers/test_versions_docs.py",
}
"""Pages on data sources and tools, and the tests that run their examples."""

NOT_SETTINGS = {"CC", "MAKELEVEL", "PATH", "PYTHONWARNINGS"}
"""Variables that a local run reads of its surroundings: nobody sets them for Marina."""

_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_?[A-Z0-9]+")


class Recorder(dict[str, str]):
    """An environment that remembers which variables it was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


def links_of(page: Path) -> Iterator[str]:
    """Targets of links and images, those in code blocks aside."""
    for match in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        yield match[1] or match[2]


def anchors_of(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in links_of(page):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        missing_anchor = (
            anchor and target.suffix == ".md" and target.exists() and anchor not in anchors_of(target)
        )
        if not target.exists() or missing_anchor:
            lost.append(link)
    assert lost == []


def test_every_page_is_in_the_guides_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert [page.name for page in index.parent.glob("*.md") if page != index and page not in linked] == []


def test_each_kind_of_data_source_has_a_page_whose_examples_are_run() -> None:
    kinds = {path.parent.name for path in (ROOT / "servers/execution/backends").glob("*/backend.py")}
    assert KINDS.keys() == kinds - {"plugins"}
    assert EXAMPLES.keys() >= set(KINDS.values())


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_of_a_page_are_read_by_their_tests(page: str) -> None:
    assert re.search(r"^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert page in (ROOT / "tests" / EXAMPLES[page]).read_text(encoding="utf-8")


def variables_read() -> set[str]:
    """What the settings, a local run and the tests' servers read of the environment."""
    given = Recorder(
        {
            "MARINA_MASTER_KEY": "A" * 43,
            "DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
            "REDIS_URL": "redis://127.0.0.1/0",
        }
    )
    parse_env(given)
    read_options(given)
    named = {name for source in LOCAL.glob("*.py") for name in _names_looked_up(source)}
    tests = re.findall(r"_VARIABLE = \"(\w+)\"", TEST_SERVICES.read_text(encoding="utf-8"))
    return (given.asked | named | set(tests)) - NOT_SETTINGS


def _names_looked_up(source: Path) -> Iterator[str]:
    """Constant names in ``environ.get("X")``, ``environ["X"]`` and ``"X" in environ``, whatever it is called there."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="get", value=of), args=[ast.Constant(value=str(name)), *_]):
                found = of
            case ast.Subscript(value=found, slice=ast.Constant(value=str(name)), ctx=ast.Load()):
                pass
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[found]):
                pass
            case _:
                continue
        if re.search(r"env", ast.unparse(found)) and _VARIABLE.fullmatch(name):
            yield name


def test_the_configuration_page_names_exactly_the_variables_that_are_read() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", page, re.MULTILINE)) == variables_read()


def test_the_example_environment_names_exactly_the_variables_that_are_read() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)) == variables_read()
