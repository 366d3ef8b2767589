"""Says in Marina's words what SQLite or the system answered. SQLite's own are shown for faults of a query only."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from core.errors import SourceError
from servers.execution.backends.sqlite.rules import Rules
from servers.execution.folders import beneath

MAX_VALUE_BYTES: Final = 1_048_576
"""The largest text or BLOB that SQLite makes or gives. What it does with one at once, nothing can stop."""

_OWN_NAMES: Final = re.compile(r"\b(temp\.)?marina_[0-9a-f]{32}\b")
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

_KNOWN: Final[tuple[tuple[tuple[type[apsw.Error], ...], str, str, bool], ...]] = (
    (
        (apsw.BusyError, apsw.LockedError),
        "source_timeout",
        "The database is locked by somebody who writes to it. Try again later.",
        True,
    ),
    (
        (apsw.NotADBError,),
        "source_failed",
        "The file is no SQLite database, or it is encrypted. Check the path in the settings.",
        False,
    ),
    (
        (apsw.CorruptError, apsw.FormatError),
        "source_failed",
        "The database file is damaged. Restore it, or make it anew with SQLite's .recover.",
        False,
    ),
    (
        (apsw.NoMemError,),
        "source_failed",
        "The query needs more memory than it may have. Sort, group or join fewer rows.",
        False,
    ),
    (
        (apsw.TooBigError,),
        "result_too_large",
        (
            f"A text or BLOB of the query is larger than {MAX_VALUE_BYTES} bytes. Leave that column out, or cut it "
            "with substr()."
        ),
        False,
    ),
    (
        (apsw.FullError,),
        "source_full",
        "There is no space left where the database is. Tell the operator.",
        False,
    ),
    (
        (apsw.CantOpenError, apsw.PermissionsError),
        "source_denied",
        (
            "The database cannot be opened. Marina needs the right to read the file; of one in WAL mode also to write "
            "beside it, where its -wal and -shm files are."
        ),
        False,
    ),
    (
        (apsw.ReadOnlyError,),
        "source_denied",
        (
            "The database file cannot be written: Marina has no right to, or a writer left it in mid-change. "
            "Open it once with the program that writes to it."
        ),
        False,
    ),
    (
        (apsw.IOError,),
        "source_unreachable",
        "The database file cannot be read or written just now. Try again later; if it stays so, tell the operator.",
        True,
    ),
)
_OF_QUERY: Final = (
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    apsw.SchemaChangeError,
)


@contextmanager
def translated(rules: Rules | None = None, sql: str = "") -> Iterator[None]:
    """Raise ``SourceError`` for what the library and the system raise. ``sql`` is the caller's own statement."""
    try:
        yield
    except apsw.Error as fault:
        raise _told(fault, rules, sql) from None
    except UnicodeDecodeError:
        raise SourceError(
            "The database holds text that is no UTF-8. Select hex(column) in place of that column.",
            code="query_invalid",
        ) from None


@contextmanager
def of_system(name: str) -> Iterator[None]:
    """Raise ``SourceError`` for what the system says of the database's file."""
    try:
        yield
    except beneath.NotPlain:
        raise not_plain(name) from None
    except OSError as fault:
        if fault.errno in _ABSENT:
            raise SourceError(
                f"There is no database file {name} in that folder. Put it there, or correct the path in the settings.",
                code="source_missing",
            ) from None
        if fault.errno in _DENIED:
            raise SourceError(
                f"Marina has no right to open {name}. Tell the operator.", code="source_denied"
            ) from None
        raise not_plain(name) from None


def not_plain(name: str) -> SourceError:
    """What lies at the path is nothing that is ever opened."""
    return SourceError(
        f"{name} is no plain file of one name: links, pipes and folders are not opened. Put the database itself there.",
        code="source_denied",
    )


def refused(rules: Rules) -> SourceError | None:
    """The rule that a statement broke, if it did."""
    if rules.refusal is None:
        return None
    rule, message = rules.refusal
    return SourceError(message, code="query_refused", data={"rule": rule})


def _told(fault: apsw.Error, rules: Rules | None, sql: str) -> SourceError:
    if rules is not None and (refusal := refused(rules)) is not None:
        return refusal
    for types, code, message, retryable in _KNOWN:
        if isinstance(fault, types):
            return SourceError(message, code=code, retryable=retryable)
    if isinstance(fault, _OF_QUERY):
        return _of_query(fault, sql)
    return SourceError(
        f"SQLite could not run the query ({type(fault).__name__.removesuffix('Error')}).",
        code="source_failed",
    )


def _of_query(fault: apsw.Error, sql: str) -> SourceError:
    text = _OWN_NAMES.sub("the table", str(fault))[:1_000].rstrip(".")
    offset = getattr(fault, "error_offset", -1)
    if not isinstance(offset, int) or not 0 <= offset <= len(sql.encode()):
        return SourceError(f"SQLite: {text}.", code="query_invalid")
    position = len(sql.encode()[:offset].decode(errors="ignore")) + 1
    message = f"SQLite: {text} (at character {position} of the query)."
    return SourceError(message, code="query_invalid", data={"position": position})
