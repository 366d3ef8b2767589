"""One connection to one database file, for one call, in one thread: opened through the gate, guarded, and closed again.

Nothing is kept open between calls: opening costs a tenth of a millisecond, and the file may be replaced meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from secrets import token_hex
from time import monotonic
from typing import Any, Final

import apsw

from core.errors import SourceError
from servers.execution.backends.sqlite.faults import MAX_VALUE_BYTES, not_plain, of_system, translated
from servers.execution.backends.sqlite.gate import HEAP_BYTES, admitted
from servers.execution.backends.sqlite.rules import Rules
from servers.execution.backends.sqlite.settings import SqliteSettings
from servers.execution.backends.sqlite.tokens import scan_tokens
from servers.execution.backends.sqlite.values import quote_names
from servers.execution.folders import beneath
from servers.execution.folders.places import Place, open_root
from servers.execution.folders.threads import Stop

_STEPS: Final = 10_000
"""Steps of SQLite's machine, some hundreds of microseconds, after which it asks whether to go on."""
_CROWDED_BYTES: Final = HEAP_BYTES // 2
"""From here on the statement that has run for longest in this process has to end."""
_BUSY_SECONDS: Final = 5.0
_BUSY_PAUSE: Final = 0.005

_LIMITS: Final[Mapping[int, int]] = {
    apsw.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    apsw.SQLITE_LIMIT_COLUMN: 1_000,
    apsw.SQLITE_LIMIT_EXPR_DEPTH: 400,
    apsw.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    apsw.SQLITE_LIMIT_VDBE_OP: 250_000,
    apsw.SQLITE_LIMIT_FUNCTION_ARG: 127,
    apsw.SQLITE_LIMIT_ATTACHED: 0,
    apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    apsw.SQLITE_LIMIT_VARIABLE_NUMBER: 1_000,
    apsw.SQLITE_LIMIT_TRIGGER_DEPTH: 20,
    apsw.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_SWITCHES: Final[Mapping[int, int]] = {
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE: 0,
    apsw.SQLITE_DBCONFIG_DQS_DML: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_FKEY: 1,
}
_PRAGMAS: Final = (
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -4096",
    "PRAGMA recursive_triggers = OFF",
)

_MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "rowid", "parent"),
    "rtree_i32": ("node", "rowid", "parent"),
    "geopoly": ("node", "rowid", "parent"),
}
"""Kinds of virtual tables that may be read, and the tables in which each keeps what it holds."""

_running: dict[int, float] = {}
"""When each session of this process began."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the database has by a name. ``kind`` is ``table``, ``view`` or ``virtual table``."""

    name: str
    kind: str
    sql: str


@dataclass(slots=True)
class Session:
    """A connection, and when its work has to be done (monotonic seconds). Used in the thread that opened it."""

    connection: apsw.Connection
    settings: SqliteSettings
    stop: Stop
    until: float
    named: Mapping[str, Named] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    passes: dict[str, str] = field(default_factory=dict)

    def rules(self, *, writes: bool = False) -> Rules:
        """Fresh rules for one statement."""
        return Rules(
            self.settings, frozenset(self.named) | self.hidden, self.present, self.passes, writes=writes
        )

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of Marina's own."""
        return list(self.connection.execute(sql, tuple(values)))

    def missing_mask(self) -> str | None:
        """A mask that names no column of the database, if there is one."""
        for table, columns in self.settings.masks.items():
            found = self.named.get(table)
            present = set() if found is None else {name.lower() for name in column_names(self, found.name)}
            for column in columns:
                if column not in present:
                    return f"{table}.{column}"
        return None

    def _go_on(self) -> bool:
        """What SQLite asks every now and then: true ends the statement. Raises what the caller is to get."""
        self.stop.check()
        if monotonic() > self.until:
            raise _late(self.settings)
        if apsw.memory_used() > _CROWDED_BYTES and _is_oldest(self):
            raise apsw.NoMemError("crowded")
        return False

    def _wait(self, tries: int) -> bool:
        """What SQLite asks where somebody else has the lock: whether to try again."""
        self.stop.check()
        time.sleep(_BUSY_PAUSE)
        return tries * _BUSY_PAUSE < _BUSY_SECONDS and monotonic() < self.until


@contextmanager
def opened(
    place: Place, settings: SqliteSettings, stop: Stop, *, seconds: float, writes: bool = False
) -> Iterator[Session]:
    """The database in this folder, ready to be asked. ``seconds``: how long its work may take.

    Raises ``SourceError``, and ``Stopped`` where nobody waits any more.
    """
    flags = apsw.SQLITE_OPEN_READWRITE if writes else apsw.SQLITE_OPEN_READONLY
    with open_root(place) as folder:
        with of_system(settings.name):
            if not beneath.is_plain(beneath.look_at(folder, settings.name)):
                raise not_plain(settings.name)
        with admitted(folder, settings.name, writable=writes) as path, translated():
            connection = apsw.Connection(path, flags=flags, vfs="unix", statementcachesize=0)
            session = Session(connection, settings, stop, monotonic() + seconds)
            _running[id(session)] = monotonic()
            try:
                _prepare(session, writes=writes)
                yield session
            finally:
                del _running[id(session)]
                connection.authorizer = None
                connection.set_progress_handler(None)
                connection.close()


def column_names(session: Session, table: str) -> list[str]:
    """The columns of a table or view, as it has them."""
    rows = session.rows(
        "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden <> 1 ORDER BY cid", [table]
    )
    return [str(name) for (name,) in rows]


def _prepare(session: Session, *, writes: bool) -> None:
    connection, settings = session.connection, session.settings
    for number, limit in _LIMITS.items():
        connection.limit(number, limit)
    for number, value in _SWITCHES.items():
        connection.config(number, value)
    connection.set_busy_handler(session._wait)  # noqa: SLF001 (its own, in another function)
    connection.set_progress_handler(session._go_on, _STEPS)  # noqa: SLF001
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    _read_names(session)
    if settings.masks:
        missing = session.missing_mask()
        if missing is not None:
            raise SourceError(
                f"The mask of {missing} names no column of the database, so nothing is read. An admin has to correct "
                "the masks in the settings of the data source.",
                code="query_refused",
                data={"rule": "sql.mask"},
            )
        if not writes:
            _mask_in_part(session)
    if not writes:
        connection.execute("PRAGMA query_only = ON")


def _read_names(session: Session) -> None:
    """What may be named: tables and views that the settings allow, and what virtual tables keep their rows in."""
    named: dict[str, Named] = {}
    hidden: set[str] = set()
    found = session.rows("SELECT name, type, sql FROM sqlite_schema WHERE type IN ('table', 'view')")
    for name, kind, sql in found:
        key = str(name).lower()
        if key.startswith("sqlite_") or (session.settings.tables and key not in session.settings.tables):
            continue
        module = _module(str(sql or ""))
        if module is None:
            named[key] = Named(str(name), str(kind), str(sql or ""))
        elif module in _MODULES:
            named[key] = Named(str(name), "virtual table", str(sql))
            hidden.update(f"{key}_{end}" for end in _MODULES[module])
    session.present = frozenset(str(name).lower() for name, _, _ in found)
    session.hidden = frozenset(hidden)
    session.named = {key: each for key, each in named.items() if key not in hidden}


_VIRTUAL: Final = re.compile(r"\s*CREATE\s+VIRTUAL\s", re.IGNORECASE)


def _module(sql: str) -> str | None:
    """What a virtual table is made with; ``None`` of any other table."""
    if not _VIRTUAL.match(sql):
        return None
    words = [token for token in scan_tokens(sql) if token.sort in ("word", "quoted")]
    for token, following in pairwise(words):
        if token.sort == "word" and token.text.upper() == "USING":
            return following.text.strip('"`[]').lower()
    return ""


def _mask_in_part(session: Session) -> None:
    """Put views of the connection's own in front of tables that are masked in part.

    The view that has the table's name reads another, which alone may read those columns: its name cannot be guessed.
    """
    for table, columns in session.settings.masks.items():
        if "partial" not in columns.values():
            continue
        name = session.named[table].name
        own = f"marina_{token_hex(16)}"
        parts = [
            f"{_partly(quoted)} AS {quoted}" if columns.get(column.lower()) == "partial" else quoted
            for column, quoted in ((each, quote_names([each])) for each in column_names(session, name))
        ]
        shown = quote_names([name])
        session.connection.execute(
            f"CREATE TEMP VIEW {own} AS SELECT {', '.join(parts)} FROM main.{shown}"  # noqa: S608 (quoted names)
        )
        session.connection.execute(f"CREATE TEMP VIEW {shown} AS SELECT * FROM temp.{own}")  # noqa: S608
        session.passes[own] = table


def _partly(column: str) -> str:
    text = f"CAST({column} AS TEXT)"
    return f"'***' || substr({text}, length({text}) + 1 - min(4, length({text}) / 4))"


def _is_oldest(session: Session) -> bool:
    began = _running.get(id(session), 0.0)
    return all(began <= each for each in list(_running.values()))


def _late(settings: SqliteSettings) -> SourceError:
    return SourceError(
        f"SQLite stopped the query after {settings.statement_timeout:g} s, its time limit. "
        "Narrow it with WHERE or LIMIT, or ask an admin to raise statement_timeout.",
        code="source_timeout",
        data={"seconds": settings.statement_timeout},
    )
