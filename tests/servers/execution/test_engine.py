"""Kinds of data sources are made when they are first asked for, and one that cannot be is no other's fault."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Backend, Operation, Outcome, Source
from servers.execution.engine import Engine
from tests.plainkind import PlainKind, only

pytestmark = pytest.mark.anyio

OPERATION = Operation("act", {})


class Sound(PlainKind):
    kind = "sound"
    title = "Sound"

    async def execute(self, *args: Any, **given: Any) -> Outcome:
        return Outcome(None, "")


def _lost() -> Backend:
    raise ImportError("a_parser is not installed at /srv/venv")


async def test_a_kind_is_made_when_it_is_first_asked_for_and_once() -> None:
    made: list[str] = []

    def make() -> Backend:
        made.append("sound")
        return Sound()

    engine = Engine(makers={"sound": make})
    assert (engine.kinds, made) == (("sound",), [])
    assert engine.find("nothing") is None
    first = engine.backend("sound")
    assert engine.backend("sound") is engine.find("sound") is first
    assert made == ["sound"]
    await engine.close()


async def test_a_kind_that_cannot_be_imported_says_so_and_stands_in_nobodys_way() -> None:
    engine = Engine(makers={**only(Sound()), "lost": _lost})
    source = Source(uuid4(), 1, "far", "lost", 1, {})
    health = await engine.check(source)
    assert health.state == "unhealthy"
    assert "kind lost" in health.reason
    assert "/srv/venv" not in health.reason
    with pytest.raises(InvalidInput, match="do not work on this installation"):
        engine.backend("lost").clean_settings({})
    assert engine.backend("sound").kind == "sound"


@pytest.mark.parametrize(
    "odd",
    [
        {"rows": 3.0},
        {"rows": Decimal(3)},
        {"size": 1e3},
        {"size": True},
        {"truncated": 1},
        {"truncated": None},
    ],
)
async def test_what_the_log_would_not_take_of_an_outcome_is_the_kinds_fault(odd: dict[str, Any]) -> None:
    class Odd(Sound):
        async def execute(self, *args: Any, **given: Any) -> Outcome:
            return Outcome(None, "", **odd)

    engine = Engine(makers=only(Odd()))
    source = Source(uuid4(), 1, "far", "sound", 1, {})
    with pytest.raises(SourceError, match="the kind sound is at fault") as told:
        await engine.execute(source, OPERATION, {})
    assert told.value.code == "result_invalid"


def test_each_kind_of_marinas_own_can_be_made() -> None:
    engine = Engine()
    assert [engine.backend(kind).kind for kind in engine.kinds] == list(engine.kinds)
    assert not any("not usable" in engine.backend(kind).title for kind in engine.kinds if "@" not in kind)
