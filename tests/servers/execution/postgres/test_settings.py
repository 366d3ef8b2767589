"""Settings of a PostgreSQL source: what is taken, what is refused, and what is shown."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput
from servers.execution.backends.postgres import PostgresBackend

URL = "postgresql://reader:p%40ss@db.example.org:6543/shop?sslmode=require"
KEYWORDS = "host=db.example.org port=6543 dbname=shop user=reader password='p@ss' sslmode=require"


@pytest.mark.parametrize("dsn", [URL, KEYWORDS])
def test_both_forms_of_a_connection_string_are_read_and_the_password_is_never_shown(dsn: str) -> None:
    backend = PostgresBackend()
    stored = backend.clean_settings({"dsn": dsn})
    assert stored["dsn"] == dsn
    jsonschema_rs.validator_for(dict(backend.settings_schema)).validate(stored)
    shown = backend.describe_settings(stored)
    assert shown == {
        "host": "db.example.org",
        "port": 6543,
        "database": "shop",
        "user": "reader",
        "sslmode": "require",
        "schemas": [],
        "tables": [],
        "masks": {},
        "functions": [],
        "allow_writes": False,
        "statement_timeout": 10,
        "slow_query_seconds": 1,
        "row_limit": 1000,
        "max_bytes": 1048576,
        "pool_max": 4,
    }
    assert backend.secret_settings == {"dsn"}


def faults(**settings: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        PostgresBackend().clean_settings({"dsn": URL, **settings})
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        (None, "Give a connection string"),
        ("", "Give a connection string"),
        ("postgresql://reader:s3cret@[host/db", "cannot be read"),
        ("nonsense s3cret", "no PostgreSQL connection string"),
        ("user=reader dbname=x", "names no host"),
        ("host=h dbname=x", "names no user"),
        ("host=h user=u", "names no database"),
        ("host=/var/run/postgresql dbname=x user=u", "over TCP"),
        ("postgresql://u@%2Ftmp/x", "over TCP"),
        ("host=a,b dbname=x user=u", "one host"),
        ("host=h port=0 dbname=x user=u", "port"),
        ("host=h port=x dbname=x user=u", "port"),
        ("host=h dbname=x user=marina_app", "Marina's own"),
        ("host=h dbname=x user=MARINA_owner", "Marina's own"),
        ("host=h dbname=x user=u passfile=/etc/passwd", "passfile is not supported"),
        ("host=h dbname=x user=u service=x", "service is not supported"),
        ("host=h dbname=x user=u sslkey=/x", "sslkey is not supported"),
        ("host=h dbname=x user=u hostaddr=127.0.0.1", "hostaddr is not supported"),
        ("host=h dbname=x user=u options='-c search_path=x'", "options is not supported"),
        ("host=h dbname=x user=u sslmode=verify-ca", "sslmode must be one of"),
        ("postgresql://u%0A:s3cret@h/x", "user holds a control character"),
        ("postgresql://u%0Db:s3cret@h/x", "user holds a control character"),
        ("postgresql://u:s3cret@h/x%1B%5B31m", "dbname holds a control character"),
        ("postgresql://u:s3cret@h%0Ax/x", "host holds a control character"),
        ("postgresql://u:s3cret%7F@h/x", "password holds a control character"),
        ("host=h dbname='x\ny' user=u password=s3cret", "dbname holds a control character"),
        ("host=h dbname=x user='u\u2028v' password=s3cret", "user holds a control character"),
        ("host=h dbname=x user='u\u202ev' password=s3cret", "user holds a control character"),
        ("host=h dbname=x user=u application_name='a\tb'", "connection string holds a control character"),
        ("postgresql://u:s3cret@h/x\x00y", "connection string holds a control character"),
        ("postgresql://u:s3cret@h/x%00y", "cannot be read"),
    ],
)
def test_connection_string_that_is_refused_says_why_and_shows_no_secret(dsn: Any, words: str) -> None:
    message = faults(dsn=dsn)["dsn"]
    assert words in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"statement_timeout": 4}, "statement_timeout"),
        ({"statement_timeout": 31}, "statement_timeout"),
        ({"row_limit": 0}, "row_limit"),
        ({"row_limit": 1001}, "row_limit"),
        ({"row_limit": True}, "row_limit"),
        ({"row_limit": "5"}, "row_limit"),
        ({"pool_max": 11}, "pool_max"),
        ({"max_bytes": 10}, "max_bytes"),
        ({"schemas": "shop"}, "schemas"),
        ({"schemas": ["shop", ""]}, "schemas.1"),
        ({"functions": ["pg_sleep"]}, "functions.0"),
        ({"functions": ["public.dblink_exec"]}, "functions.0"),
        ({"functions": ["pg_catalog.set_config"]}, "functions.0"),
        ({"functions": ["a b"]}, "functions.0"),
        ({"tables": "shop.item"}, "tables"),
        ({"tables": ["item"]}, "tables.0"),
        ({"tables": ["shop.item", "a.b.c"]}, "tables.1"),
        ({"tables": ['shop."item"']}, "tables.0"),
        ({"tables": ["shop.item\n"]}, "tables.0"),
        ({"tables": ["shop.item"], "schemas": ["back"]}, "tables.0"),
        ({"allow_writes": "yes"}, "allow_writes"),
        ({"slow_query_seconds": 0}, "slow_query_seconds"),
        ({"slow_query_seconds": 31}, "slow_query_seconds"),
        ({"allow_writes": 1}, "allow_writes"),
        ({"masks": ["shop.item.price"]}, "masks"),
        ({"masks": {"shop.item": "hidden"}}, "masks.shop.item"),
        ({"masks": {"shop.item.price": "shown"}}, "masks.shop.item.price"),
        ({"masks": {"shop.item.price": ["hidden"]}}, "masks.shop.item.price"),
        ({"masks": {"a.b.c": "hidden"}, "schemas": ["pg_catalog"]}, "masks"),
        ({"masks": {f"a.b.c{n}": "hidden" for n in range(201)}}, "masks"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_setting_out_of_its_range_is_named(settings: dict[str, Any], path: str) -> None:
    assert list(faults(**settings)) == [path]


def test_tables_and_masks_are_stored_as_given() -> None:
    settings = {"dsn": URL, "tables": ["shop.item"], "masks": {"shop.item.price": "partial"}}
    stored = PostgresBackend().clean_settings(settings)
    jsonschema_rs.validator_for(dict(PostgresBackend().settings_schema)).validate(stored)
    shown = PostgresBackend().describe_settings(stored)
    assert (shown["tables"], shown["masks"]) == (["shop.item"], {"shop.item.price": "partial"})


def test_connection_string_of_several_lines_is_read() -> None:
    stored = PostgresBackend().clean_settings({"dsn": "\nhost=h\n  dbname=x\n  user=u\n"})
    assert PostgresBackend().describe_settings(stored)["database"] == "x"


def test_all_faults_are_told_at_once() -> None:
    assert set(faults(dsn="host=h", row_limit=0, schemas=[1])) == {"dsn", "row_limit", "schemas.0"}
