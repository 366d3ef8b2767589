"""A database of the tests' own on the scratch cluster, a role that may only read it, and engines to use it with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import anyio
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.aside import Aside
from core.errors import SourceError
from core.outbound import AddressRule, parse_networks
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine
from servers.execution.sql import reading

TABLES = """
CREATE SCHEMA shop;
CREATE SCHEMA back_office;
CREATE TYPE shop.colour AS ENUM ('red', 'green');
CREATE TABLE shop.item (
  id int PRIMARY KEY, name text NOT NULL DEFAULT 'unnamed', price numeric(10, 2), colour shop.colour,
  made date, tags text[]);
COMMENT ON TABLE shop.item IS 'Things for sale';
COMMENT ON COLUMN shop.item.price IS 'In euro';
CREATE UNIQUE INDEX item_name ON shop.item (name);
INSERT INTO shop.item VALUES (1, 'lamp', 12.50, 'red', '2024-02-29', '{a,b}'), (2, 'vase', 7, 'green', NULL, NULL);
CREATE TABLE shop.sale (item int REFERENCES shop.item (id), amount int);
CREATE VIEW shop.red AS SELECT * FROM shop.item WHERE colour = 'red';
CREATE TABLE shop.private (secret text);
CREATE TABLE back_office.salary (who text);
CREATE SEQUENCE shop.numbers;
CREATE FUNCTION shop.tax(price numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT price * 0.19';
CREATE FUNCTION shop.label(shop.item) RETURNS text LANGUAGE sql AS 'SELECT $1.name || ''!''';
ANALYZE shop.item;
"""


@dataclass(frozen=True)
class Scratch:
    """The database, its reader's connection string, and a connection of its superuser to look with."""

    dsn: str
    host: str
    port: str
    database: str
    user: str
    admin_dsn: str

    def with_parts(self, **parts: str) -> str:
        return make_conninfo(self.dsn, **parts)

    def count_backends(self, condition: str = "true") -> int:
        with psycopg.connect(self.admin_dsn, autocommit=True) as admin:
            found = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND " + condition, [self.user]
            ).fetchone()
        assert found is not None
        return int(found[0])

    async def wait_for_backends(self, count: int, condition: str = "true", *, seconds: float = 20) -> None:
        """Return when the reader has exactly so many backends; fail after a while."""
        until = time.monotonic() + seconds
        while (found := await anyio.to_thread.run_sync(self.count_backends, condition)) != count:
            assert time.monotonic() < until, f"{found} backends, not {count}"

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.admin_dsn, autocommit=True) as admin:
            cursor = admin.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(params=["read at once", "read by a program"])
def read_anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements are read where short ones are, and where very long ones are."""
    if request.param == "read by a program":
        monkeypatch.setattr(reading, "AT_ONCE", 0)
        monkeypatch.setattr(reading, "IN_THREAD", 0)


@pytest.fixture
def read_aside(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The team of each text that the program reads."""
    teams: list[int] = []
    run = Aside.run

    async def note(aside: Aside, work: Callable[[], Any], *, team: int) -> Any:
        teams.append(team)
        return await run(aside, work, team=team)

    monkeypatch.setattr(Aside, "run", note)
    return teams


@pytest.fixture(scope="session")
def scratch(postgres_url: str) -> Iterator[Scratch]:
    name, user, password = f"source_{uuid4().hex[:12]}", f"reader_{uuid4().hex[:12]}", "right/password?"
    target = conninfo_to_dict(postgres_url)
    admin_dsn = make_conninfo(postgres_url, dbname=name)
    with psycopg.connect(postgres_url, autocommit=True) as cluster:
        cluster.execute("SET password_encryption = 'scram-sha-256'")
        cluster.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(password))
        )
        cluster.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute(TABLES)
        role = sql.Identifier(user)
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA shop, back_office TO {}").format(role))
        admin.execute(
            sql.SQL("GRANT SELECT ON shop.item, shop.sale, shop.red, back_office.salary TO {}").format(role)
        )
    host, port = str(target.get("host", "127.0.0.1")), str(target.get("port", "5432"))
    dsn = make_conninfo("", host=host, port=port, dbname=name, user=user, password=password)
    yield Scratch(dsn, host, port, name, user, admin_dsn)
    with psycopg.connect(postgres_url, autocommit=True) as cluster:
        cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        cluster.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(user)))


@pytest.fixture
def make_source(scratch: Scratch) -> Callable[..., Source]:
    def make(**settings: Any) -> Source:
        return Source(uuid4(), 1, "shop", "postgres", 1, {"dsn": scratch.dsn, **settings})

    return make


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(allow_address=AddressRule(parse_networks(["127.0.0.0/8"])).allows)
    yield engine
    await engine.close()


Query = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def query(engine: Engine, make_source: Callable[..., Source]) -> Query:
    """Runs ``query_database`` on one source; keywords of the source's settings go in ``settings``."""
    sources: dict[str, Source] = {}

    async def run(
        text: str, *, settings: Mapping[str, Any] | None = None, timeout: float = 20, **arguments: Any
    ) -> Outcome:
        source = sources.setdefault(repr(settings), make_source(**(settings or {})))
        return await engine.execute(
            source, Operation("query_database", {}), {"query": text, **arguments}, timeout=timeout
        )

    return run


@pytest.fixture
def refused(query: Query) -> Callable[..., Awaitable[SourceError]]:
    """Runs a query that must fail, and gives the error."""

    async def run(text: str, **arguments: Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await query(text, **arguments)
        return caught.value

    return run
