"""Reads a statement's tokens: that it is one, of a kind that is taken, and which values it needs. Runs nothing.

What a statement may touch is decided by ``rules``, which SQLite itself asks; this says the rest in clear words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from core.errors import InvalidInput, SourceError
from servers.execution.backends.sqlite.tokens import Token, scan_tokens
from servers.execution.backends.sqlite.values import encode_parameter
from servers.execution.sql.arguments import refuse_spare
from servers.execution.sql.database import Names, Values

MAX_QUERY_BYTES: Final = 65_536
MOST_PARAMETERS: Final = 100

_READS: Final = frozenset({"SELECT", "VALUES", "WITH"})
_WRITES: Final = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"})
_JOINS: Final = frozenset({"NATURAL", "USING"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A text that is one statement. ``parameters`` are as written, in order; ``command`` its first word."""

    sql: str
    command: str
    explain: bool
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A statement with a value for each of SQLite's numbers of parameters, from 1 on."""

    statement: Statement
    values: Sequence[str | int | float | None]


def read_statement(sql: str, *, confined: bool, writes: bool = False) -> Statement:
    """Check a statement's form. ``confined``: not all that is there may be read. Raises ``SourceError``."""
    if len(sql.encode("utf-8", "surrogatepass")) > MAX_QUERY_BYTES:
        _refuse("sql.length", f"The query is longer than {MAX_QUERY_BYTES} bytes. Make it shorter.", None)
    if "\x00" in sql or not _is_text(sql):
        _refuse("sql.text", "The query holds NUL or half a surrogate pair. Leave it out.", None)
    tokens = list(scan_tokens(sql))
    while tokens and tokens[-1].sort == "end":
        tokens.pop()
    second = next((token for token in tokens if token.sort == "end"), None)
    if second is not None:
        _refuse("sql.single", "Only one statement at a time is taken. Make one call a statement.", second)
    command, explain = _command(tokens, writes=writes)
    if confined:
        _check_joins(tokens)
    parameters = tuple(token.text for token in tokens if token.sort == "parameter")
    if len(parameters) > MOST_PARAMETERS:
        _refuse("sql.parameters", f"A query has at most {MOST_PARAMETERS} parameters.", None)
    end = tokens[-1].start + len(tokens[-1].text)
    return Statement(sql[:end], command, explain, parameters)


def used_names(sql: str, declared: set[str]) -> set[str]:
    """The names of a SQL tool's parameters that it uses. Raises ``SourceError``."""
    statement = read_statement(sql, confined=False)
    used = set()
    for parameter in statement.parameters:
        if parameter.startswith("?"):
            _refuse("sql.parameters", "Write the parameters of a tool as :name.", None)
        used.add(parameter[1:])
    if used - declared:
        raise SourceError(
            "The SQL uses a parameter that is not declared.",
            code="query_refused",
            data={"rule": "sql.parameters", "missing": sorted(used - declared)},
        )
    return used


def bind_values(statement: Statement, names: Names, values: Values, *, path: str) -> Bound:
    """Pair the parameters with values, as SQLite numbers them. Raises ``InvalidInput`` and ``SourceError``."""
    keys = _numbered(statement.parameters) if names is None else _named(statement.parameters)
    used = {key for key in keys if key is not None}
    missing = [key for key in keys if key is not None and key not in values]
    if missing:
        errors = [{"path": f"{path}.{key}", "message": "This parameter has no value."} for key in missing]
        raise InvalidInput("The query needs a value for every parameter.", errors=errors)
    refuse_spare(values, used, path)
    return Bound(statement, [_value(values, key, path) for key in keys])


def _value(values: Values, key: str | int | None, path: str) -> str | int | float | None:
    return None if key is None else encode_parameter(values[key], f"{path}.{key}" if path else str(key))


def _named(parameters: Sequence[str]) -> list[str | int | None]:
    keys: list[str | int | None] = []
    seen: set[str] = set()
    for parameter in parameters:
        if parameter.startswith("?"):
            _refuse("sql.parameters", "params is an object: write :name for each parameter, not ?.", None)
        # To SQLite :a and @a are two parameters of one name.
        if parameter not in seen:
            seen.add(parameter)
            keys.append(parameter[1:])
    return keys


def _numbered(parameters: Sequence[str]) -> list[str | int | None]:
    keys: list[str | int | None] = []
    seen: set[str] = set()
    for parameter in parameters:
        number = parameter[1:]
        if parameter == "?":
            keys.append(len(keys))
        elif not number.isascii() or not number.isdigit() or not 0 < int(number[:9]) <= MOST_PARAMETERS:
            raise SourceError(
                f"The query uses {parameter}, and params has no names. Give an object with {number or 'names'}, or "
                "write $1, $2 …",
                code="query_refused",
                data={"rule": "sql.parameters"},
            )
        elif parameter.startswith("?"):
            place = int(number)
            keys.extend([None] * (place - len(keys)))
            keys[place - 1] = place - 1
        elif parameter not in seen:
            seen.add(parameter)
            keys.append(int(number) - 1)
    return keys


def _command(tokens: Sequence[Token], *, writes: bool) -> tuple[str, bool]:
    words = [token.text.upper() if token.sort == "word" else "" for token in tokens[:4]] + ["", "", "", ""]
    explain = words[0] == "EXPLAIN" and not writes
    if explain:
        words = words[3:] if words[1:3] == ["QUERY", "PLAN"] else words[1:]
    if words[0] not in (_WRITES if writes else _READS):
        _refuse(
            "sql.statement",
            "A transaction takes INSERT, UPDATE, DELETE and REPLACE only. Read with query_database."
            if writes
            else "Only SELECT, VALUES, WITH and EXPLAIN of them are allowed: queries read.",
            tokens[0] if tokens else None,
        )
    return words[0], explain


def _check_joins(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.sort == "word" and token.text.upper() in _JOINS:
            # SQLite asks nobody about the columns that such a join compares.
            _refuse(
                "sql.construct",
                f"{token.text.upper()} is not allowed where tables or columns are kept back. Join with ON.",
                token,
            )


def _is_text(sql: str) -> bool:
    try:
        sql.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(rule: str, message: str, token: Token | None) -> NoReturn:
    data: dict[str, Any] = {"rule": rule}
    if token is not None:
        data["position"] = token.start + 1
    raise SourceError(message, code="query_refused", data=data)
