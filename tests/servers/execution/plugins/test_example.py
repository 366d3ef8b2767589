"""The example package works as the guide says, through the real engine and real entry points."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from servers.execution.contract import Operation
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import ROOT, Install, source_of, write_dist_info
from tests.servers.execution.plugins.contexts import Answering, play_rounds

pytestmark = pytest.mark.anyio

EXAMPLE: Final = ROOT / "examples" / "greetings"
GUIDE: Final = ROOT / "docs" / "plugins.md"

FRENCH: Final = {"language": {"action": "accept", "content": {"language": "fr"}}}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """With the example installed: what its pyproject.toml says of entry points is what an installer writes."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    write_dist_info(tmp_path, package=project["name"], entries=project["entry-points"]["marina.plugins"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    yield Engine()
    sys.modules.pop("greetings", None)


async def test_the_example_greets_in_both_eras(engine: Engine) -> None:
    source, greet = source_of("greetings"), Operation("tool", {"name": "greet"})
    context = Answering(FRENCH)
    outcome = await engine.execute(source, greet, {"names": ["Ada", "Alan"]}, context=context)
    assert outcome.structured == {
        "result": [
            {"name": "Ada", "text": "Bonjour, Ada!"},
            {"name": "Alan", "text": "Bonjour, Alan!"},
        ]
    }
    assert [told[0] for told in context.told] == ["progress", "progress"]
    again, rounds = await play_rounds(
        lambda context: engine.execute(source, greet, {"names": ["Ada"]}, context=context), FRENCH
    )
    assert again.text == '[{"name":"Ada","text":"Bonjour, Ada!"}]'
    assert len(rounds) == 1


async def test_the_examples_resources_prompt_and_completion_work(engine: Engine) -> None:
    offering = engine.backend("greetings").offered({})
    assert [each.uri for each in offering.resources] == ["greet://people", "greet://people/{name}"]
    source, person = source_of("greetings"), offering.resources[1].operation
    read = await engine.execute(source, person, {"uri": "greet://people/emmy", "name": "emmy"})
    assert read.content == [{"uri": "greet://people/emmy", "mimeType": "text/plain", "text": "Hallo, Emmy!"}]
    assert (await engine.complete(source, person, "name", "a", {})).values == ("ada", "alan")
    card = await engine.execute(source, offering.prompts[0].operation, {"name": "Ada", "occasion": "jubilee"})
    assert card.content is not None
    assert card.content[0]["content"]["text"] == "Write a jubilee card for Ada."


def test_the_examples_own_tests_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(EXAMPLE / "pyproject.toml"), str(EXAMPLE)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def blocks_of(language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


async def test_the_guides_first_plugin_runs_as_it_stands(install: Install) -> None:
    first, *others = blocks_of("python")
    install("from __future__ import annotations\n" + first + "\n" + "\n".join(others), name="weather")
    engine = Engine()
    backend = engine.backend("weather")
    offering = backend.offered({})
    assert next(tool.name for tool in offering.tools) == "forecast"
    entries: Any = tomllib.loads(blocks_of("toml")[0])
    assert entries["project"]["entry-points"]["marina.plugins"] == {"weather": "weather:plugin"}
    source = source_of("weather", **backend.clean_settings({"station": "s1", "token": "t"}))
    outcome = await engine.execute(
        source, Operation("tool", {"name": "forecast"}), {"city": "Bern", "days": 2}
    )
    assert outcome.structured == {"city": "Bern", "days": 2, "text": "Sun"}
