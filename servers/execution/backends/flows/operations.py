"""What a source of flows brings along: tools that check and run a pipeline that the caller writes, and a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.flows.linking import link_flow, only_reads
from servers.execution.backends.flows.running import run_flow
from servers.execution.backends.flows.steps import PIPELINE, WORKFLOW, Flow, calls_of, read_flow, step_types
from servers.execution.contract import Context, Offered, OfferedPrompt, Operation, Outcome, ToolKind
from servers.execution.parameters import (
    ANY,
    Faults,
    raise_faults,
    read_heading,
    values_of,
)

TOOL_KINDS: Final[Mapping[str, ToolKind]] = {
    PIPELINE: ToolKind(
        "Pipeline",
        {
            "parameters": {"table": {"type": "string", "description": "Which table"}},
            "steps": [
                {"tool": "list_tables", "output": "all"},
                {"tool": "describe_table", "args": {"table_name": "$table"}, "output": "found"},
            ],
            "result": {"columns": "${found.columns}", "beside": "${all.tables}"},
        },
        steps=step_types(PIPELINE),
    ),
    WORKFLOW: ToolKind(
        "Workflow",
        {
            "steps": [
                {"tool": "list_tables", "output": "all"},
                {
                    "type": "loop",
                    "over": "${all.tables}",
                    "as": "table",
                    "steps": [
                        {
                            "tool": "describe_table",
                            "args": {"table_name": "${table.name}", "schema": "${table.schema}"},
                            "continue_on_failure": True,
                        }
                    ],
                    "output_variable": "described",
                },
            ],
            "result": "$described",
        },
        steps=step_types(WORKFLOW),
    ),
}
"""The kinds of tools that teams define."""

DEFINED: Final = tuple(TOOL_KINDS)

CREATE: Final = "create_pipeline"
EXECUTE: Final = "execute_pipeline"
PROMPT: Final = "data_pipeline"

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_KEYS: Final = frozenset({"steps", "result"})

_STEP_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["step", "status", "duration_ms"],
    "properties": {
        "step": {
            "type": "string",
            "description": "Its place in the definition, and the turn of a loop: @0, @1 …",
        },
        "name": {"type": "string"},
        "tool": {"type": "string"},
        "status": {"enum": ["ok", "failed"]},
        "duration_ms": {"type": "number"},
        "output": {"description": "What it gave, where that is small."},
        "output_bytes": {
            "type": "integer",
            "description": "The size of what it gave, where that is not small.",
        },
        "error": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
RESULT_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": _DIALECT,
    "type": "object",
    "required": ["result", "steps"],
    "properties": {
        "result": {"description": "What the whole gave."},
        "steps": {"type": "array", "items": _STEP_SCHEMA},
    },
}

_STEPS_ARGUMENT: Final[Mapping[str, Any]] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 100,
    "description": 'In their order: {"tool": name, "args": {…}, "output": variable}. In args, "$variable" and '
    '"${variable.member[0]}" stand for what an earlier step gave, or for initial data.',
    "items": {
        "type": "object",
        "required": ["tool"],
        "properties": {
            "tool": {"type": "string"},
            "args": {"type": "object"},
            "output": {"type": "string"},
            "continue_on_failure": {"type": "boolean"},
        },
    },
}


def compile_flow(kind: str, definition: Mapping[str, Any]) -> Offered:
    """Check a definition by itself, and derive its schemas. Raises ``InvalidInput`` with every fault at once."""
    heading = read_heading(definition, _KEYS, what=f"a {kind}", shapes=ANY)
    read_flow(definition, kind, heading.parameters, heading.faults)
    raise_faults(heading.faults)
    return Offered(
        name="",
        title=heading.title,
        description=heading.description,
        input_schema=heading.input_schema,
        output_schema=RESULT_SCHEMA,
        annotations={},
        operation=Operation(kind, dict(definition)),
    )


def annotations_of(flow: Flow, tools: Mapping[str, Offered]) -> dict[str, Any]:
    """A flow only reads where all its tools do."""
    if only_reads(flow, tools):
        return {"readOnlyHint": True, "destructiveHint": False}
    return {"readOnlyHint": False}


def offer_operations() -> list[Offered]:
    """The two tools."""
    return [
        Offered(
            name=CREATE,
            title="Check a pipeline",
            description="Check a pipeline of tools of this server without running it: that each tool is there, that "
            "its arguments fit and that every reference names something. What comes back can be given to "
            f"{EXECUTE}.",
            input_schema={
                "$schema": _DIALECT,
                "type": "object",
                "required": ["steps"],
                "additionalProperties": False,
                "properties": {
                    "steps": _STEPS_ARGUMENT,
                    "initial_data": {
                        "type": "object",
                        "description": "Variables that it begins with, as they will be given.",
                    },
                },
            },
            output_schema={
                "$schema": _DIALECT,
                "type": "object",
                "required": ["pipeline", "tools", "read_only"],
                "properties": {
                    "pipeline": {"type": "object"},
                    "tools": {"type": "array", "items": {"type": "string"}},
                    "read_only": {"type": "boolean"},
                },
            },
            annotations={"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True},
            operation=Operation(CREATE, {}),
        ),
        Offered(
            name=EXECUTE,
            title="Run a pipeline",
            description="Run a pipeline: an object with its steps, or the name of one of this server's tools that is "
            "one. Each step calls a tool with your own rights; the result has one entry a step.",
            input_schema={
                "$schema": _DIALECT,
                "type": "object",
                "required": ["pipeline"],
                "additionalProperties": False,
                "properties": {
                    "pipeline": {
                        "anyOf": [
                            {"type": "string", "minLength": 1, "maxLength": 64},
                            {
                                "type": "object",
                                "required": ["steps"],
                                "properties": {
                                    "steps": _STEPS_ARGUMENT,
                                    "result": {"description": "What to give back: a value with references."},
                                },
                            },
                        ]
                    },
                    "initial_data": {"type": "object", "description": "Variables by name."},
                },
            },
            output_schema=None,
            annotations={"readOnlyHint": False},
            operation=Operation(EXECUTE, {}),
        ),
    ]


def offer_prompts() -> list[OfferedPrompt]:
    """The prompt that has a model write a pipeline."""
    return [
        OfferedPrompt(
            name=PROMPT,
            title="Data pipeline",
            description="Plan a pipeline of this server's tools for a goal, check it, then run it.",
            arguments=[
                {"name": "goal", "description": "What is to come out.", "required": True},
                {"name": "data", "description": "What there is to begin with."},
            ],
            operation=Operation(PROMPT, {}),
        )
    ]


async def run_defined(
    flow: Flow, definition: Mapping[str, Any], arguments: Mapping[str, Any], context: Context
) -> Outcome:
    """Run a tool that a team defined."""
    parameters = definition.get("parameters") or {}
    return await run_flow(flow, values_of(parameters, arguments), context)


async def create_pipeline(arguments: Mapping[str, Any], context: Context) -> Outcome:
    """Check a pipeline that the caller wrote. Raises ``InvalidInput`` with the place of each fault."""
    data = arguments.get("initial_data") or {}
    definition = {"steps": arguments.get("steps")}
    flow, tools = _linked(definition, data, context)
    structured = {
        "pipeline": definition,
        "tools": sorted({call.tool for call in calls_of(flow.steps)}),
        "read_only": only_reads(flow, tools),
    }
    return Outcome(structured, "")


async def execute_pipeline(arguments: Mapping[str, Any], context: Context) -> Outcome:
    """Run a pipeline that the caller wrote, or one that is a tool. Raises ``InvalidInput`` and what its call does."""
    pipeline, data = arguments.get("pipeline"), arguments.get("initial_data") or {}
    if isinstance(pipeline, str):
        return await context.call(pipeline, data, key="pipeline")
    if not isinstance(pipeline, Mapping):
        raise InvalidInput("pipeline must be an object with steps, or a tool's name.")
    definition = {key: pipeline[key] for key in ("steps", "result") if key in pipeline}
    flow, _ = _linked(definition, data, context)
    return await run_flow(flow, data, context)


async def data_pipeline(arguments: Mapping[str, Any], context: Context) -> Outcome:
    """The prompt's message."""
    given = f"\nThere is to begin with: {arguments['data']}" if arguments.get("data") else ""
    text = (
        f"Build a data pipeline for this goal: {arguments['goal']}{given}\n\n"
        "1. Look at the tools of this server, and choose those that lead there. Prefer tools that only read.\n"
        f'2. Write the steps: a list of {{"tool", "args", "output"}}. In args, "$name" is the whole value of an '
        'earlier output, "${name.member[0]}" a part of it.\n'
        f"3. Check them with {CREATE}. Mend what it names, at the place that it names.\n"
        f"4. Run the pipeline with {EXECUTE}, and say what came out, and which steps failed, if any did."
    )
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return Outcome(None, "Plan, check and run a pipeline.", content=[message])


def _linked(
    definition: Mapping[str, Any], data: Mapping[str, Any], context: Context
) -> tuple[Flow, Mapping[str, Offered]]:
    faults: Faults = []
    flow = read_flow(definition, PIPELINE, data, faults)
    found = {call.tool: context.tool(call.tool) for call in calls_of(flow.steps)}
    tools = {name: offered for name, offered in found.items() if offered is not None}
    link_flow(flow, tools, {}, faults)
    if faults:
        shown = "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults[:10])
        raise InvalidInput(f"The pipeline cannot run: {shown}", errors=faults, code="pipeline_invalid")
    return flow, tools
