"""``parse_csv``: comma-separated values (RFC 4180) to rows. Every value stays the text that it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from servers.execution.backends.toolkit.pace import Pace
from servers.execution.backends.toolkit.values import MAX_ROWS, Room, refuse

MAX_CHARACTERS: Final = 4 * 1024 * 1024
MAX_COLUMNS: Final = 500
MAX_CELL: Final = 131_072
"""Characters, as Python's csv module has it."""
DELIMITERS: Final = (",", ";", "\t", "|")


def parse_csv(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """The columns and the rows. Raises ``InvalidInput`` that names the row and the line, and ``SourceError``."""
    content, has_header, delimiter = _read_arguments(arguments)
    lines = csv.reader(
        io.StringIO(content.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True
    )
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    room = Room()
    number = 0
    for _, cells in pace.each(_read(lines)):
        if not columns:
            columns = (
                _names(cells) if has_header else [f"column_{place}" for place in range(1, len(cells) + 1)]
            )
            if has_header:
                continue
        number += 1
        if len(cells) != len(columns):
            refuse(
                "content",
                f"Row {number} (line {lines.line_num}) has {_count(len(cells), 'value')}, and there are "
                f"{_count(len(columns), 'column')}. Mend the row, or quote the values that hold {_name(delimiter)}.",
            )
        if number > MAX_ROWS:
            refuse("content", f"There are more than {MAX_ROWS} rows. Give it in parts.")
        for name, cell in zip(columns, cells, strict=True):
            room.take(name)
            room.take(cell)
        rows.append(dict(zip(columns, cells, strict=True)))
    if not columns:
        refuse("content", "There is nothing in it. Give the text of a CSV file.")
    return {"columns": columns, "rows": rows, "row_count": len(rows)}


def _read_arguments(arguments: Mapping[str, Any]) -> tuple[str, bool, str]:
    content, has_header = arguments.get("content"), arguments.get("has_header", True)
    delimiter = arguments.get("delimiter", ",")
    if not isinstance(content, str):
        refuse("content", "Give the text of a CSV file.")
    if len(content) > MAX_CHARACTERS:
        refuse("content", f"It has {len(content)} characters; at most {MAX_CHARACTERS} are taken.")
    if not isinstance(has_header, bool):
        refuse("has_header", "Say true or false.")
    if delimiter not in DELIMITERS:
        refuse("delimiter", "Choose a comma, a semicolon, a tab or a vertical bar.")
    return content, has_header, str(delimiter)


def _read(lines: Any) -> Iterator[list[str]]:
    """The rows that are not blank."""
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as fault:
            refuse("content", f"Line {lines.line_num}: {_reason(str(fault))}")
        if cells is None:
            return
        if cells:
            yield cells


def _reason(words: str) -> str:
    """What the csv module means, in words of ours."""
    if "field limit" in words:
        return f"a value has more than {MAX_CELL:,} characters, or a quotation mark is not closed."
    if "end of data" in words:
        return "a quotation mark is not closed."
    if "expected after" in words:
        return 'a value goes on after its closing quotation mark. Write " inside of a quoted value as "".'
    return "this is not CSV. Quote values that hold line breaks."


def _names(cells: list[str]) -> list[str]:
    """The columns' names: one that stands again gets a number, and one without a name its place."""
    if len(cells) > MAX_COLUMNS:
        refuse("content", f"There are {len(cells)} columns; at most {MAX_COLUMNS} are taken.")
    names: list[str] = []
    taken: set[str] = set()
    for place, cell in enumerate(cells, 1):
        name = wanted = cell.strip() or f"column_{place}"
        again = 2
        while name in taken or (again > 2 and name in cells):
            name = f"{wanted}_{again}"
            again += 1
        taken.add(name)
        names.append(name)
    return names


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _name(delimiter: str) -> str:
    return {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(delimiter, "a vertical bar")
