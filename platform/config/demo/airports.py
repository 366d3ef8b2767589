"""Loads the airports of the world into a database of their own, with one reading role a tenant.

The rows come from the ``airportsdata`` package (MIT licence), about 28,000 of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import airportsdata
import psycopg
from django.core.management.base import CommandError
from psycopg import sql

from config.env import with_user

_SCHEMA: Final = """
CREATE SCHEMA aviation;
CREATE TABLE aviation.airports (
    icao text PRIMARY KEY,
    iata text,
    name text NOT NULL,
    city text NOT NULL,
    subdivision text NOT NULL,
    country char(2) NOT NULL,
    elevation_ft integer,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    timezone text NOT NULL
);
COMMENT ON TABLE aviation.airports IS 'Airports of the world, one row each';
COMMENT ON COLUMN aviation.airports.icao IS 'ICAO location indicator, or the local code where there is none';
COMMENT ON COLUMN aviation.airports.iata IS 'IATA code of three letters, for about a quarter of the airports';
COMMENT ON COLUMN aviation.airports.country IS 'ISO 3166-1 alpha-2 code';
COMMENT ON COLUMN aviation.airports.elevation_ft IS 'Elevation above mean sea level, in feet';
COMMENT ON COLUMN aviation.airports.latitude IS 'Degrees north (WGS 84)';
COMMENT ON COLUMN aviation.airports.longitude IS 'Degrees east (WGS 84)';
COMMENT ON COLUMN aviation.airports.timezone IS 'IANA time zone';
CREATE SCHEMA statistics;
CREATE VIEW statistics.countries AS
    SELECT country, count(*) AS airports, count(iata) AS with_iata, max(elevation_ft) AS highest_ft
    FROM aviation.airports GROUP BY country;
COMMENT ON VIEW statistics.countries IS 'How many airports each country has';
"""

_INDEXES: Final = """
CREATE UNIQUE INDEX airports_iata ON aviation.airports (iata) WHERE iata IS NOT NULL;
CREATE INDEX airports_country ON aviation.airports (country);
CREATE INDEX airports_place ON aviation.airports (latitude, longitude);
ANALYZE aviation.airports;
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """A least-privilege role of the demo database: it reads one schema and can do nothing else."""

    role: str
    password: str
    schema: str


def prepare_demo_database(bootstrap_url: str, readers: list[Reader]) -> str:
    """Create and load the demo database beside Marina's own, unless it is there. Returns its URL, userless.

    Raises ``CommandError`` when the bootstrap role may not create databases.
    """
    own = urlsplit(bootstrap_url)
    name = f"{own.path.lstrip('/')}_demo"
    url = urlunsplit(own._replace(path=f"/{name}"))
    with psycopg.connect(bootstrap_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except psycopg.errors.InsufficientPrivilege:
                raise CommandError(
                    f"DATABASE_URL's role may not create the demo database {name}. Grant it CREATEDB."
                ) from None
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('aviation.airports')").fetchone() == (None,):
            _load(connection)
        _create_readers(connection, name, readers)
    return url


def reader_url(database_url: str, reader: Reader) -> str:
    """The demo database's URL as a reader."""
    return with_user(database_url, reader.role, reader.password)


def _load(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(_SCHEMA)
    with connection.cursor() as cursor, cursor.copy("COPY aviation.airports FROM STDIN") as copy:
        for row in airportsdata.load("ICAO").values():
            copy.write_row(
                (
                    row["icao"],
                    row["iata"] or None,
                    row["name"],
                    row["city"],
                    row["subd"],
                    row["country"],
                    round(row["elevation"]),
                    row["lat"],
                    row["lon"],
                    row["tz"],
                )
            )
    connection.execute(_INDEXES)


def _create_readers(
    connection: psycopg.Connection[tuple[object, ...]], name: str, readers: list[Reader]
) -> None:
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for reader in readers:
        role, schema = sql.Identifier(reader.role), sql.Identifier(reader.schema)
        exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [reader.role]).fetchone()
        for statement in (
            sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT 40 PASSWORD {}"
                    ).format(sql.SQL("ALTER" if exists else "CREATE"), role, sql.Literal(reader.password)),
            sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role),
            sql.SQL("ALTER ROLE {} SET statement_timeout = '30s'").format(role),
            sql.SQL("ALTER ROLE {} SET search_path = {}").format(role, schema),
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(name), role),
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role),
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, role),
        ):  # fmt: skip
            connection.execute(statement)
