"""Opens one connection to a source, to a checked address and with fixed session settings; keeps no pool.

Nothing ambient is used: no password file, client certificate, service file or PGPASSWORD of Marina's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from core.errors import SourceError
from core.outbound import AllowAddress
from servers.execution.addresses import resolve_host
from servers.execution.backends.postgres.errors import translate_connect_error
from servers.execution.backends.postgres.pipeline import Limits, run_read_only
from servers.execution.backends.postgres.settings import PostgresSettings
from servers.execution.backends.postgres.traffic import narrow_receive_buffer
from servers.execution.backends.postgres.values import ADAPTERS

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for resolving, connecting and signing in together."""

_SESSION: Final = " ".join(
    f"-c {name}={value}"
    for name, value in (
        ("default_transaction_read_only", "on"),
        ("standard_conforming_strings", "on"),
        ("idle_in_transaction_session_timeout", "60000"),
        ("DateStyle", "ISO"),
        ("IntervalStyle", "iso_8601"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("jit", "off"),
    )
)

_FUNCTIONS_OF_ONE_ARGUMENT: Final = (
    "SELECT DISTINCT p.proname FROM pg_catalog.pg_proc p "
    "WHERE p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1"
)


async def open_connection(
    settings: PostgresSettings, *, allow: AllowAddress, timeout: float = CONNECT_TIMEOUT
) -> psycopg.AsyncConnection[Any]:
    """A connection ready for ``run_read_only``. ``timeout`` in seconds. Raises ``SourceError``."""
    timeout = min(timeout, CONNECT_TIMEOUT)
    try:
        async with asyncio.timeout(timeout):
            addresses = await resolve_host(settings.host, settings.port, allow=allow)
            connection = await _connect_to_first(settings, addresses, timeout)
    except TimeoutError:
        raise SourceError(
            f"The server at {settings.host}:{settings.port} did not answer within {timeout:g} s. "
            "Check host, port and firewall, and that the server runs.",
            code="source_unreachable",
            retryable=True,
        ) from None
    narrow_receive_buffer(connection.pgconn.socket)
    # Without it the server would read backslashes in strings otherwise than the parser that judged them.
    if connection.pgconn.parameter_status(b"standard_conforming_strings") != b"on":
        await connection.close()
        raise SourceError(
            "The server does not allow standard_conforming_strings to be set. "
            "Connect to PostgreSQL itself, or let its connection pooler pass startup options on.",
            code="source_failed",
        )
    return connection


async def _connect_to_first(
    settings: PostgresSettings, addresses: Sequence[str], timeout: float
) -> psycopg.AsyncConnection[Any]:
    fault: psycopg.Error | None = None
    for index, address in enumerate(addresses):
        try:
            # A dead first address (often IPv6) must leave time for the others.
            async with asyncio.timeout(timeout / len(addresses) if index < len(addresses) - 1 else None):
                return await psycopg.AsyncConnection.connect(
                    autocommit=True,
                    prepare_threshold=None,
                    context=ADAPTERS,
                    **_parameters(settings, address),
                )
        except psycopg.OperationalError as error:
            fault = error
            if error.pgconn is not None and error.pgconn.used_password:
                break
        except TimeoutError:
            if index == len(addresses) - 1:
                raise
    if fault is None:
        raise TimeoutError
    raise translate_connect_error(
        fault, host=settings.host, port=settings.port, user=settings.user, database=settings.database
    ) from None


def _parameters(settings: PostgresSettings, address: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "host": settings.host,
        "hostaddr": address,
        "port": settings.port,
        "dbname": settings.database,
        "user": settings.user,
        "password": settings.password,
        "passfile": "/dev/null",
        "sslcertmode": "disable",
        "sslcert": "",
        "sslkey": "",
        "gssencmode": "disable",
        "client_encoding": "utf8",
        "application_name": "marina",
        "options": _SESSION,
        "target_session_attrs": "any",
        "connect_timeout": 0,
        **settings.tls,
    }
    if settings.tls.get("sslmode") == "verify-full":
        parameters["sslrootcert"] = "system"
    return parameters


async def list_callable_names(connection: psycopg.AsyncConnection[Any]) -> frozenset[str]:
    """Names of every function of the server that ``x.name`` can call: those that take one argument."""
    reply = await run_read_only(
        connection,
        _FUNCTIONS_OF_ONE_ARGUMENT,
        limits=Limits(rows=1_000_000, wire_bytes=64 * 1_048_576, timeout_ms=int(CONNECT_TIMEOUT * 1_000)),
    )
    return frozenset(
        (chunk.get_value(row, 0) or b"").decode(errors="replace")
        for chunk in reply.checked().chunks
        for row in range(chunk.ntuples)
    )
