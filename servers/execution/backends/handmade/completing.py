"""Values for what somebody is typing: from a list, or from a tool of the team. Helps, and decides nothing.

{"tool": "find_orders", "arguments": {"prefix": "${id}", "limit": 100}, "pick": "/rows", "member": "id"}

The argument's own slot is what was typed so far; the others are what is filled in already. A tool that takes what was
typed has chosen by it; of another one's values those are given that hold it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from servers.execution.backends.handmade.giving import (
    MEMBERS,
    NothingThere,
    call_for,
    check_giving,
    fill_arguments,
    read_giving,
    takes,
)
from servers.execution.backends.handmade.pointers import schema_of
from servers.execution.backends.handmade.reading import Reader
from servers.execution.contract import Completion, Context, Offered
from servers.execution.schemas import types_of

MAX_VALUE: Final = 1_000
"""Characters. What is longer is no value to choose."""

Rule = tuple[str, Mapping[str, Any]]
"""How an argument is completed, and before it the path to its members."""

_MEMBERS: Final = (*MEMBERS, "member")


def read_completing(
    rule: Mapping[str, Any], path: str, slots: Collection[str], faults: Reader
) -> dict[str, Any]:
    """How an argument or a variable is completed, as it is stored: ``enum`` or ``complete``, or neither."""
    if choices := faults.choices(rule.get("enum"), f"{path}enum"):
        if rule.get("complete") is not None:
            faults.add(f"{path}complete", "give either an enum or a tool to complete from.")
        return {"enum": choices}
    given = rule.get("complete")
    if given is None:
        return {}
    found = read_giving(given, f"{path}complete", slots, faults, members=_MEMBERS)
    if isinstance(given, Mapping) and (
        member := faults.text(given, "member", longest=200, path=f"{path}complete.")
    ):
        found["member"] = member
    return {"complete": found}


def check_completing(
    rule: Mapping[str, Any], path: str, tools: Mapping[str, Offered], faults: Reader
) -> None:
    """Add what does not fit the tool that completes it, if one does."""
    giving = rule.get("complete")
    if giving is None:
        return
    offered = check_giving(giving, f"{path}complete", tools, faults)
    if offered is None:
        return
    found = schema_of(offered.output_schema, giving.get("pick", ""))
    types = types_of(found)
    if types and "array" not in types:
        faults.add(f"{path}complete.pick", "must lead to the list of the values, such as /rows.")
    elif found is not None and types_of(found.get("items")) == {"object"} and "member" not in giving:
        faults.add(f"{path}complete.member", "the list holds objects: name the member that is the value.")


async def complete(
    rule: Mapping[str, Any], argument: str, typed: str, given: Mapping[str, str], context: Context
) -> Completion:
    """Values that complete what was typed. None where the caller may not call the tool that has them."""
    giving = rule.get("complete")
    if giving is None:
        found = _holding(typed, rule.get("enum", ()))
        return Completion(found, total=len(found))
    offered = context.tool(giving["tool"])
    if offered is None or not offered.only_reads:
        return Completion(())
    try:
        arguments = fill_arguments(giving, {**given, argument: typed}, offered)
    except InvalidInput:
        # What was typed so far is none of the values that the tool takes.
        return Completion(())
    if any(name not in arguments for name in offered.input_schema.get("required", ())):
        return Completion(())
    try:
        rows, outcome = await call_for(giving, arguments, offered, context, key=argument)
    except NothingThere:
        return Completion(())
    if not isinstance(rows, list | tuple):
        raise SourceError(
            f"The tool {giving['tool']} gave no list of values. Ask an editor of the team to say where it is, in pick.",
            code="completion_unusable",
        )
    found = _texts(rows, giving.get("member"))
    if not takes(giving, argument):
        found = _holding(typed, found)
    return Completion(found, has_more=outcome.truncated)


def _holding(typed: str, choices: Iterable[str]) -> Sequence[str]:
    """The choices that begin with what was typed, then those that hold it, in whatever case."""
    typed = typed.casefold()
    holding = [each for each in choices if typed in each.casefold()]
    return sorted(holding, key=lambda each: not each.casefold().startswith(typed))


def _texts(rows: Sequence[Any], member: str | None) -> Sequence[str]:
    """The values of the rows as text, each once."""
    found: dict[str, None] = {}
    for row in rows:
        value = row.get(member) if member is not None and isinstance(row, Mapping) else row
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float):
            value = str(value)
        if isinstance(value, str) and 0 < len(value) <= MAX_VALUE:
            found[value] = None
    return list(found)
