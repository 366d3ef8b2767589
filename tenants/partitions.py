"""The months of the records' table: made ahead, and dropped when they are empty and over. Knows no Celery.

A record that no month is there for goes to the default partition: none is ever refused for want of one.
"""

from __future__ import annotations

import logging
from typing import Final

from django.db import OperationalError, connection, transaction

MONTHS_AHEAD: Final = 3

_log = logging.getLogger(__name__)


def make_partitions(months: int = MONTHS_AHEAD) -> int:
    """Make this month's partition and those of so many months to come, where they lack. How many were made."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT marina_make_log_partitions(%s)", [months])
        made = int(cursor.fetchone()[0])
    if made:
        _log.info("partitions of the log made", extra={"partitions": made})
    return made


def drop_empty_partitions() -> int:
    """Drop the partitions of months that are over by 32 days and hold no record. How many went.

    None where somebody reads for long meanwhile: the next look goes on.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT marina_drop_empty_log_partitions()")
            dropped = int(cursor.fetchone()[0])
    except OperationalError:
        _log.info("partitions of the log not looked at: somebody reads them")
        return 0
    if dropped:
        _log.info("empty partitions of the log dropped", extra={"partitions": dropped})
    return dropped
