"""What can be done with what is made by hand: read a resource, render a prompt, complete what is being typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from servers.execution.backends.handmade import prompts, resources
from servers.execution.contract import Completion, Operation, Outcome

OPERATIONS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Outcome]]] = {
    resources.KIND: resources.read_resource,
    prompts.KIND: prompts.render_prompt,
}


def complete(operation: Operation, argument: str, value: str) -> Completion:
    """The choices that begin with what was typed, then those that hold it, in whatever case."""
    typed = value.casefold()
    choices = _choices(operation, argument)
    first = [each for each in choices if each.casefold().startswith(typed)]
    rest = [each for each in choices if typed in each.casefold() and each not in first]
    return Completion([*first, *rest], total=len(first) + len(rest))


def _choices(operation: Operation, argument: str) -> Sequence[str]:
    if operation.kind == resources.KIND:
        found = operation.definition.get("variables", {}).get(argument, {})
    else:
        declared = operation.definition.get("arguments", ())
        found = next((each for each in declared if each["name"] == argument), {})
    choices: Sequence[str] = found.get("enum", ())
    return choices
