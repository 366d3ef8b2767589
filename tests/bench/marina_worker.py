"""Marina's own worker with the bench's kind of data source added to it. Changes nothing else."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init

from config.celery import app

__all__ = ["app"]


def _add_kind(**_: Any) -> None:
    # Not before: Celery has set Django up by now.
    from tests.bench.echo_kind import add_echo_kind
    from tests.bench.long_kind import add_long_kind

    add_echo_kind()
    add_long_kind()


worker_init.connect(_add_kind)
