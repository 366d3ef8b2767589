"""The steps of pipelines and workflows: reads a definition into them, with the place of each fault. Runs nothing.

A pipeline: {"steps": [{"tool": "list_tables", "args": {"schema": "$schema"}, "output": "tables"}],
             "parameters": {"schema": {"type": "string"}}, "result": "${tables.tables}"}
A workflow has steps of several types beside: ``condition``, ``loop`` and ``parallel``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.flows.conditions import Condition, read_condition, references_of
from servers.execution.backends.flows.references import (
    BadReference,
    Items,
    Reference,
    Value,
    place_below,
    read_value,
    references_in,
)
from servers.execution.parameters import Faults, is_name

PIPELINE: Final = "pipeline"
WORKFLOW: Final = "workflow"

MAX_STEPS: Final = 100
"""Over all levels."""

MAX_DEPTH: Final = 8
MAX_BRANCHES: Final = 20
MAX_ITERATIONS: Final = 1_000

_MOST_NAME: Final = 64
_SHARED: Final = frozenset({"type", "name", "continue_on_failure"})
_OUTPUTS: Final = frozenset({"output", "output_variable"})
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "tool_call": _SHARED | _OUTPUTS | {"tool", "args"},
    "condition": _SHARED | {"if", "then", "else"},
    "loop": _SHARED | _OUTPUTS | {"over", "as", "while", "steps", "max_iterations"},
    "parallel": _SHARED | _OUTPUTS | {"branches"},
}


@dataclass(frozen=True, slots=True)
class Call:
    """Call a tool. ``output`` is the variable that its result becomes, or empty."""

    place: str
    name: str
    tool: str
    args: Value
    output: str
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """Steps of the one or the other kind, by a condition."""

    place: str
    name: str
    condition: Condition
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...]
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps for each item of a list, or while a condition holds: ``most`` times at most."""

    place: str
    name: str
    over: Value
    item: str
    condition: Condition | None
    steps: tuple[Step, ...]
    most: int
    output: str
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Parallel:
    """Several rows of steps at the same time."""

    place: str
    name: str
    branches: tuple[tuple[Step, ...], ...]
    output: str
    goes_on: bool


Step = Call | Choice | Loop | Parallel


@dataclass(frozen=True, slots=True)
class Flow:
    """What a definition says: its steps, and what its result is made of (the last step's, where it does not say)."""

    steps: tuple[Step, ...]
    result: Value
    has_result: bool


def read_flow(definition: Mapping[str, Any], kind: str, parameters: Iterable[str], faults: Faults) -> Flow:
    """Read the steps of a definition; what is wrong with them joins ``faults``."""
    reader = _Reader(kind, faults)
    known = set(parameters)
    steps = reader.steps(definition.get("steps"), "steps", known, depth=0)
    result = None
    if "result" in definition:
        result = reader.value(definition["result"], "result", known)
    return Flow(steps, result, "result" in definition)


def flow_of(definition: Mapping[str, Any], kind: str) -> Flow:
    """The steps of a definition that was accepted once. Raises ``InvalidInput`` where it would not be any more."""
    faults: Faults = []
    flow = read_flow(definition, kind, definition.get("parameters") or (), faults)
    if faults:
        raise InvalidInput("The definition of the tool is not valid.", errors=faults)
    return flow


def step_types(kind: str) -> tuple[str, ...]:
    """The types of steps that a kind of flow has."""
    return tuple(_KEYS) if kind == WORKFLOW else ("tool_call",)


def calls_of(steps: Iterable[Step]) -> Iterator[Call]:
    """Every call of a tool, on all levels."""
    for step in steps:
        match step:
            case Call():
                yield step
            case Choice():
                yield from calls_of((*step.then, *step.otherwise))
            case Loop():
                yield from calls_of(step.steps)
            case Parallel():
                for branch in step.branches:
                    yield from calls_of(branch)


class _Reader:
    """Reads one definition. ``known`` are the variables that have a value for certain where a step begins."""

    def __init__(self, kind: str, faults: Faults) -> None:
        self._kind = kind
        self._faults = faults
        self._count = 0

    def refuse(self, place: str, message: str) -> None:
        self._faults.append({"path": place, "message": message})

    def steps(self, written: Any, place: str, known: set[str], *, depth: int) -> tuple[Step, ...]:
        if not isinstance(written, list) or not written:
            self.refuse(place, "Give a list of steps, one at least.")
            return ()
        if depth > MAX_DEPTH:
            self.refuse(place, f"Steps may stand {MAX_DEPTH} levels deep within each other.")
            return ()
        read = []
        for number, each in enumerate(written):
            self._count += 1
            if self._count > MAX_STEPS:
                self.refuse(f"{place}[{number}]", f"There may be {MAX_STEPS} steps, over all levels.")
                break
            step = self._step(each, f"{place}[{number}]", known, depth)
            if step is not None:
                read.append(step)
        return tuple(read)

    def value(self, written: Any, place: str, known: set[str]) -> Value:
        try:
            value = read_value(written, place=place)
        except BadReference as fault:
            self.refuse(fault.place, str(fault))
            return None
        for at, reference in references_in(value):
            self._check(reference, place_below(place, at), known)
        return value

    def _step(self, written: Any, place: str, known: set[str], depth: int) -> Step | None:
        if not isinstance(written, Mapping):
            self.refuse(place, "A step is an object.")
            return None
        type_ = written.get("type", "tool_call")
        types = step_types(self._kind)
        if type_ not in types:
            more = "" if self._kind == WORKFLOW else " Other types are for workflows."
            self.refuse(f"{place}.type", f"The type must be one of {', '.join(types)}.{more}")
            return None
        for key in sorted(map(str, written.keys() - _KEYS[type_])):
            self.refuse(f"{place}.{key}", f"A step of the type {type_} has no such key.")
        name = written.get("name", "")
        if not isinstance(name, str) or len(name) > _MOST_NAME:
            self.refuse(f"{place}.name", f"Give a text of at most {_MOST_NAME} characters.")
            name = ""
        goes_on = written.get("continue_on_failure", False)
        if not isinstance(goes_on, bool):
            self.refuse(f"{place}.continue_on_failure", "Give true or false.")
        match type_:
            case "condition":
                return self._choice(written, place, name, bool(goes_on), known, depth)
            case "loop":
                return self._loop(written, place, name, bool(goes_on), known, depth)
            case "parallel":
                return self._parallel(written, place, name, bool(goes_on), known, depth)
        return self._call(written, place, name, bool(goes_on), known)

    def _call(
        self, written: Mapping[str, Any], place: str, name: str, goes_on: bool, known: set[str]
    ) -> Call | None:
        tool, args = written.get("tool"), written.get("args", {})
        if not isinstance(tool, str) or not tool:
            self.refuse(f"{place}.tool", "Name the tool that the step calls.")
            return None
        if isinstance(args, Mapping):
            args = self.value(args, f"{place}.args", known)
        else:
            self.refuse(f"{place}.args", "Give an object of the tool's arguments.")
        return Call(place, name, tool, args, self._output(written, place, known), goes_on)

    def _choice(
        self, written: Mapping[str, Any], place: str, name: str, goes_on: bool, known: set[str], depth: int
    ) -> Choice | None:
        condition = self._condition(written.get("if"), f"{place}.if", known)
        then_known, else_known = set(known), set(known)
        then = self.steps(written.get("then"), f"{place}.then", then_known, depth=depth + 1)
        otherwise: tuple[Step, ...] = ()
        if "else" in written:
            otherwise = self.steps(written["else"], f"{place}.else", else_known, depth=depth + 1)
        if not goes_on:
            # Only what both ways set has a value for certain.
            known |= then_known & else_known
        return None if condition is None else Choice(place, name, condition, then, otherwise, goes_on)

    def _loop(
        self, written: Mapping[str, Any], place: str, name: str, goes_on: bool, known: set[str], depth: int
    ) -> Loop | None:
        if ("over" in written) == ("while" in written):
            self.refuse(place, "Give either over, a list, or while, a condition.")
            return None
        most = written.get("max_iterations", MAX_ITERATIONS)
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MAX_ITERATIONS:
            self.refuse(f"{place}.max_iterations", f"Give a whole number from 1 to {MAX_ITERATIONS}.")
            most = 1
        within = set(known)
        over, condition, item = None, None, ""
        if "over" in written:
            over = self.value(written["over"], f"{place}.over", known)
            if not isinstance(over, Reference | Items | list):
                self.refuse(f"{place}.over", "Give a list, or a reference to one.")
            item = written.get("as", "item")
            if not is_name(item):
                self.refuse(
                    f"{place}.as", "A name has letters, digits and underscores, and starts with no digit."
                )
                item = "item"
            within.add(item)
        else:
            if "as" in written:
                self.refuse(f"{place}.as", "Only a loop over a list has it.")
            condition = self._condition(written["while"], f"{place}.while", known)
        steps = self.steps(written.get("steps"), f"{place}.steps", within, depth=depth + 1)
        # It may run no time at all: nothing that it sets is certain after it but its own output.
        output = self._output(written, place, known)
        return Loop(place, name, over, item, condition, steps, most, output, goes_on)

    def _parallel(
        self, written: Mapping[str, Any], place: str, name: str, goes_on: bool, known: set[str], depth: int
    ) -> Parallel | None:
        branches = written.get("branches")
        if not isinstance(branches, list) or not 2 <= len(branches) <= MAX_BRANCHES:
            self.refuse(f"{place}.branches", f"Give 2 to {MAX_BRANCHES} lists of steps.")
            return None
        read, set_by = [], dict[str, int]()
        for number, each in enumerate(branches):
            within = set(known)
            read.append(self.steps(each, f"{place}.branches[{number}]", within, depth=depth + 1))
            for output in sorted(within - known):
                if output in set_by:
                    self.refuse(
                        f"{place}.branches[{number}]",
                        f"It sets {output}, as branch {set_by[output]} does at the same time. Choose another name.",
                    )
                set_by[output] = number
        if not goes_on:
            known.update(set_by)
        return Parallel(place, name, tuple(read), self._output(written, place, known), goes_on)

    def _condition(self, written: Any, place: str, known: set[str]) -> Condition | None:
        try:
            condition = read_condition(written, place=place)
        except BadReference as fault:
            self.refuse(fault.place, str(fault))
            return None
        for at, reference in references_of(condition, place):
            self._check(reference, at, known)
        return condition

    def _output(self, written: Mapping[str, Any], place: str, known: set[str]) -> str:
        given = [key for key in ("output", "output_variable") if key in written]
        if not given:
            return ""
        if len(given) == 2:
            self.refuse(f"{place}.output_variable", "It is the same as output: give one of them.")
        output = written[given[0]]
        if not is_name(output):
            message = "A name has letters, digits and underscores, and starts with no digit."
            self.refuse(f"{place}.{given[0]}", message)
            return ""
        known.add(output)
        return str(output)

    def _check(self, reference: Reference, place: str, known: set[str]) -> None:
        if reference.name not in known:
            there = ", ".join(sorted(known)) or "none"
            self.refuse(
                place,
                f"{reference}: nothing has set {reference.name} for certain by here. Set by here: {there}.",
            )
