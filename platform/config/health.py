"""``/health`` (it lives), ``/ready`` (it can serve: database, Redis, log, and whether others do their part)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from time import monotonic
from typing import Any, Final

import redis
from django.conf import settings
from django.db import connection, connections
from django.db.utils import Error
from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError as QueueError
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.celery import app as celery_app
from config.handover import takes
from core.shutdown import draining
from servers.services.hosted_runs import allowed_commands, hosting_fault
from servers.services.runtime import get_runtime
from servers.services.tasks.line import count_waiting
from servers.services.tasks.running import SIGN
from tenants.exports import claiming

READY_SECONDS: Final = 4.0
"""A part that has not answered by then does not answer."""

EXPORTS_WAIT: Final = timedelta(minutes=1)
"""An export that nobody works on for longer has no worker that takes it, unless all are at others."""

Part = dict[str, Any]


def health(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers. For liveness probes: it depends on nothing else."""
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served, else 503; each part with its state and, when bad, the reason.

    Workers missing is ``degraded``: calls are answered, exports and tasks wait. So is a heavy process missing: others
    wait for large requests. A process that ends asks nobody.
    """
    if draining():
        return JsonResponse({"status": "draining", "parts": {}}, status=503)
    deadline = monotonic() + READY_SECONDS
    asked = {name: probe.ask() for name, probe in _PROBES.items()}
    answers = {name: _PROBES[name].answer(future, deadline) for name, future in asked.items()}
    parts = {"database": answers["database"], "log": _log(answers["database"]), **answers}
    required = ("database", "log", "redis")
    serving = all(parts[name]["state"] == "healthy" for name in required)
    degraded = any(part["state"] != "healthy" for part in parts.values())
    status = "unready" if not serving else "degraded" if degraded else "ready"
    return JsonResponse({"status": status, "parts": parts}, status=200 if serving else 503)


class Probe:
    """One question, asked in a thread of its own, by all who want to know at a time.

    While it hangs, nobody asks it again, so however often a monitor comes, one thread and one connection wait.
    """

    def __init__(self, question: Callable[[], Part], silence: str) -> None:
        self._question = question
        self._silence = silence
        self._lock = threading.Lock()
        self._asked: Future[Part] | None = None

    def ask(self) -> Future[Part]:
        """The answer to come: to the question in progress, or to one that begins now."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                # A daemon: a question that is never answered does not keep the process from ending.
                threading.Thread(target=self._put, args=(self._asked,), name="ready", daemon=True).start()
            return self._asked

    def answer(self, asked: Future[Part], deadline: float) -> Part:
        """What was answered by the ``deadline`` of the monotonic clock. A question that gave up by itself was not."""
        try:
            return asked.result(max(deadline - monotonic(), 0))
        except TimeoutError:
            return _unhealthy(self._silence)

    def _put(self, asked: Future[Part]) -> None:
        try:
            asked.set_result(self._question())
        except Exception as fault:  # noqa: BLE001 - handed over to those who wait for the answer
            asked.set_exception(fault)
        finally:
            connections.close_all()


def _healthy() -> Part:
    return {"state": "healthy"}


def _unhealthy(reason: str) -> Part:
    return {"state": "unhealthy", "reason": reason}


def _database() -> Part:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return _unhealthy("PostgreSQL does not answer.")
    return _healthy()


def _log(database: Part) -> Part:
    # The writer notices a silent database in its own time; a log in a database that is away is away now.
    if database["state"] == "healthy" and get_runtime().writer.accepting:
        return _healthy()
    return _unhealthy("The log cannot be written, so calls are refused.")


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.ENV.redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
    )


def _redis() -> Part:
    try:
        with _client() as client:
            client.ping()
    except redis.RedisError:
        return _unhealthy("Redis does not answer.")
    return _healthy()


def _workers() -> Part:
    try:
        answers = celery_app.control.ping(timeout=0.5, limit=1)
    except (QueueError, redis.RedisError, OSError):
        return _unhealthy("Redis does not answer, so workers cannot be asked.")
    return _healthy() if answers else _unhealthy("No worker answers: exports and checks wait.")


def _tasks() -> Part:
    try:
        with _client() as client:
            about = client.exists(SIGN)
    except redis.RedisError:
        return _unhealthy(_NOT_TOLD)
    try:
        waiting = count_waiting()
    except Error:
        return _unhealthy("PostgreSQL does not answer.")
    part = _healthy() if about else _unhealthy("No worker for tasks gave a sign for a while: tasks wait.")
    return {**part, "waiting": waiting}


def _exports() -> Part:
    try:
        waiting, working = claiming.count_waiting(EXPORTS_WAIT)
    except Error:
        return _unhealthy("PostgreSQL does not answer.")
    unheeded = waiting and not working
    part = (
        _unhealthy("No worker takes exports: is there one for the queue exports?") if unheeded else _healthy()
    )
    return {**part, "waiting": waiting}


def _commands() -> Part:
    fault = hosting_fault()
    if fault is None:
        return {**_healthy(), "allowed": 0}
    part = _unhealthy(fault) if fault else _healthy()
    return {**part, "allowed": len(allowed_commands())}


def _heavy() -> Part:
    path = settings.ENV.web.heavy_socket
    if not path or takes(path):
        return {**_healthy(), "used": bool(path)}
    return {
        **_unhealthy(
            "Nobody takes large requests at MARINA_HEAVY_SOCKET, so web processes answer them beside all others."
            " Is python -m config.heavy running?"
        ),
        "used": True,
    }


_NOT_TOLD: Final = "Redis does not answer, so nobody knows of workers for tasks."

_PROBES: Final = {
    "database": Probe(_database, "PostgreSQL does not answer."),
    "redis": Probe(_redis, "Redis does not answer."),
    "workers": Probe(_workers, "Redis does not answer, so workers cannot be asked."),
    "tasks": Probe(_tasks, _NOT_TOLD),
    "exports": Probe(_exports, "PostgreSQL does not answer."),
    "commands": Probe(_commands, "No sandbox for commands of data sources came about in time."),
    "heavy": Probe(_heavy, "The file system of MARINA_HEAVY_SOCKET does not answer."),
}
