"""The settings of a SQLite source: what an admin may give, their limits, and where its file is. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from servers.execution.folders.paths import clean_path
from servers.execution.folders.places import Place, place_of
from servers.execution.parameters import Faults
from servers.execution.settings import read_flag, read_number
from servers.execution.sql.dialect import Offer
from servers.execution.sql.settings import (
    LIMITS,
    masks_schema,
    read_masks,
    read_names,
    refuse_unknown,
)

_COLUMN_FORM: Final = "table.column"
_COLUMN: Final = re.compile(r"([^.\"\x00-\x1f\x7f]{1,127})\.([^.\"\x00-\x1f\x7f]{1,127})")

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["path"],
    "additionalProperties": False,
    "properties": {
        "path": {
            "type": "string",
            "title": "Database file",
            "description": "A file below your team's folder on this machine, such as data/shop.db.",
            "minLength": 1,
            "maxLength": 1_024,
        },
        "tables": {
            "type": "array",
            "title": "Tables",
            "description": "Only these tables and views may be read. Empty: all. A view needs the tables that it "
            "reads, too.",
            "items": {"type": "string", "minLength": 1, "maxLength": 127},
            "maxItems": 500,
            "uniqueItems": True,
        },
        "masks": masks_schema(_COLUMN_FORM),
        "allow_writes": {
            "type": "boolean",
            "title": "Allow writes",
            "description": "Offer execute_transaction: INSERT, UPDATE, DELETE and REPLACE. Queries never write.",
            "default": False,
        },
        **LIMITS,
    },
}


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """Settings ready for use. Times in seconds, sizes in bytes. Names of tables and columns are in lower case.

    ``path`` is clean; ``masks``: of each table the columns, and how they are shown (``hidden`` or ``partial``).
    """

    path: str
    tables: frozenset[str]
    masks: Mapping[str, Mapping[str, str]]
    allow_writes: bool
    statement_timeout: float
    slow_query_seconds: float
    row_limit: int
    max_bytes: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]

    @property
    def confined(self) -> bool:
        """Whether some tables may not be read, or not as they are."""
        return bool(self.tables or self.masks)


def read_settings(settings: Mapping[str, Any]) -> SqliteSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    return _read(settings)[0]


def clean_settings(settings: Mapping[str, Any], roots: Sequence[Path], *, supported: bool) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out. Raises ``InvalidInput``."""
    checked, masks, tables = _read(settings)
    try:
        folder_of(checked, roots, None, supported=supported)
    except SourceError as fault:
        raise InvalidInput(fault.message, errors=[{"path": "path", "message": fault.message}]) from None
    return {
        "path": checked.path,
        "tables": sorted(tables),
        "masks": masks,
        "allow_writes": checked.allow_writes,
        "statement_timeout": checked.statement_timeout,
        "slow_query_seconds": checked.slow_query_seconds,
        "row_limit": checked.row_limit,
        "max_bytes": checked.max_bytes,
    }


def folder_of(
    settings: SqliteSettings, roots: Sequence[Path], tenant_id: int | None, *, supported: bool
) -> Place:
    """Where the file's folder is, below the tenant's own. Raises ``SourceError``."""
    folder = settings.path.rpartition("/")[0]
    return place_of(folder or ".", roots, tenant_id, supported=supported, what="folder")


def offer_of(settings: SqliteSettings) -> Offer:
    """What the tools of this source say of it."""
    return Offer(
        name=settings.name,
        scope="",
        row_limit=settings.row_limit,
        max_bytes=settings.max_bytes,
        statement_timeout=settings.statement_timeout,
        allow_writes=settings.allow_writes,
    )


def _read(settings: Mapping[str, Any]) -> tuple[SqliteSettings, dict[str, str], tuple[str, ...]]:
    properties = SETTINGS_SCHEMA["properties"]
    faults = refuse_unknown(settings, properties)
    path = _read_path(settings.get("path"), faults)
    tables = read_names(settings, "tables", properties["tables"], faults)
    masks: dict[str, dict[str, str]] = {}
    shown: dict[str, str] = {}
    for (table, column), how in read_masks(settings, properties["masks"], _COLUMN, _COLUMN_FORM, faults):
        masks.setdefault(table.lower(), {})[column.lower()] = how
        shown[f"{table}.{column}"] = how
    allow_writes = read_flag(settings, "allow_writes", faults)
    numbers = {name: read_number(settings, name, properties[name], faults) for name in LIMITS}
    if faults:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    checked = SqliteSettings(
        path=path,
        tables=frozenset(name.lower() for name in tables),
        masks=masks,
        allow_writes=allow_writes,
        statement_timeout=numbers["statement_timeout"],
        slow_query_seconds=numbers["slow_query_seconds"],
        row_limit=int(numbers["row_limit"]),
        max_bytes=int(numbers["max_bytes"]),
    )
    return checked, shown, tables


def _read_path(path: object, faults: Faults) -> str:
    if path is None:
        message = "Give the path of a database file below your team's folder, such as data/shop.db."
        faults.append({"path": "path", "message": message})
        return ""
    try:
        if isinstance(path, str) and path.startswith("/"):
            return "/" + clean_path(path[1:], "path")
        return clean_path(path, "path")
    except InvalidInput as fault:
        faults.extend(fault.errors)
        return ""
