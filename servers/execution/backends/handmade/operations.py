"""What can be done with what is made by hand: read a resource, render a prompt, complete what is being typed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from servers.execution.backends.handmade import prompts, resources
from servers.execution.backends.handmade.completing import Rule, check_completing, complete
from servers.execution.backends.handmade.giving import Placed, check_giving
from servers.execution.backends.handmade.reading import Reader
from servers.execution.contract import Completion, Context, Offered, Operation, Outcome

Run = Callable[[Mapping[str, Any], Mapping[str, Any], Context], Awaitable[Outcome]]

OPERATIONS: Final[Mapping[str, Run]] = {
    resources.KIND: resources.read_resource,
    prompts.KIND: prompts.render_prompt,
}
_GIVINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[Placed]]]] = {
    resources.KIND: resources.givings_of,
    prompts.KIND: prompts.givings_of,
}
_RULES: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Rule]]]] = {
    resources.KIND: resources.rules_of,
    prompts.KIND: prompts.rules_of,
}


async def complete_argument(
    operation: Operation, argument: str, value: str, given: Mapping[str, str], context: Context
) -> Completion:
    """Values for an argument of a prompt, or a variable of a template."""
    rule = _rules(operation).get(argument)
    return Completion(()) if rule is None else await complete(rule[1], argument, value, given, context)


def tools_of(operation: Operation) -> list[str]:
    """The names of the tools that it may call."""
    givings = [giving for _, giving, _ in _givings(operation)]
    givings += [rule["complete"] for _, rule in _rules(operation).values() if "complete" in rule]
    return sorted({giving["tool"] for giving in givings})


def check_tools(operation: Operation, tools: Mapping[str, Offered]) -> None:
    """Check what names tools against these. Raises ``InvalidInput`` with every fault at once."""
    faults = Reader()
    for path, giving, unsure in _givings(operation):
        check_giving(giving, path, tools, faults, unsure=unsure)
    for path, rule in _rules(operation).values():
        check_completing(rule, path, tools, faults)
    faults.require_none()


def _givings(operation: Operation) -> Sequence[Placed]:
    find = _GIVINGS.get(operation.kind)
    return [] if find is None else find(operation.definition)


def _rules(operation: Operation) -> Mapping[str, Rule]:
    find = _RULES.get(operation.kind)
    return {} if find is None else find(operation.definition)
