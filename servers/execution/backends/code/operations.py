"""A team's own tool made of Python: its definition, and the schemas derived from it. Runs nothing.

{"code": "rows = (await query_database(query='SELECT 1 AS n'))['rows']\\nlen(rows) * factor",
 "parameters": {"factor": {"type": "integer"}}, "tools": ["query_database"]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.code.checking import check_code, function_name
from servers.execution.contract import Offered, Operation, ToolKind
from servers.execution.parameters import ANY, Faults, raise_faults, read_heading
from servers.execution.schemas import compile_schema

PYTHON: Final = "python"
MAX_TOOLS: Final = 50

TOOL_KINDS: Final[Mapping[str, ToolKind]] = {
    PYTHON: ToolKind(
        "Python",
        {
            "parameters": {"text": {"type": "string", "description": "Any text"}},
            "tools": [],
            "code": "import re\n\nwords = re.findall(r'\\w+', text.lower())\nprint(f'{len(words)} words')\n"
            "counts = {}\nfor word in words:\n    counts[word] = counts.get(word, 0) + 1\n\n"
            "# The value of the last expression is the result.\ncounts\n",
        },
        text="code",
    )
}
"""The kinds of tools that teams define."""

_KEYS: Final = frozenset({"code", "tools", "output_schema"})


def compile_code_tool(definition: Mapping[str, Any]) -> Offered:
    """Check a definition and derive its schemas. Raises ``InvalidInput`` with every fault at once."""
    heading = read_heading(definition, _KEYS, what="a Python tool", shapes=ANY)
    faults, parameters = heading.faults, heading.parameters
    tools = _read_tools(definition.get("tools") or [], set(parameters), faults)
    code = definition.get("code")
    if not isinstance(code, str):
        faults.append({"path": "code", "message": "Write the code of the tool."})
    else:
        known = {*parameters, *map(function_name, tools)}
        faults.extend({"path": "code", "message": message} for message in check_code(code, known))
    schema = definition.get("output_schema")
    if schema is not None:
        _check_schema(schema, faults)
    raise_faults(faults)
    return Offered(
        name="",
        title=heading.title,
        description=heading.description,
        input_schema=heading.input_schema,
        output_schema=schema,
        # By itself code changes nothing: it has no files, no network, and no memory of the last run.
        annotations={"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
        operation=Operation(PYTHON, dict(definition)),
    )


def tools_of(operation: Operation) -> Sequence[str]:
    """The tools that its code may call."""
    return list(operation.definition.get("tools") or ())


def link_tools(offered: Offered, tools: Mapping[str, Offered]) -> Offered:
    """Check that the tools are there. It only reads where they all do. Raises ``InvalidInput``."""
    names = tools_of(offered.operation)
    raise_faults(
        [
            {"path": f"tools[{number}]", "message": f"There is no tool called {name} in this team."}
            for number, name in enumerate(names)
            if name not in tools
        ]
    )
    if all(tools[name].only_reads for name in names):
        return offered
    return replace(offered, annotations={"readOnlyHint": False})


def _read_tools(given: Any, parameters: set[str], faults: Faults) -> list[str]:
    if (
        not isinstance(given, list)
        or len(given) > MAX_TOOLS
        or not all(isinstance(each, str) for each in given)
    ):
        faults.append({"path": "tools", "message": f"Give a list of at most {MAX_TOOLS} tools' names."})
        return []
    taken: dict[str, str] = dict.fromkeys(parameters, "a parameter")
    for number, name in enumerate(given):
        called = function_name(name)
        if called in taken:
            message = f"{called} is {taken[called]} already."
            faults.append({"path": f"tools[{number}]", "message": message})
        taken[called] = f"the tool {name}"
    return given


def _check_schema(schema: Any, faults: Faults) -> None:
    if not isinstance(schema, Mapping):
        faults.append({"path": "output_schema", "message": "Give a JSON Schema, an object."})
        return
    try:
        compile_schema(schema)
    except InvalidInput as fault:
        message = fault.errors[0]["message"] if fault.errors else fault.message
        faults.append({"path": "output_schema", "message": message})
