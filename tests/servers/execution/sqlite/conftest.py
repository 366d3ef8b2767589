"""A folder that an operator allows, a team's database files in it, and sources to use them with."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.errors import SourceError
from servers.execution.contract import Operation, Outcome, SlowStatement, Source
from servers.execution.engine import Engine

TENANT = 7
OTHER = 8

TABLES = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'unnamed', price REAL, iban TEXT);
CREATE UNIQUE INDEX item_name ON item (name);
INSERT INTO item VALUES (1, 'lamp', 12.5, 'NL91ABNA0417164300'), (2, 'vase', 7, NULL);
CREATE TABLE sale (item INTEGER REFERENCES item (id) ON DELETE CASCADE, amount INTEGER CHECK (amount > 0));
CREATE TABLE secret (id INTEGER PRIMARY KEY, name TEXT, word TEXT);
INSERT INTO secret VALUES (1, 'lamp', 'hidden word');
CREATE VIEW cheap AS SELECT id, name, iban FROM item WHERE price < 10;
CREATE VIEW words AS SELECT word FROM secret;
CREATE TABLE noted (entry TEXT UNIQUE, made TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE TRIGGER item_noted AFTER UPDATE ON item BEGIN INSERT INTO noted (entry) VALUES ('item ' || new.id); END;
CREATE VIRTUAL TABLE page USING fts5(body);
INSERT INTO page VALUES ('the harbour master'), ('a quiet bay');
ANALYZE;
"""


def make_file(path: Path, script: str = TABLES) -> Path:
    """A database file, made by Python's own library and closed again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@dataclass(frozen=True)
class Quay:
    """What the tests' operator allows. ``file`` is the team's database, ``own`` its folder."""

    allowed: Path
    own: Path
    file: Path

    def checksum(self) -> str:
        """Of every name and content below what the operator allows."""
        found = hashlib.sha256()
        for path in sorted(self.allowed.rglob("*")):
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found.update(f"{path}\0{path.lstat().st_mode}\0".encode() + content)
        return found.hexdigest()

    def rows(self, query: str, file: Path | None = None) -> list[tuple[Any, ...]]:
        """What Python's own library finds in the file."""
        with closing(sqlite3.connect(file or self.file)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def quay(tmp_path: Path) -> Quay:
    allowed = tmp_path / "allowed"
    own = allowed / str(TENANT)
    (own / "data").mkdir(parents=True)
    (allowed / str(OTHER)).mkdir()
    make_file(
        allowed / str(OTHER) / "theirs.db", "CREATE TABLE theirs (a); INSERT INTO theirs VALUES ('theirs')"
    )
    return Quay(allowed, own, make_file(own / "shop.db"))


@pytest.fixture
def slow() -> list[SlowStatement]:
    """The slow statements that were noted."""
    return []


@pytest.fixture
async def engine(quay: Quay, slow: list[SlowStatement]) -> AsyncIterator[Engine]:
    engine = Engine(files_roots=(quay.allowed,), note_slow=lambda source, statement: slow.append(statement))
    yield engine
    await engine.close()


@pytest.fixture
def make_source(engine: Engine) -> Callable[..., Source]:
    def make(*, tenant: int = TENANT, **settings: Any) -> Source:
        checked = engine.backend("sqlite").clean_settings({"path": "shop.db", **settings})
        return Source(uuid4(), tenant, "shop", "sqlite", 1, checked)

    return make


Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def run(engine: Engine, make_source: Callable[..., Source]) -> Run:
    """Runs an operation; keywords of the source's settings go in ``settings``."""

    async def call(
        operation: str, *, settings: Mapping[str, Any] | None = None, timeout: float = 20, **arguments: Any
    ) -> Outcome:
        source = make_source(**(settings or {}))
        return await engine.execute(source, Operation(operation, {}), arguments, timeout=timeout)

    return call


@pytest.fixture
def rows(run: Run) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """Runs a query and gives its rows."""

    async def call(query: str, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await run("query_database", query=query, **more)).structured["rows"]
        return found

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., Awaitable[SourceError]]:
    """Runs a query that must fail, and gives the error."""

    async def call(query: str, **more: Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await run("query_database", query=query, **more)
        return caught.value

    return call
