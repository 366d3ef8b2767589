"""Scheduled work on what tenants serve, and the workers' side of tasks. The queue is a hint; a missed run is made up
for by the next.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings

from core.errors import MarinaError, Unavailable
from core.hints import EXPIRES_SECONDS
from core.loop import run_async
from core.rounds import InRounds
from servers.services.named_secrets import check_secrets_of
from servers.services.scheduling import run_due
from servers.services.source_checks import check_and_listen
from servers.services.tasks.line import find_abandoned
from servers.services.tasks.running import find_runner, get_runner
from servers.services.tasks.sweeping import find_teams_of_expired, settle_all, sweep_tasks_of
from tenants.models import Tenant

TASKS_QUEUE = "tasks"
"""What the workers consume that run tasks. Nothing is sent there: it names them."""

_log = logging.getLogger(__name__)


@shared_task(base=InRounds, expires=EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def check_sources() -> None:
    """Check the health of every tenant's data sources, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        try:
            check_and_listen(tenant_id)
        except Unavailable:
            raise
        except MarinaError:
            # Each team for itself: what is wrong with one is looked at again with the next round.
            _log.exception("the data sources of a team could not be checked", extra={"tenant_id": tenant_id})


@shared_task(base=InRounds, expires=EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def check_secrets() -> None:
    """Read every tenant's secrets that lie elsewhere, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        check_secrets_of(tenant_id)


@shared_task(expires=EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep_tasks() -> None:
    """Find out what became of tasks whose workers gave no sign."""
    try:
        run_async(settle_all(find_abandoned()))
    except MarinaError:
        _log.warning("tasks of lost workers are looked at later: the database or the log is away")


@shared_task(expires=EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def run_schedules() -> None:
    """Begin what is due by the schedules of tools. At rest, one look at the database."""
    try:
        run_due()
    except MarinaError:
        _log.warning("schedules are run later: the database or the log is away")


@shared_task(base=InRounds, expires=EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep_old_tasks() -> None:
    """End tasks that wait for an answer for too long, and delete those whose time is up, team by team."""
    now = datetime.now(UTC)
    for tenant_id in find_teams_of_expired():
        try:
            sweep_tasks_of(tenant_id, now)
        except Exception:  # noqa: BLE001 - written down; the others go on
            # One team's rows are no other's fault.
            _log.exception("a team's old tasks were not swept", extra={"tenant_id": tenant_id})


class _Stopping:
    """The end of this worker's runner, once it was told to end."""

    thread: threading.Thread | None = None


def _start_runner(sender: Any, **_: Any) -> None:
    if TASKS_QUEUE in sender.app.amqp.queues.consume_from:
        runner = get_runner()
        runner.slots = sender.controller.concurrency
        run_async(runner.serve())


def _stop_runner(**_: Any) -> None:
    runner = find_runner()
    if runner is not None and _Stopping.thread is None:
        # Not here: signal handlers must return.
        stopping = runner.stop(settings.ENV.web.drain_seconds)
        _Stopping.thread = threading.Thread(
            target=run_async, args=(stopping,), name="stop-runner", daemon=True
        )
        _Stopping.thread.start()


def _await_runner(**_: Any) -> None:
    # A worker that was told to end over the broker had no signal.
    _stop_runner()
    # Not left to the interpreter's end: by then no thread takes any work, and what runs could not be written down.
    # One that is ended cold does not come here: that is as if it were killed.
    if _Stopping.thread is not None:
        _Stopping.thread.join()


worker_ready.connect(_start_runner)
worker_shutting_down.connect(_stop_runner)
worker_shutdown.connect(_await_runner)
