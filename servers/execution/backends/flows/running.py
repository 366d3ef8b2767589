"""Runs the steps of a flow: calls its tools, keeps its variables, says what became of each. Decides no rights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

import orjson

from core.errors import MarinaError, SourceError, Unavailable
from servers.execution.backends.flows.conditions import Incomparable, holds
from servers.execution.backends.flows.references import Missing, fill
from servers.execution.backends.flows.steps import Call, Choice, Flow, Loop, Parallel, Step
from servers.execution.contract import Context, Outcome

MAX_RUN_STEPS: Final = 2_000
"""Steps of one run, each time that a loop takes it counted."""

MAX_SHOWN_BYTES: Final = 2_000
"""A step's result beyond this is given by its size alone, beside the result of the whole."""

_LOST: Final = "outcome_unrecorded"


class StepFailed(Exception):
    """A step failed that may not: it ends the run."""

    def __init__(self, place: str, tool: str, fault: MarinaError) -> None:
        super().__init__(place)
        self.place = place
        self.tool = tool
        self.fault = fault


async def run_flow(flow: Flow, variables: Mapping[str, Any], context: Context) -> Outcome:
    """Run it with these variables. Raises ``InputRequired`` and ``Unavailable``; other faults are its outcome."""
    run = _Run(context, total=len(flow.steps))
    known = dict(variables)
    try:
        result = await run.all_of(flow.steps, known, "")
        if flow.has_result:
            result = _filled(flow.result, known, "result")
    except StepFailed as failed:
        where = f"{failed.place} ({failed.tool})" if failed.tool else failed.place
        text = f"{where} failed: {failed.fault.message}"
        error = {"step": failed.place, "code": failed.fault.code, "message": failed.fault.message}
        return _outcome({"result": None, "error": error, "steps": run.results}, text, failed=True)
    return _outcome({"result": result, "steps": run.results}, "", failed=False)


class _Run:
    """One run. ``turn`` says which time of which loop a step is in: ``@3``, ``@3@0``."""

    def __init__(self, context: Context, *, total: int) -> None:
        self._context = context
        self._total = total
        self._taken = 0
        self.results: list[dict[str, Any]] = []

    async def all_of(
        self, steps: Sequence[Step], variables: dict[str, Any], turn: str, *, top: bool = True
    ) -> Any:
        result: Any = None
        for number, step in enumerate(steps, 1):
            result = await self._step(step, variables, turn)
            if top:
                await self._context.progress(
                    number, self._total, f"{number} of {self._total}: {_title(step)}"
                )
        return result

    async def _step(self, step: Step, variables: dict[str, Any], turn: str) -> Any:
        self._taken += 1
        if self._taken > MAX_RUN_STEPS:
            # No step may go on after this one: a loop would only turn on the spot.
            raise StepFailed(step.place, "", _too_many())
        told: dict[str, Any] = {"step": f"{step.place}{turn}"}
        if step.name:
            told["name"] = step.name
        if isinstance(step, Call):
            told["tool"] = step.tool
        self.results.append(told)
        began = perf_counter_ns()
        try:
            result = await self._do(step, variables, turn)
        except (MarinaError, StepFailed) as end:
            fault = end.fault if isinstance(end, StepFailed) else end
            told |= _timed("failed", began)
            told["error"] = {"code": fault.code, "message": fault.message}
            if isinstance(fault, Unavailable) or fault.code == _LOST:
                raise fault from None
            if self._taken > MAX_RUN_STEPS or not step.goes_on:
                raise _failed(step, end) from None
            result = None
        else:
            told |= _timed("ok", began)
            told |= _shown(result) if isinstance(step, Call) else {}
        if not isinstance(step, Choice) and step.output:
            variables[step.output] = result
        return result

    async def _do(self, step: Step, variables: dict[str, Any], turn: str) -> Any:
        match step:
            case Call():
                arguments = _filled(step.args, variables, f"{step.place}.args")
                outcome = await self._context.call(step.tool, arguments, key=f"{step.place}{turn}")
                return outcome.text if outcome.structured is None else outcome.structured
            case Choice():
                chosen = (
                    step.then if _holds(step.condition, variables, f"{step.place}.if") else step.otherwise
                )
                return await self.all_of(chosen, variables, turn, top=False)
            case Loop():
                return await self._loop(step, variables, turn)
            case Parallel():
                return await self._parallel(step, variables, turn)

    async def _loop(self, step: Loop, variables: dict[str, Any], turn: str) -> list[Any]:
        results: list[Any] = []
        if step.condition is None:
            items = _filled(step.over, variables, f"{step.place}.over")
            if not isinstance(items, list | tuple):
                raise SourceError(f"{step.place}.over is no list.", code="step_value")
            if len(items) > step.most:
                raise SourceError(
                    f"{step.place}.over has {len(items)} items, and the loop may take {step.most}.",
                    code="loop_too_long",
                )
            for number, item in enumerate(items):
                variables[step.item] = item
                results.append(await self.all_of(step.steps, variables, f"{turn}@{number}", top=False))
            variables.pop(step.item, None)
            return results
        while _holds(step.condition, variables, f"{step.place}.while"):
            if len(results) >= step.most:
                raise SourceError(
                    f"The condition of {step.place} still holds after {step.most} times.",
                    code="loop_too_long",
                )
            results.append(await self.all_of(step.steps, variables, f"{turn}@{len(results)}", top=False))
        return results

    async def _parallel(self, step: Parallel, variables: dict[str, Any], turn: str) -> list[Any]:
        copies = [dict(variables) for _ in step.branches]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.all_of(branch, copy, turn, top=False))
                    for branch, copy in zip(step.branches, copies, strict=True)
                ]
        except BaseExceptionGroup as several:
            raise _first(several) from None
        for copy in copies:
            variables |= {name: value for name, value in copy.items() if variables.get(name) is not value}
        return [task.result() for task in tasks]


def _filled(value: Any, variables: Mapping[str, Any], place: str) -> Any:
    try:
        return fill(value, variables)
    except Missing as missing:
        raise SourceError(f"{place}: {missing}.", code="reference_missing") from None


def _holds(condition: Any, variables: Mapping[str, Any], place: str) -> bool:
    try:
        return holds(condition, variables)
    except Missing as missing:
        raise SourceError(f"{place}: {missing}.", code="reference_missing") from None
    except Incomparable:
        raise SourceError(
            f"{place} compares values that have no order: only numbers, or texts, are less or greater.",
            code="step_value",
        ) from None


def _failed(step: Step, end: MarinaError | StepFailed) -> StepFailed:
    if isinstance(end, StepFailed):
        return end
    return StepFailed(step.place, step.tool if isinstance(step, Call) else "", end)


def _too_many() -> SourceError:
    return SourceError(
        f"A run takes {MAX_RUN_STEPS} steps at most, and this one needs more. Loop over less.",
        code="too_many_steps",
    )


def _timed(status: str, began: int) -> dict[str, Any]:
    return {"status": status, "duration_ms": round((perf_counter_ns() - began) / 1e6, 3)}


def _shown(result: Any) -> dict[str, Any]:
    written = orjson.dumps(result, default=str)
    return {"output": result} if len(written) <= MAX_SHOWN_BYTES else {"output_bytes": len(written)}


def _title(step: Step) -> str:
    if step.name:
        return step.name
    return step.tool if isinstance(step, Call) else type(step).__name__.lower()


def _outcome(structured: dict[str, Any], text: str, *, failed: bool) -> Outcome:
    return Outcome(structured, text, size=len(orjson.dumps(structured, default=str)), failed=failed)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The fault that ended the branches. What the log or the client wants to say goes before a step's failure."""
    leaves = list(_leaves(group))
    return next((each for each in leaves if not isinstance(each, StepFailed | MarinaError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
