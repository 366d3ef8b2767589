"""Checks the calls of a flow against the tools: that they are there, and that the arguments fit. Runs none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.flows.references import (
    Items,
    Members,
    Reference,
    Text,
    Value,
    place_below,
    references_in,
)
from servers.execution.backends.flows.steps import Call, Flow, calls_of
from servers.execution.contract import Offered
from servers.execution.parameters import Faults
from servers.execution.schemas import Steps, misfits, schema_at, types_of

_NAMES: Final = {"integer": "number"}
"""Types that are another one, where types are compared."""


def link_flow(
    flow: Flow, tools: Mapping[str, Offered], parameters: Mapping[str, Mapping[str, Any]], faults: Faults
) -> None:
    """What is wrong with the calls joins ``faults``. ``parameters`` are the schemas of the flow's own, by name."""
    # Of what is set more than once nothing is known.
    outputs: dict[str, Mapping[str, Any] | None] = dict(parameters)
    for call in calls_of(flow.steps):
        offered = tools.get(call.tool)
        if call.output:
            known = None if offered is None or call.goes_on else offered.output_schema
            outputs[call.output] = None if call.output in outputs else known
    for call in calls_of(flow.steps):
        offered = tools.get(call.tool)
        if offered is None:
            message = f"There is no tool called {call.tool} in this team."
            faults.append({"path": f"{call.place}.tool", "message": message})
        else:
            faults.extend(_misfits(call, offered, outputs))


def only_reads(flow: Flow, tools: Mapping[str, Offered]) -> bool:
    """Whether every tool that it calls says of itself that it changes nothing."""
    return all(tools[call.tool].only_reads for call in calls_of(flow.steps))


def _misfits(
    call: Call, offered: Offered, outputs: Mapping[str, Mapping[str, Any] | None]
) -> Iterable[dict[str, str]]:
    places = dict(references_in(call.args))
    try:
        for at, message in misfits(call.tool, offered.input_schema, _sketch(call.args), places):
            yield {"path": place_below(f"{call.place}.args", at), "message": message}
    except InvalidInput:
        yield {
            "path": f"{call.place}.tool",
            "message": f"The schema of {call.tool} is not valid: mend that tool.",
        }
        return
    for place, reference in places.items():
        wanted = _types(schema_at(offered.input_schema, place))
        given = _types(schema_at(outputs.get(reference.name), reference.path))
        if isinstance(_at(call.args, place), Text):
            given = {"string"}
        if wanted and given and not wanted & given:
            message = f"{reference} is of type {_said(given)}; {call.tool} takes {_said(wanted)} here."
            yield {"path": place_below(f"{call.place}.args", place), "message": message}


def _sketch(value: Value) -> Any:
    """The value with something in place of each reference."""
    match value:
        case Reference() | Text():
            return ""
        case Items():
            return [_sketch(each) for each in value.items]
        case Members():
            return {name: _sketch(each) for name, each in value.members.items()}
    return value


def _at(value: Value, place: Steps) -> Value:
    for step in place:
        value = value.members[str(step)] if isinstance(value, Members) else value.items[step]
    return value


def _types(schema: Mapping[str, Any] | None) -> set[str]:
    """The types that a schema says, as they are compared; empty where it says none."""
    return {_NAMES.get(name, name) for name in types_of(schema)}


def _said(types: set[str]) -> str:
    return " or ".join(sorted(types))
