"""The settings of a PostgreSQL source: what an admin may give, their limits, and what may be shown. No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from core.errors import InvalidInput
from servers.execution.backends.postgres.functions import is_never_allowed
from servers.execution.parameters import Faults
from servers.execution.settings import read_flag, read_number
from servers.execution.sql.settings import (
    LIMITS,
    masks_schema,
    read_masks,
    read_names,
    refuse_unknown,
)

_COLUMN_FORM: Final = "schema.table.column"

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["dsn"],
    "additionalProperties": False,
    "properties": {
        "dsn": {
            "type": "string",
            "title": "Connection string",
            "description": "postgresql://user:password@host:5432/database, or host=… dbname=… user=… password=…",
            "minLength": 1,
            "maxLength": 2_048,
            "writeOnly": True,
        },
        "schemas": {
            "type": "array",
            "title": "Schemas",
            "description": "Only tables of these schemas may be read. Empty: all that the role may read.",
            "items": {"type": "string", "minLength": 1, "maxLength": 63},
            "maxItems": 50,
            "uniqueItems": True,
        },
        "tables": {
            "type": "array",
            "title": "Tables",
            "description": "Only these tables and views may be read, as schema.table. Empty: all of the schemas.",
            "items": {"type": "string", "minLength": 3, "maxLength": 127},
            "maxItems": 500,
            "uniqueItems": True,
        },
        "masks": masks_schema(_COLUMN_FORM),
        "functions": {
            "type": "array",
            "title": "Additional functions",
            "description": "Functions of this database that queries may call besides PostgreSQL's safe ones: "
            "name or schema.name.",
            "items": {"type": "string", "minLength": 1, "maxLength": 127},
            "maxItems": 200,
            "uniqueItems": True,
        },
        "allow_writes": {
            "type": "boolean",
            "title": "Allow writes",
            "description": "Offer execute_transaction: INSERT, UPDATE, DELETE and MERGE. Queries never write.",
            "default": False,
        },
        **LIMITS,
        "pool_max": {
            "type": "integer",
            "title": "Most connections, for each process",
            "minimum": 2,
            "maximum": 10,
            "default": 4,
        },
    },
}

_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "sslnegotiation": ("postgres", "direct"),
}
"""Options of libpq that an admin may set. Those that name files or sessions of this machine are not among them."""
_DSN_KEYS: Final = frozenset({"host", "port", "dbname", "user", "password", *_OPTIONS})
_IGNORED_DSN_KEYS: Final = frozenset({"application_name", "connect_timeout", "fallback_application_name"})
_CONTROL: Final = "The {} holds a control character, such as a line break or NUL. Leave it out."
_CONTROL_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_FUNCTION_NAME: Final = re.compile(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?")
_RESERVED_USER_PREFIX: Final = "marina_"
_PART: Final = r"[^.\s\"\x00-\x1f\x7f]{1,63}"
_TABLE: Final = re.compile(rf"({_PART})\.({_PART})")
_COLUMN: Final = re.compile(rf"({_PART})\.({_PART})\.({_PART})")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FORM: Final = "postgresql://user:password@host:5432/database"


@dataclass(frozen=True, slots=True)
class Mask:
    """How one column is shown. ``how``: ``hidden`` or ``partial``."""

    schema: str
    table: str
    column: str
    how: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """Settings ready for use. Times in seconds, sizes in bytes."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    tls: Mapping[str, str]
    schemas: tuple[str, ...]
    tables: frozenset[tuple[str, str]]
    masks: tuple[Mask, ...]
    functions: frozenset[str]
    allow_writes: bool
    statement_timeout: float
    slow_query_seconds: float
    row_limit: int
    max_bytes: int
    pool_max: int

    @property
    def confined(self) -> bool:
        """Whether some tables of the schemas may not be read, or not as they are."""
        return bool(self.tables or self.masks)


def read_settings(settings: Mapping[str, Any]) -> PostgresSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    properties = SETTINGS_SCHEMA["properties"]
    faults = refuse_unknown(settings, properties)
    target = _read_dsn(settings.get("dsn"), faults)
    schemas = read_names(settings, "schemas", properties["schemas"], faults)
    tables = _read_tables(settings, schemas, faults)
    masks = _read_masks(settings, schemas, faults)
    functions = read_names(settings, "functions", properties["functions"], faults)
    for index, name in enumerate(functions):
        if not _FUNCTION_NAME.fullmatch(name):
            message = "Write it as name or schema.name, in lower case."
            faults.append({"path": f"functions.{index}", "message": message})
        elif is_never_allowed(name.rpartition(".")[2]):
            message = "This function reaches outside the query and is never allowed."
            faults.append({"path": f"functions.{index}", "message": message})
    numbers = {name: read_number(settings, name, properties[name], faults) for name in (*LIMITS, "pool_max")}
    allow_writes = read_flag(settings, "allow_writes", faults)
    if faults or target is None:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    return PostgresSettings(
        host=target["host"],
        port=int(target["port"]),
        database=target["dbname"],
        user=target["user"],
        password=target.get("password", ""),
        tls={key: target[key] for key in _OPTIONS if target.get(key)},
        schemas=schemas,
        tables=tables,
        masks=masks,
        functions=frozenset(functions),
        allow_writes=allow_writes,
        statement_timeout=float(numbers["statement_timeout"]),
        slow_query_seconds=float(numbers["slow_query_seconds"]),
        row_limit=int(numbers["row_limit"]),
        max_bytes=int(numbers["max_bytes"]),
        pool_max=int(numbers["pool_max"]),
    )


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out."""
    checked = read_settings(settings)
    return {
        "dsn": str(settings["dsn"]).strip(),
        "schemas": list(checked.schemas),
        "tables": sorted(".".join(table) for table in checked.tables),
        "masks": {str(mask): mask.how for mask in checked.masks},
        "functions": sorted(checked.functions),
        "allow_writes": checked.allow_writes,
        "statement_timeout": settings.get("statement_timeout", 10),
        "slow_query_seconds": checked.slow_query_seconds,
        "row_limit": checked.row_limit,
        "max_bytes": checked.max_bytes,
        "pool_max": checked.pool_max,
    }


def describe_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What may be shown: everything but the password and the connection string that holds it."""
    checked = read_settings(settings)
    return {
        "host": checked.host,
        "port": checked.port,
        "database": checked.database,
        "user": checked.user,
        "sslmode": checked.tls.get("sslmode", "prefer"),
        "schemas": list(checked.schemas),
        "tables": sorted(".".join(table) for table in checked.tables),
        "masks": {str(mask): mask.how for mask in checked.masks},
        "functions": sorted(checked.functions),
        "allow_writes": checked.allow_writes,
        "statement_timeout": checked.statement_timeout,
        "slow_query_seconds": checked.slow_query_seconds,
        "row_limit": checked.row_limit,
        "max_bytes": checked.max_bytes,
        "pool_max": checked.pool_max,
    }


def _read_dsn(dsn: Any, faults: Faults) -> dict[str, str] | None:
    def refuse(message: str) -> None:
        faults.append({"path": "dsn", "message": message})

    if not isinstance(dsn, str) or not dsn.strip() or len(dsn) > 2_048:
        refuse(f"Give a connection string such as {_FORM}.")
        return None
    if "\x00" in dsn:  # for libpq the string would end there
        refuse(_CONTROL.format("connection string"))
        return None
    scheme = _SCHEME.match(dsn.strip())
    if scheme[1] not in {"postgres", "postgresql"} if scheme else "=" not in dsn:
        refuse(f"That is no PostgreSQL connection string. Write it as {_FORM}.")
        return None
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(dsn.strip()).items() if value is not None}
    except (psycopg.Error, UnicodeError):
        # libpq's message quotes the string, and with it the password.
        refuse(
            f"The connection string cannot be read. Write it as {_FORM}, and percent-encode special characters in "
            "the password."
        )
        return None
    messages = [*_find_control_characters(parts), *_find_target_faults(parts), *_find_option_faults(parts)]
    for message in messages:
        refuse(message)
    parts.setdefault("port", "5432")
    return None if messages else parts


def _find_control_characters(parts: Mapping[str, str]) -> Iterator[str]:
    """They serve no name or password, but a line break in one forges lines where it is shown or logged."""
    for key, value in parts.items():
        if any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in value):
            yield _CONTROL.format(key if key in _DSN_KEYS else "connection string")


def _find_target_faults(parts: Mapping[str, str]) -> Iterator[str]:
    for key, what in (("host", "host"), ("dbname", "database"), ("user", "user")):
        if not parts.get(key):
            yield f"The connection string names no {what}."
    host, port = parts.get("host", ""), parts.get("port", "5432")
    if host.startswith(("/", "@")):
        yield "Connect over TCP: the host must be a name or an address, not a socket path."
    if "," in host + port:
        yield "Name one host only."
    elif not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        yield "The port must be a number from 1 to 65535."
    if parts.get("user", "").lower().startswith(_RESERVED_USER_PREFIX):
        yield f"Users whose name starts with {_RESERVED_USER_PREFIX} are Marina's own: use another user."


def _find_option_faults(parts: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(parts.keys() - _DSN_KEYS - _IGNORED_DSN_KEYS):
        yield f"The option {key} is not supported here: leave it out."
    for key, allowed in _OPTIONS.items():
        if parts.get(key, allowed[0]) not in allowed:
            yield f"{key} must be one of {', '.join(allowed)}."


def _read_tables(
    settings: Mapping[str, Any], schemas: tuple[str, ...], faults: Faults
) -> frozenset[tuple[str, str]]:
    rule = SETTINGS_SCHEMA["properties"]["tables"]
    tables = set()
    for index, name in enumerate(read_names(settings, "tables", rule, faults)):
        found = _TABLE.fullmatch(name)
        if found is None:
            message = "Write it as schema.table, without quotes and in the case that PostgreSQL has it."
        elif schemas and found[1] not in schemas:
            message = f"The schema {found[1]} is not among the source's schemas."
        else:
            tables.add((found[1], found[2]))
            continue
        faults.append({"path": f"tables.{index}", "message": message})
    return frozenset(tables)


def _read_masks(settings: Mapping[str, Any], schemas: tuple[str, ...], faults: Faults) -> tuple[Mask, ...]:
    rule = SETTINGS_SCHEMA["properties"]["masks"]
    masks = [
        Mask(schema, table, column, how)
        for (schema, table, column), how in read_masks(settings, rule, _COLUMN, _COLUMN_FORM, faults)
    ]
    if masks and any(schema.startswith("pg_") or schema == "information_schema" for schema in schemas):
        message = (
            "Masks do not hold while PostgreSQL's own schemas may be read. Take them off the list of schemas."
        )
        faults.append({"path": "masks", "message": message})
    return tuple(sorted(masks, key=str))
