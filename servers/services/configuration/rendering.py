"""A plan as lines of text, for a terminal and for the log of a build. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any, Final

from servers.services.configuration.changes import WORDS, Change, FieldChange, Plan

_SIGNS: Final = {"create": "+", "change": "~", "delete": "-"}
_LONGEST: Final = 200


def render_plan(plan: Plan) -> str:
    """Every change with its fields, and a sentence at the end."""
    lines = [line for change in plan.changes for line in (*render_change(change), "")]
    return "\n".join([*lines, *plan.notes, *([""] if plan.notes else []), plan.summary])


def render_change(change: Change) -> list[str]:
    """One change: a line with its sign, then its fields and notes."""
    lines = [f"{_SIGNS[change.action]} {change.what} {change.name}"]
    if change.action != "delete":
        lines += [f"    {line}" for each in change.fields for line in render_field(each)]
    return [*lines, *(f"    {note}" for note in change.notes)]


def render_field(field: FieldChange) -> list[str]:
    """One field: what it was and what it becomes; of texts of several lines, those that differ."""
    if _has_lines(field.before) and _has_lines(field.after):
        return [f"~ {field.path}:", *(f"    {line}" for line in _changed_lines(field))]
    if field.before is None:
        return [f"+ {field.path}: {_shown(field.after)}"]
    if field.after is None:
        return [f"- {field.path}: {_shown(field.before)}"]
    return [f"~ {field.path}: {_shown(field.before)} -> {_shown(field.after)}"]


def _changed_lines(field: FieldChange) -> Iterator[str]:
    lines = unified_diff(field.before.splitlines(), field.after.splitlines(), lineterm="", n=2)
    yield from (line[:_LONGEST] for line in list(lines)[2:])


def _has_lines(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _shown(value: Any) -> str:
    if value in WORDS:
        return str(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
