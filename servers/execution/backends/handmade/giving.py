"""What a tool gives, where something made by hand names one: read, checked against the tool, called, and picked from.

{"tool": "get_order", "arguments": {"order_id": "${id}", "lines": true}, "pick": "/rows/0"}

``arguments`` are as the tool takes them, with slots in their texts: one that is a slot and nothing else becomes what
the tool's schema says, a number or a boolean. ``pick`` is a JSON Pointer (RFC 6901) into the result. The tool is one
that only reads, on the server where what names it is read, and it is called as its caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from core.errors import InvalidInput, NotFound, SourceError
from servers.execution.backends.handmade.pointers import MAX_POINTER, find_at, is_pointer, missing_step
from servers.execution.backends.handmade.reading import Reader
from servers.execution.backends.handmade.slots import as_it_is, fill, holds, only_slot, slots_of
from servers.execution.contract import Context, Offered, Outcome
from servers.execution.schemas import Steps, misfits, schema_at, types_of

MEMBERS: Final = ("tool", "arguments", "pick")
MAX_DEPTH: Final = 16
"""Of arguments: lists and objects within each other."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False}
_WORDS: Final[Mapping[str, str]] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
_FROM_TEXT: Final = frozenset({"string", "integer", "number", "boolean"})

_LEFT_OUT: Final = object()

Placed = tuple[str, Mapping[str, Any], Sequence[str]]
"""What a tool gives, before it its path in what names it, and after it the slots that may have no value."""


class NothingThere(Exception):
    """The result has nothing where ``pick`` points. ``str`` says so in a sentence."""


def read_giving(
    given: Any,
    path: str,
    slots: Collection[str],
    faults: Reader,
    *,
    members: Collection[str] = MEMBERS,
) -> dict[str, Any]:
    """The definition, as it is stored. ``slots`` are the names that its arguments may hold."""
    if not isinstance(given, Mapping):
        faults.add(path, 'must be an object, such as {"tool": "get_order", "arguments": {"id": "${id}"}}.')
        return {"tool": "", "arguments": {}}
    faults.check_members(given, members, f"{path}.")
    tool = faults.text(given, "tool", longest=64, path=f"{path}.", needed=True)
    arguments = given.get("arguments")
    if arguments is not None and not isinstance(arguments, Mapping):
        faults.add(f"{path}.arguments", "must be an object of the tool's arguments.")
        arguments = None
    for place, value in _leaves(arguments or {}):
        if len(place) > MAX_DEPTH:
            faults.add(f"{path}.arguments", f"may be {MAX_DEPTH} levels deep.")
            arguments = None
            break
        if isinstance(value, str):
            faults.slots(value, slots, _at(path, place))
    found: dict[str, Any] = {"tool": tool, "arguments": dict(arguments or {})}
    pick = faults.text(given, "pick", longest=MAX_POINTER, path=f"{path}.")
    if not is_pointer(pick):
        faults.add(f"{path}.pick", "is not a JSON Pointer, such as /rows/0: each step begins with a slash.")
    elif pick:
        found["pick"] = pick
    return found


def check_giving(
    giving: Mapping[str, Any],
    path: str,
    tools: Mapping[str, Offered],
    faults: Reader,
    *,
    unsure: Collection[str] = (),
) -> Offered | None:
    """Add what does not fit the tool that it names; give that tool. ``unsure``: slots that may have no value."""
    tool = giving["tool"]
    offered = tools.get(tool)
    if offered is None:
        faults.add(f"{path}.tool", f"there is no tool called {tool} in this team.")
        return None
    if not offered.only_reads:
        faults.add(
            f"{path}.tool",
            f"{tool} may change something, and what clients only read must not. Name a tool that only reads.",
        )
    texts = {place: value for place, value in _leaves(giving["arguments"]) if isinstance(value, str)}
    slots = {place: slots_of(text) for place, text in texts.items()}
    unknown = [place for place, names in slots.items() if names]
    try:
        for at, message in misfits(tool, offered.input_schema, giving["arguments"], unknown):
            faults.add(_at(path, at), message)
    except InvalidInput:
        faults.add(f"{path}.tool", f"the schema of {tool} is not valid: mend that tool.")
        return offered
    needed = offered.input_schema.get("required", ())
    for place in unknown:
        types = types_of(schema_at(offered.input_schema, place))
        name = only_slot(texts[place])
        if types and "string" not in types and (name is None or not types & _FROM_TEXT):
            words = " or ".join(sorted(types))
            faults.add(_at(path, place), f"is a text, and {tool} takes {words} here.")
        elif name in unsure and len(place) == 1 and place[0] in needed:
            faults.add(_at(path, place), f"{tool} needs it, and {name} may be left out.")
    step = missing_step(offered.output_schema, giving.get("pick", ""))
    if step is not None:
        faults.add(f"{path}.pick", f"leads nowhere: results of {tool} have no {step} there.")
    return offered


def takes(giving: Mapping[str, Any], name: str) -> bool:
    """Whether a slot of its arguments is of this name."""
    return any(holds(value, name) for _, value in _leaves(giving["arguments"]) if isinstance(value, str))


def fill_arguments(
    giving: Mapping[str, Any], values: Mapping[str, str], offered: Offered | None
) -> dict[str, Any]:
    """The arguments of one call. One that is a slot without a value is left out. Raises ``InvalidInput``."""
    schema = None if offered is None else offered.input_schema
    filled = _filled(giving["arguments"], values, schema, ())
    return {name: value for name, value in filled.items() if value is not _LEFT_OUT}


async def give(
    giving: Mapping[str, Any], values: Mapping[str, str], context: Context, *, key: str
) -> tuple[Any, Outcome]:
    """Call the tool: what ``pick`` finds in its result, and all of it.

    Raises ``NothingThere``, and ``MarinaError`` where the values do not fit, or the tool may not or cannot be called.
    """
    tool = giving["tool"]
    offered = context.tool(tool)
    if offered is not None and not offered.only_reads:
        raise SourceError(
            f"The tool {tool} may change something by now, so it is not called for what is only read. Ask an editor of "
            "the team to name another one.",
            code="tool_writes",
        )
    return await call_for(giving, fill_arguments(giving, values, offered), offered, context, key=key)


async def call_for(
    giving: Mapping[str, Any],
    arguments: Mapping[str, Any],
    offered: Offered | None,
    context: Context,
    *,
    key: str,
) -> tuple[Any, Outcome]:
    """As ``give``, with the arguments as they are."""
    tool = giving["tool"]
    try:
        outcome = await context.call(tool, arguments, key=key)
    except NotFound as refusal:
        if offered is not None or refusal.code != "tool_unknown":
            raise
        raise SourceError(
            f"The tool {tool} fills it, and this server does not offer that tool. Ask an editor of the team to offer "
            "it here, or to name another one.",
            code="tool_missing",
            data={"tool": tool},
        ) from None
    pick = giving.get("pick", "")
    if not pick:
        return outcome.structured, outcome
    if outcome.structured is None:
        raise SourceError(
            f"The tool {tool} gave a text, in which nothing is picked. Ask an editor of the team to leave out pick.",
            code="result_unstructured",
        )
    try:
        return find_at(outcome.structured, pick), outcome
    except LookupError:
        raise NothingThere(f"The tool {tool} gave nothing at {pick}.") from None


def _filled(written: Any, values: Mapping[str, str], schema: Mapping[str, Any] | None, place: Steps) -> Any:
    if isinstance(written, str):
        name = only_slot(written)
        if name is None:
            return fill(written, values, as_it_is)
        if name not in values:
            return _LEFT_OUT if len(place) == 1 else None
        return _converted(values[name], types_of(schema_at(schema, place)), name)
    if isinstance(written, Mapping):
        return {key: _filled(value, values, schema, (*place, str(key))) for key, value in written.items()}
    if isinstance(written, list):
        return [_filled(value, values, schema, (*place, number)) for number, value in enumerate(written)]
    return written


def _converted(text: str, types: Collection[str], name: str) -> Any:
    """A slot's value as the tool takes it. Raises ``InvalidInput``."""
    if not types or "string" in types:
        return text
    if "integer" in types and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if "boolean" in types and text in _BOOLEANS:
        return _BOOLEANS[text]
    words = " or ".join(word for each, word in _WORDS.items() if each in types)
    if not words:
        return text
    message = f"must be {words}."
    raise InvalidInput(
        f"{name} {message}", errors=[{"path": name, "message": message}], code="arguments_invalid"
    )


def _leaves(value: Any, place: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """What stands in arguments, each with its place; what is too deep, as one."""
    inside: Any = ()
    if isinstance(value, Mapping) and len(place) <= MAX_DEPTH:
        inside = ((str(key), each) for key, each in value.items())
    elif isinstance(value, list) and len(place) <= MAX_DEPTH:
        inside = enumerate(value)
    else:
        yield place, value
    for step, each in inside:
        yield from _leaves(each, (*place, step))


def _at(path: str, place: Steps) -> str:
    return ".".join((f"{path}.arguments", *(str(step)[:64] for step in place)))
