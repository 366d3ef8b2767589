"""``aggregate_data`` and ``summarize_numeric``: many rows to few numbers, summed without rounding on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from heapq import merge
from typing import Any, Final

from servers.execution.backends.toolkit.pace import Pace
from servers.execution.backends.toolkit.values import (
    EXACT,
    MAX_FIELDS,
    MISSING,
    Field,
    Room,
    is_absent,
    read_field,
    read_number,
    read_row,
    read_rows,
    refuse,
    refuse_unknown,
    refuse_value,
    show_number,
    type_name,
    unnumbered_name,
)

FUNCTIONS: Final = ("sum", "avg", "count", "min", "max")
MAX_GROUPED_BY: Final = 10
ROWS: Final = "*"
"""In place of a field: the rows themselves, which can be counted."""

_ROOT_DIGITS: Final = 40
_SORTED_AT_ONCE: Final = 1_024

Number = int | Decimal


class _Column:
    """What is known of one field within one group."""

    __slots__ = ("count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total: Number = 0
        self.smallest: Number | str | None = None
        self.largest: Number | str | None = None

    def add(self, value: Number) -> None:
        self.count += 1
        self.total = _sum(self.total, value)
        self.bound(value)

    def bound(self, value: Any) -> None:
        if self.smallest is None or value < self.smallest:
            self.smallest = value
        if self.largest is None or value > self.largest:
            self.largest = value

    def shown(self, function: str) -> int | float | str | None:
        if function == "count":
            return self.count
        if function == "sum":
            return show_number(self.total)
        if function == "avg":
            return None if self.count == 0 else show_number(_divide(self.total, self.count))
        found = self.smallest if function == "min" else self.largest
        return found if found is None or isinstance(found, str) else show_number(found)


class _Wanted:
    """One field with the functions to compute of it, over all groups."""

    def __init__(self, field: Field, functions: Sequence[str]) -> None:
        self.field = field
        self.counts_rows = field.name == ROWS
        self.known = self.counts_rows
        self.names = {
            function: function if self.counts_rows else f"{field.name}_{function}" for function in functions
        }
        """What the results are called, by function."""
        self._adds = bool({"sum", "avg"} & set(functions))
        self._bounds = bool({"min", "max"} & set(functions))
        self._texts: bool | None = None

    def take(self, column: _Column, row: Mapping[str, Any], number: int) -> None:
        """Count one row in. Raises ``InvalidInput`` that names it."""
        if self.counts_rows:
            column.count += 1
            return
        value = self.field.of(row)
        if value is MISSING:
            return
        self.known = True
        if is_absent(value):
            return
        if not (self._adds or self._bounds):
            column.count += 1
            return
        found = read_number(value)
        if self._adds:
            if found is None:
                refuse_value(number, self.field, f"{unnumbered_name(value)} cannot be added up.")
            column.add(found)
            return
        column.count += 1
        if self._texts is None:
            self._texts = found is None and isinstance(value, str)
        if self._texts and isinstance(value, str):
            column.bound(value)
        elif found is None or self._texts:
            refuse_value(
                number,
                self.field,
                f"{unnumbered_name(value)} has no order with what stands in the rows before.",
            )
        else:
            column.bound(found)


def aggregate_data(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """One row a group: what it was grouped by, and each result as ``<field>_<function>``."""
    rows = read_rows(arguments)
    grouped = _read_grouping(arguments.get("group_by"))
    wanted = _read_aggregations(arguments.get("aggregations"))
    _check_names(grouped, wanted)
    groups: dict[tuple[Any, ...], tuple[list[Any], list[_Column]]] = {}
    known = [False] * len(grouped)
    room = Room()
    for number, given in pace.each(rows):
        row = read_row(given, number)
        values = [_group_value(field, row, number, known, place) for place, field in enumerate(grouped)]
        # Python takes true for 1.
        key = tuple((type(value) is bool, value) for value in values)
        group = groups.get(key)
        if group is None:
            for each in wanted:
                room.take(each.field.name * len(each.names))
            for field, value in zip(grouped, values, strict=True):
                room.take(field.name)
                room.take(value)
            group = groups[key] = (values, [_Column() for _ in wanted])
        for each, column in zip(wanted, group[1], strict=True):
            each.take(column, row, number)
    for place, field in enumerate(grouped):
        if rows and not known[place]:
            refuse_unknown(field, "group_by", rows)
    for each in wanted:
        if rows and not each.known:
            refuse_unknown(each.field, f"aggregations.{each.field.name[:80]}", rows)
    made = [_shown(grouped, wanted, *group) for group in groups.values()]
    return {"rows": made, "row_count": len(made), "total_rows": len(rows)}


def summarize_numeric(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """Count, sum, mean, spread and quartiles of each field; without ``fields``, of those that hold numbers only."""
    rows = read_rows(arguments)
    names = arguments.get("fields")
    if names is None:
        names = _numeric_names(rows, pace)
    elif not isinstance(names, list) or not 0 < len(names) <= MAX_FIELDS:
        refuse("fields", f"Give an array of 1 to {MAX_FIELDS} names of fields, or leave it out.")
    fields = [read_field(name, f"fields[{place}]") for place, name in enumerate(names)]
    summaries = {
        field.name: _summarize(field, f"fields[{place}]", rows, pace) for place, field in enumerate(fields)
    }
    return {"fields": summaries, "total_rows": len(rows)}


def _read_grouping(given: Any) -> list[Field]:
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or len(given) > MAX_GROUPED_BY:
        refuse(
            "group_by",
            f"Give the name of a field, or an array of at most {MAX_GROUPED_BY}; [] is one group of all.",
        )
    return [read_field(name, f"group_by[{place}]") for place, name in enumerate(given)]


def _read_aggregations(given: Any) -> list[_Wanted]:
    form = f"Give an object: each field with one or several of {', '.join(FUNCTIONS)}."
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_FIELDS:
        refuse("aggregations", form)
    wanted = []
    for name, functions in given.items():
        path = f"aggregations.{name[:80]}"
        chosen = [functions] if isinstance(functions, str) else functions
        if not isinstance(chosen, list) or not chosen or any(each not in FUNCTIONS for each in chosen):
            refuse(path, f"Choose from: {', '.join(FUNCTIONS)}.")
        if name == ROWS and chosen != ["count"]:
            refuse(path, "Rows can be counted only.")
        wanted.append(_Wanted(read_field(name, path), list(dict.fromkeys(chosen))))
    return wanted


def _check_names(grouped: Sequence[Field], wanted: Sequence[_Wanted]) -> None:
    taken = {field.name for field in grouped}
    for each in wanted:
        for name in each.names.values():
            if name in taken:
                refuse(
                    "group_by",
                    f"The result would have two fields called {name[:80]}. Map one to another name first.",
                )
            taken.add(name)


def _group_value(
    field: Field, row: Mapping[str, Any], number: int, known: list[bool], place: int
) -> str | float | bool | None:
    value = field.of(row)
    if value is MISSING:
        return None
    known[place] = True
    if isinstance(value, dict | list):
        refuse_value(number, field, f"rows cannot be grouped by {type_name(value)}.")
    found: str | float | bool | None = value
    return found


def _shown(
    grouped: Sequence[Field],
    wanted: Sequence[_Wanted],
    values: Sequence[Any],
    columns: Sequence[_Column],
) -> dict[str, Any]:
    made = {field.name: value for field, value in zip(grouped, values, strict=True)}
    for each, column in zip(wanted, columns, strict=True):
        for function, name in each.names.items():
            made[name] = column.shown(function)
    return made


def _numeric_names(rows: Sequence[Any], pace: Pace) -> list[str]:
    """Fields at the top of the rows of which every value that is there is a number."""
    numeric: dict[str, bool] = {}
    for number, given in pace.each(rows):
        for name, value in read_row(given, number).items():
            if numeric.get(name) is not False and not is_absent(value):
                numeric[name] = read_number(value) is not None
    names = [name for name, holds in numeric.items() if holds]
    if rows and not names:
        refuse("data", "No field holds numbers only. Name the fields to summarize.")
    return names[:MAX_FIELDS]


def _summarize(field: Field, path: str, rows: Sequence[Any], pace: Pace) -> dict[str, Any]:
    column, values, known = _Column(), [], not rows
    for number, given in pace.each(rows):
        value = field.of(read_row(given, number))
        known = known or value is not MISSING
        if is_absent(value):
            continue
        found = read_number(value)
        if found is None:
            refuse_value(number, field, f"{unnumbered_name(value)} is no number.")
        column.add(found)
        values.append(found)
    if not known:
        refuse_unknown(field, path, rows)
    summary: dict[str, Any] = {"count": column.count, "missing": len(rows) - column.count}
    summary.update({function: column.shown(function) for function in ("sum", "avg", "min", "max")})
    values = _sorted(values, pace)
    for name, part in (("p25", 1), ("median", 2), ("p75", 3)):
        summary[name] = _quartile(values, part)
    summary["stddev"] = _deviation(values, column, pace)
    return summary


def _sorted(values: Sequence[Number], pace: Pace) -> list[Number]:
    """Sorted in parts: one sort of all would not let go of the interpreter before its end."""
    parts = []
    for start in range(0, len(values), _SORTED_AT_ONCE):
        parts.append(sorted(values[start : start + _SORTED_AT_ONCE]))
        pace.breathe()
    if len(parts) == 1:
        return parts[0]
    return [value for _, value in pace.each(merge(*parts))]


def _quartile(ordered: Sequence[Number], part: int) -> int | float | str | None:
    """Between the two nearest values in proportion, as spreadsheets do."""
    if not ordered:
        return None
    place, rest = divmod((len(ordered) - 1) * part, 4)
    low = ordered[place]
    if rest == 0:
        return show_number(low)
    step = EXACT.multiply(EXACT.subtract(Decimal(ordered[place + 1]), Decimal(low)), Decimal(rest) / 4)
    return show_number(EXACT.add(Decimal(low), step))


def _deviation(values: Sequence[Number], column: _Column, pace: Pace) -> int | float | str | None:
    """Of a sample (divided by one less than there are); of fewer than two values there is none."""
    if column.count < 2:
        return None
    mean = _divide(column.total, column.count)
    squares: Number = 0
    for _, value in pace.each(values):
        away = EXACT.subtract(Decimal(value), Decimal(mean))
        squares = _sum(squares, EXACT.multiply(away, away))
    variance = _divide(squares, column.count - 1)
    rough = EXACT.copy()
    rough.prec = _ROOT_DIGITS
    return show_number(rough.sqrt(Decimal(variance)))


def _sum(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return EXACT.add(Decimal(left), Decimal(right))


def _divide(total: Number, count: int) -> Number:
    if isinstance(total, int) and total % count == 0:
        return total // count
    rough = EXACT.copy()
    rough.prec = _ROOT_DIGITS
    return rough.divide(Decimal(total), Decimal(count))
