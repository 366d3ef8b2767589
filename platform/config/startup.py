"""What must hold before a process does anything: the database answers, and its master key is ours."""

from __future__ import annotations

from typing import Final, NoReturn

import psycopg
from django.db import connection
from django.db.utils import OperationalError, ProgrammingError

from core.crypto import Sealer, SealError
from core.sealing import sealer

SEAL_CONTEXT: Final = "core:seal-check"
SEAL_TEXT: Final = b"marina"

_WRONG_KEY: Final = (
    "MARINA_MASTER_KEY is not the key that this database was set up with, so its stored credentials cannot be "
    "opened. Nothing was written. Give the right key (in a local installation: $MARINA_HOME/master.key), name it in "
    "MARINA_READABLE_KEYS beside a new one, or start with an empty database."
)


def require_master_key() -> None:
    """End the process with a clear line unless the database was set up with this master key.

    Every long-running process calls it first; it only reads.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sealed FROM core_sealcheck WHERE id = 1")
            row = cursor.fetchone()
    except ProgrammingError:
        _refuse("This database has no Marina tables yet: run `manage.py setup_database` first.")
    except OperationalError:
        _refuse(
            "The database does not answer, or refuses the role marina_app. Its password is derived from "
            "MARINA_MASTER_KEY: check that DATABASE_URL and MARINA_MASTER_KEY belong together, and that "
            "`manage.py setup_database` was run."
        )
    finally:
        connection.close()
    if row is None:
        _refuse("This database was not set up completely: run `manage.py setup_database` again.")
    verify_seal(bytes(row[0]), sealer())


def verify_seal(sealed: bytes, with_sealer: Sealer) -> None:
    """End the process unless ``sealed`` is the known text under this key."""
    try:
        clear = with_sealer.open(sealed, context=SEAL_CONTEXT)
    except SealError:
        _refuse(_WRONG_KEY)
    if clear != SEAL_TEXT:
        _refuse(_WRONG_KEY)


def verify_key_before_setup(bootstrap: psycopg.Connection[tuple[object, ...]], with_sealer: Sealer) -> bool:
    """Check the key against an already set-up database, before any write. Whether it was set up at all."""
    known = bootstrap.execute("SELECT to_regclass('public.core_sealcheck')").fetchone()
    if known is None or known[0] is None:
        return False
    row = bootstrap.execute("SELECT sealed FROM core_sealcheck WHERE id = 1").fetchone()
    if row is None:
        return False
    sealed = row[0]
    assert isinstance(sealed, bytes)  # noqa: S101 - the column's type
    verify_seal(sealed, with_sealer)
    return True


def _refuse(reason: str) -> NoReturn:
    raise SystemExit(f"marina: {reason}")
