"""Checks the calls of a flow against the tools: that they are there, and that the arguments fit. Runs none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jsonschema_rs import ValidationErrorKind

from core.errors import InvalidInput
from servers.execution.backends.flows.references import (
    Items,
    Members,
    Reference,
    Steps,
    Text,
    Value,
    references_in,
)
from servers.execution.backends.flows.steps import Call, Flow, calls_of
from servers.execution.contract import Offered
from servers.execution.parameters import Faults
from servers.execution.schemas import HIDDEN, compile_schema

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
        validator = compile_schema(offered.input_schema)
    except InvalidInput:
        yield {
            "path": f"{call.place}.tool",
            "message": f"The schema of {call.tool} is not valid: mend that tool.",
        }
        return
    for fault in validator.iter_errors(_sketch(call.args)):
        at = tuple(fault.instance_path)
        kind = fault.kind
        if isinstance(kind, ValidationErrorKind.Required):
            yield {"path": _place(call, (*at, kind.property)), "message": "is required, but missing."}
        elif isinstance(kind, ValidationErrorKind.AdditionalProperties):
            for name in kind.unexpected:
                yield {"path": _place(call, (*at, name)), "message": f"{call.tool} has no such argument."}
        elif not any(place[: len(at)] == at or at[: len(place)] == place for place in places):
            message = fault.message.removeprefix(HIDDEN).strip()
            yield {"path": _place(call, at), "message": f"{message[:300]}."}
    for place, reference in places.items():
        wanted = _types(_follow(offered.input_schema, place))
        given = _types(_find(outputs.get(reference.name), reference.path))
        if isinstance(_at(call.args, place), Text):
            given = {"string"}
        if wanted and given and not wanted & given:
            message = f"{reference} is of type {_said(given)}; {call.tool} takes {_said(wanted)} here."
            yield {"path": _place(call, place), "message": message}


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


def _find(schema: Mapping[str, Any] | None, path: Steps) -> Mapping[str, Any] | None:
    return None if schema is None else _follow(schema, path)


def _follow(schema: Mapping[str, Any], place: Steps) -> Mapping[str, Any] | None:
    """The schema of what stands at a place, where plain properties and items lead there."""
    found: Any = schema
    for step in place:
        if not isinstance(found, Mapping) or "$ref" in found:
            return None
        if isinstance(step, int):
            found = found.get("items") if "prefixItems" not in found else None
        else:
            properties = found.get("properties")
            found = properties.get(step) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _types(schema: Mapping[str, Any] | None) -> set[str]:
    """The types that a schema says; empty where it says none."""
    if schema is None:
        return set()
    said = schema.get("type")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    return {_NAMES.get(name, name) for name in names}


def _said(types: set[str]) -> str:
    return " or ".join(sorted(types))


def _place(call: Call, steps: Iterable[str | int]) -> str:
    return f"{call.place}.args" + "".join(
        f"[{each}]" if isinstance(each, int) else f".{each}" for each in steps
    )
