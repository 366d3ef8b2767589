"""Scheduled work on what tenants serve, and the workers' side of tasks. The queue is a hint; a missed run is made up
for by the next.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from kombu.exceptions import OperationalError
from redis import RedisError

from core.errors import MarinaError
from core.loop import run_async
from servers.services.named_secrets import check_secrets_of
from servers.services.sources import check_sources_of
from servers.services.tasks.line import count_waiting, find_abandoned
from servers.services.tasks.running import find_runner, get_runner
from servers.services.tasks.sweeping import settle_all, sweep_tasks_of
from tenants.models import Tenant

# Older than a minute, a run is pointless: the next is due. So they do not pile up behind a stopped worker.
_EXPIRES_SECONDS = 55

_UNHINTED = timedelta(seconds=3)
"""What waits for longer was perhaps never hinted, or its hint was lost."""

TASKS_QUEUE = "tasks"
"""What the workers that run tasks consume; see ``CELERY_TASK_ROUTES``."""

_log = logging.getLogger(__name__)


@shared_task(expires=_EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def check_sources() -> None:
    """Check the health of every tenant's data sources, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        check_sources_of(tenant_id)


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def check_secrets() -> None:
    """Read every tenant's secrets that lie elsewhere, tenant by tenant."""
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        check_secrets_of(tenant_id)


# Acknowledged before it runs: what it stands for is in the line, and the broker would give it out again after a while.
@shared_task(expires=_EXPIRES_SECONDS, ignore_result=True, acks_late=False)  # type: ignore[untyped-decorator]
def run_tasks() -> None:
    """Run tasks, one after another, until none waits. As many run at once as the worker has threads."""
    runner = get_runner()
    run_async(runner.start())
    while run_async(runner.run_next()):
        pass


@shared_task(expires=10, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep_tasks() -> None:
    """Find out what became of tasks whose workers gave no sign, and hint at those that wait."""
    try:
        run_async(settle_all(find_abandoned()))
    except MarinaError:
        _log.warning("tasks of lost workers are looked at later: the database or the log is away")
    for _ in range(min(count_waiting(_UNHINTED), settings.ENV.tasks.slots)):
        hint_workers()


@shared_task(expires=_EXPIRES_SECONDS, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep_old_tasks() -> None:
    """End tasks that wait for an answer for too long, and delete those whose time is up, tenant by tenant."""
    now = datetime.now(UTC)
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        try:
            sweep_tasks_of(tenant_id, now)
        except Exception:  # noqa: BLE001 - written down; the others go on
            # One team's rows are no other's fault.
            _log.exception("a team's old tasks were not swept", extra={"tenant_id": tenant_id})


def hint_workers() -> None:
    """Have a worker look whether a task waits. Never fails for want of a queue: ``sweep_tasks`` looks, too."""
    try:
        run_tasks.apply_async(retry=False)
    except (OperationalError, RedisError, OSError):
        _log.warning("workers not hinted: the queue did not take it")


def _start_runner(sender: Any, **_: Any) -> None:
    # In the workers that run tasks alone, and before the first one comes: so they say at once that they are there.
    if TASKS_QUEUE in sender.app.amqp.queues.consume_from:
        threading.Thread(target=_start, name="start-runner", daemon=True).start()


def _start() -> None:
    try:
        run_async(get_runner().start())
    except MarinaError:
        _log.warning("the runner is started by the first hint: the database or the log is away")


def _stop_runner(**_: Any) -> None:
    runner = find_runner()
    if runner is not None:
        # Celery waits for what runs; this sees to it that it ends. Not here: signal handlers must return.
        stopping = runner.stop(settings.ENV.web.drain_seconds)
        threading.Thread(target=run_async, args=(stopping,), name="stop-runner").start()


worker_ready.connect(_start_runner)
worker_shutting_down.connect(_stop_runner)
