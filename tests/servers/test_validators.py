"""Validators of tools: there once a tool is called, within a bound, and told of where a stored schema is none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest

from core.errors import SourceError
from servers.execution.contract import Operation, Source
from servers.services import decisions
from servers.services.decisions import require_result_validator, require_usable
from servers.services.surfaces import SurfaceTool
from servers.services.validators import Validators, find_fault

BROKEN = {"type": "objct"}
SCHEMA = {"type": "object", "required": ["a"], "description": "x" * 1_000}


def tool_of(schema: Mapping[str, Any] = SCHEMA, output: Mapping[str, Any] | None = None) -> SurfaceTool:
    return SurfaceTool(
        name="find",
        title="",
        description="",
        input_schema=schema,
        output_schema=output,
        annotations={},
        version=1,
        operation=Operation("find", {}),
        source=Source(uuid4(), 1, "s", "k", 1, {}),
    )


def test_a_tool_is_compiled_when_it_is_first_called_and_once() -> None:
    tool = tool_of(output={"type": "object"})
    assert (tool.validator, tool.output_validator) == (None, None)
    _, validator = require_usable(tool)
    assert validator.is_valid({"a": 1})
    assert not validator.is_valid({})
    assert tool.output_validator is not None
    assert require_usable(tool)[1] is tool.validator is validator


@pytest.mark.parametrize(("schema", "output"), [(BROKEN, None), (SCHEMA, BROKEN)])
def test_a_tool_whose_stored_schema_is_none_is_not_run_and_says_so(
    schema: Mapping[str, Any], output: Mapping[str, Any] | None
) -> None:
    tool = tool_of(schema, output)
    with pytest.raises(SourceError) as caught:
        require_usable(tool)
    assert caught.value.code == "tool_unusable"
    assert find_fault(tool) == caught.value.message == find_fault(tool)
    assert tool.validator is None
    assert find_fault(tool_of()) == ""


def test_what_was_compiled_first_makes_room_and_is_compiled_again() -> None:
    validators = Validators(max_bytes=100_000)
    tools = [tool_of() for _ in range(20)]
    for tool in tools:
        validators.compile(tool)
    there = [tool.validator is not None for tool in tools]
    assert there == sorted(there)
    assert 2 < sum(there) < 8
    assert validators.compile(tools[0]).is_valid({"a": 1})
    assert tools[0].validator is not None


def test_results_are_judged_when_other_tools_took_the_room_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    validators = Validators(max_bytes=1)
    monkeypatch.setattr(decisions, "VALIDATORS", validators)
    tool = tool_of(output={"type": "object"})
    require_usable(tool)
    require_usable(tool_of())
    assert tool.output_validator is None
    assert not require_result_validator(tool).is_valid([])


def test_what_is_kept_holds_no_snapshot_that_is_gone() -> None:
    validators = Validators()
    tool = tool_of()
    validators.compile(tool)
    gone = weakref.ref(tool)
    del tool
    gc.collect()
    assert gone() is None
