"""The tools that every toolkit brings, with their schemas, and the function behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from servers.execution.backends.toolkit.aggregating import (
    FUNCTIONS,
    MAX_GROUPED_BY,
    ROWS,
    aggregate_data,
    summarize_numeric,
)
from servers.execution.backends.toolkit.calculator import (
    FUNCTION_NAMES,
    MAX_CHARACTERS,
    calculate,
    expression_of,
)
from servers.execution.backends.toolkit.csvtext import DELIMITERS, parse_csv
from servers.execution.backends.toolkit.csvtext import MAX_CHARACTERS as MAX_CSV_CHARACTERS
from servers.execution.backends.toolkit.pace import Pace, is_little
from servers.execution.backends.toolkit.rows import OPERATORS, filter_data, map_fields
from servers.execution.backends.toolkit.structure import analyze_structure
from servers.execution.backends.toolkit.values import (
    MAX_FIELDS,
    MAX_PATH,
    MAX_RESULT_BYTES,
    MAX_ROWS,
    too_large,
)
from servers.execution.contract import Offered, Operation, Outcome

Schema = Mapping[str, Any]

PURE_HINTS: Final[Schema] = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_DATA: Final[Schema] = {
    "type": "array",
    "maxItems": MAX_ROWS,
    "items": {"type": "object"},
    "description": "The rows: an array of objects.",
}
_FIELD: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_PATH}
_ROWS: Final[Schema] = {"type": "array", "items": {"type": "object"}}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_PATHS: Final = " Fields may be paths with dots: address.city, tags.0."


@dataclass(frozen=True, slots=True)
class _Tool:
    title: str
    description: str
    properties: Mapping[str, Schema]
    required: Sequence[str]
    gives: Mapping[str, Schema]
    compute: Callable[[Mapping[str, Any], Pace], dict[str, Any]]


def _calculate(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    return calculate(expression_of(arguments))


_TOOLS: Final[Mapping[str, _Tool]] = {
    "calculate": _Tool(
        title="Calculate",
        description="Compute an arithmetic expression, exactly where that is possible: 0.1 + 0.2 gives 0.3. Operators: "
        "+ - * / // % ** and parentheses; // rounds down, % is the remainder, ** the power. Constants: pi, e, tau. "
        f"Functions: {', '.join(FUNCTION_NAMES)}; angles in radians, log(x, base) or natural. Write numbers without "
        "separators of thousands.",
        properties={
            "expression": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_CHARACTERS,
                "description": "Such as 1250 * 1.19 ** 3, or round(sqrt(2), 4).",
            }
        },
        required=["expression"],
        gives={
            "result": {
                "type": ["number", "string"],
                "description": "A text where a number of JSON would lose digits.",
            },
            "exact": {"type": "boolean", "description": "Whether nothing was rounded."},
            "fraction": {
                "type": "string",
                "description": "The exact value of a result that had to be rounded.",
            },
        },
        compute=_calculate,
    ),
    "parse_csv": _Tool(
        title="Parse CSV",
        description="Turn the text of a CSV file into rows. Every value stays text, as it stands in the file; the "
        "other tools read text that is written as a number as one.",
        properties={
            "content": {
                "type": "string",
                "maxLength": MAX_CSV_CHARACTERS,
                "description": "The text of the file.",
            },
            "has_header": {
                "type": "boolean",
                "default": True,
                "description": "Whether the first row names the columns. Without, they are column_1, column_2 …",
            },
            "delimiter": {"type": "string", "enum": list(DELIMITERS), "default": ","},
        },
        required=["content"],
        gives={"columns": {"type": "array", "items": {"type": "string"}}, "rows": _ROWS, "row_count": _COUNT},
        compute=parse_csv,
    ),
    "filter_data": _Tool(
        title="Filter rows",
        description="Keep the rows whose field compares so with a value. Numbers compare by size, also those that are "
        "written as text; dates written as 2024-02-29 by time; contains looks for a part of a text, or an item of an "
        "array. A row without the field passes ne, and eq null, only." + _PATHS,
        properties={
            "data": _DATA,
            "field": _FIELD,
            "operator": {"type": "string", "enum": list(OPERATORS)},
            "value": {
                "type": ["string", "number", "boolean", "null"],
                "description": "What to compare with.",
            },
        },
        required=["data", "field", "operator", "value"],
        gives={"rows": _ROWS, "row_count": _COUNT, "total_rows": _COUNT},
        compute=filter_data,
    ),
    "map_fields": _Tool(
        title="Choose and rename fields",
        description="Make rows of chosen fields under new names. Fields that the mapping does not name are left out; "
        "one that a row lacks becomes null." + _PATHS,
        properties={
            "data": _DATA,
            "field_mapping": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_FIELDS,
                "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 200},
                "description": 'From each field\'s name to its new one: {"address.city": "city"}.',
            },
        },
        required=["data", "field_mapping"],
        gives={"rows": _ROWS, "row_count": _COUNT},
        compute=map_fields,
    ),
    "aggregate_data": _Tool(
        title="Group and aggregate rows",
        description=f"Group rows by fields and compute {', '.join(FUNCTIONS)} of others for each group. Results are "
        f"called <field>_<function>: amount_sum. Of {ROWS} only the rows are counted, as count. Sums are exact; what "
        "is null, missing or empty is left out of them, and not counted." + _PATHS,
        properties={
            "data": _DATA,
            "group_by": {
                "description": "One field, or several; [] makes one group of all rows.",
                "anyOf": [_FIELD, {"type": "array", "items": _FIELD, "maxItems": MAX_GROUPED_BY}],
            },
            "aggregations": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_FIELDS,
                "additionalProperties": {
                    "anyOf": [
                        {"type": "string", "enum": list(FUNCTIONS)},
                        {
                            "type": "array",
                            "items": {"type": "string", "enum": list(FUNCTIONS)},
                            "minItems": 1,
                        },
                    ]
                },
                "description": 'By field: {"amount": ["sum", "avg"], "*": "count"}.',
            },
        },
        required=["data", "group_by", "aggregations"],
        gives={"rows": _ROWS, "row_count": _COUNT, "total_rows": _COUNT},
        compute=aggregate_data,
    ),
    "analyze_structure": _Tool(
        title="Analyze structure",
        description="Say what a JSON value is made of: its type, depth and length, and each field with its types, how "
        "often it is there, how many distinct values it has, and examples. [] stands for the items of an array.",
        properties={"data": {"description": "Any JSON value."}},
        required=["data"],
        gives={
            "type": {"type": "string"},
            "depth": _COUNT,
            "values": _COUNT,
            "length": _COUNT,
            "fields": _ROWS,
            "examples": {"type": "array"},
            "truncated": {"type": "boolean"},
        },
        compute=analyze_structure,
    ),
    "summarize_numeric": _Tool(
        title="Summarize numbers",
        description="Count, missing, sum, avg, min, max, quartiles, median and standard deviation (of a sample) of "
        "fields that hold numbers." + _PATHS,
        properties={
            "data": _DATA,
            "fields": {
                "type": "array",
                "items": _FIELD,
                "minItems": 1,
                "maxItems": MAX_FIELDS,
                "description": "Left out: every field that holds numbers only.",
            },
        },
        required=["data"],
        gives={
            "fields": {"type": "object", "additionalProperties": {"type": "object"}},
            "total_rows": _COUNT,
        },
        compute=summarize_numeric,
    ),
}

QUICK_CHARACTERS: Final = 400
"""Of an expression."""
_ALWAYS: Final = {
    "calculate": ["result", "exact"],
    "analyze_structure": ["type", "depth", "values", "fields"],
}
"""What a result has in any case, where that is not all of it."""


def offer_operations() -> list[Offered]:
    """Every tool, ready to be stored."""
    return [
        Offered(
            name=name,
            title=tool.title,
            description=tool.description,
            input_schema={
                "$schema": _DRAFT,
                "type": "object",
                "required": list(tool.required),
                "additionalProperties": False,
                "properties": dict(tool.properties),
            },
            output_schema={
                "$schema": _DRAFT,
                "type": "object",
                "required": _ALWAYS.get(name, list(tool.gives)),
                "properties": dict(tool.gives),
            },
            annotations=PURE_HINTS,
            operation=Operation(name, {}),
        )
        for name, tool in _TOOLS.items()
    ]


def is_quick(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether an operation is done within a millisecond or two, so that it need not be done beside the loop."""
    if name == "calculate":
        return len(str(arguments.get("expression"))) <= QUICK_CHARACTERS
    return is_little(arguments)


def find_work(name: str, arguments: Mapping[str, Any]) -> Callable[[Pace], Outcome] | None:
    """What an operation does with these arguments, at a pace; ``None`` where there is no such operation."""
    tool = _TOOLS.get(name)
    if tool is None:
        return None
    compute = tool.compute

    def work(pace: Pace) -> Outcome:
        structured = compute(arguments, pace)
        text = orjson.dumps(structured)
        if len(text) > MAX_RESULT_BYTES:
            raise too_large()
        return Outcome(structured, text.decode(), rows=structured.get("row_count"), size=len(text))

    return work
