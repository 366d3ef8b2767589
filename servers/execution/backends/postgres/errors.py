"""Says in Marina's words what PostgreSQL or the network answered; never passes on the text of a library.

PostgreSQL's own primary message is shown only for faults in the caller's own query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psycopg

from core.errors import SourceError

QUERY_FAULTS: Final = ("42", "22", "21", "0A", "23", "44", "P0")
"""SQLSTATE classes that speak about the query itself, so that their message may be shown."""

UNTYPED_PARAMETER: Final = frozenset({"42P18", "42P08", "42725"})
"""SQLSTATEs that PostgreSQL gives when it cannot infer the type of a parameter from its place."""

WRITE_REFUSED: Final = (
    "PostgreSQL refused to write: queries here run in a read-only transaction. Use SELECT only."
)

_MAX_MESSAGE: Final = 1_000


def translate_query_error(
    fault: psycopg.Error, *, locate: Callable[[int], int | None], timeout_ms: int, writes: bool = False
) -> SourceError:
    """The error of a query that ran.

    ``locate`` turns PostgreSQL's 1-based position into one in the caller's own text (None: outside of it). ``writes``:
    it was one that may write.
    """
    state = fault.sqlstate or ""
    diag = fault.diag
    if state == "25006" and writes:
        return SourceError(
            "The database takes no writes now: it is a standby, or set to read only.", code="source_denied"
        )
    if state == "25006":
        return SourceError(WRITE_REFUSED, code="query_refused", data={"rule": "sql.read_only"})
    if state == "57014":
        seconds = f"{timeout_ms / 1000:g}"
        return SourceError(
            f"PostgreSQL stopped the query after {seconds} s, its time limit. "
            "Narrow it with WHERE or LIMIT, or ask an admin to raise statement_timeout.",
            code="source_timeout",
            data={"seconds": timeout_ms / 1000},
        )
    if state == "55P03":
        return SourceError(
            "A table of the query is locked by somebody else. Try again later.",
            code="source_timeout",
            retryable=True,
        )
    if state in ("40001", "40P01"):
        return SourceError(
            "The query collided with another transaction. Try again.", code="source_failed", retryable=True
        )
    if state == "42501":
        return SourceError(
            f"The database role has no privilege for this: {_shorten(diag.message_primary)}. "
            f"Ask the owner of the database to grant {'this' if writes else 'SELECT'} to the role of this data source.",
            code="source_denied",
            data={"sqlstate": state},
        )
    if state[:2] in QUERY_FAULTS:
        return _query_fault(fault, locate)
    if state[:2] in ("57", "58", "08") or not state:
        return SourceError(
            "The connection to the database was lost while the query ran. Try again.",
            code="source_unreachable",
            retryable=True,
        )
    if state[:2] == "53":
        return SourceError(
            "The database server is out of a resource (memory, disk or connections). Try again later.",
            code="source_failed",
            data={"sqlstate": state},
            retryable=True,
        )
    if state[:2] == "54":
        return SourceError(
            "The query is too complex for PostgreSQL. Split it, or make it shorter.",
            code="query_invalid",
            data={"sqlstate": state},
        )
    return SourceError(
        f"PostgreSQL could not run the query (SQLSTATE {state}). "
        "Look the code up in PostgreSQL's list of error codes.",
        data={"sqlstate": state},
    )


def _query_fault(fault: psycopg.Error, locate: Callable[[int], int | None]) -> SourceError:
    diag = fault.diag
    data: dict[str, object] = {"sqlstate": fault.sqlstate}
    message = f"PostgreSQL: {_shorten(diag.message_primary)}"
    position = locate(int(diag.statement_position)) if diag.statement_position else None
    if position is not None:
        data["position"] = position
        message += f" (at character {position} of the query)"
    message += "."
    if diag.message_hint:
        data["hint"] = _shorten(diag.message_hint)
        message += f" Hint: {data['hint']}"
    return SourceError(message, code="query_invalid", data=data)


def _shorten(text: str | None) -> str:
    return (text or "no message")[:_MAX_MESSAGE].rstrip(".")


def translate_connect_error(
    fault: psycopg.Error, *, host: str, port: int, user: str, database: str
) -> SourceError:
    """The error of a connection that could not be opened.

    libpq gives no SQLSTATE for it, so its text is compared with PostgreSQL's English phrases; a server
    that speaks another language is told apart only by whether it asked for a password.
    """
    text = str(fault).lower()
    where = f"{host}:{port}"
    for phrases, code, message, retryable in _CONNECT_FAULTS:
        if any(all(part in text for part in phrase.split("…")) for phrase in phrases):
            return SourceError(
                message.format(where=where, user=user, database=database), code=code, retryable=retryable
            )
    pgconn = fault.pgconn
    if pgconn is not None and pgconn.used_password:
        return SourceError(
            f"The server at {where} refused the sign-in of {user} to database {database}. "
            "Check user, password and database.",
            code="source_auth",
        )
    return SourceError(
        f"No connection to the database at {where}. Check host and port, and that the server runs.",
        code="source_unreachable",
        retryable=True,
    )


_CONNECT_FAULTS: Final[tuple[tuple[tuple[str, ...], str, str, bool], ...]] = (
    (
        ("password authentication failed", "fatal:…authentication failed", "no password supplied"),
        "source_auth",
        "The server at {where} refused the password of user {user}. Check user and password.",
        False,
    ),
    (
        ("fatal:…role…does not exist",),
        "source_auth",
        "The server at {where} knows no user {user}. Check the user name.",
        False,
    ),
    (
        ("fatal:…is not permitted to log in",),
        "source_auth",
        "The user {user} may not sign in at {where}. Ask for ALTER ROLE … LOGIN, or use another user.",
        False,
    ),
    (
        ("fatal:…database…does not exist",),
        "source_missing",
        "The server at {where} has no database {database}. Check the database name.",
        False,
    ),
    (
        ("unsupported startup parameter",),
        "source_failed",
        (
            "The connection pooler at {where} refuses startup options. Connect to PostgreSQL itself, "
            "or let the pooler ignore the parameter options."
        ),
        False,
    ),
    (
        ("no pg_hba.conf entry",),
        "source_denied",
        (
            "The server at {where} does not accept {user} on {database} from this address. "
            "Ask its administrator for a pg_hba.conf entry (and whether TLS is required)."
        ),
        False,
    ),
    (
        ("permission denied for database",),
        "source_denied",
        "The user {user} may not connect to database {database}. Ask its owner for GRANT CONNECT.",
        False,
    ),
    (
        ("too many connections", "remaining connection slots", "too many clients"),
        "source_unreachable",
        "The server at {where} accepts no more connections. Try again later, or raise its limit.",
        True,
    ),
    (
        ("the database system is", "not currently accepting connections"),
        "source_unreachable",
        "The server at {where} is starting, stopping or recovering. Try again shortly.",
        True,
    ),
    (
        ("does not support ssl", "ssl error", "certificate", "sslmode", "tls"),
        "source_unreachable",
        "TLS with the server at {where} failed. Check sslmode and the server's certificate.",
        False,
    ),
    (
        ("connection refused",),
        "source_unreachable",
        (
            "Nothing answers at {where}: the connection was refused. Check host and port, "
            "and that the server runs."
        ),
        True,
    ),
    (
        ("timeout", "timed out"),
        "source_unreachable",
        "The server at {where} did not answer in time. Check host, port and firewall.",
        True,
    ),
)
"""Phrases (parts split by an ellipsis must all occur), code, message, whether retrying helps."""
