"""``/health`` (the process lives) and ``/ready`` (it can serve: database, Redis, log writer, workers)."""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.db.utils import Error
from django.http import HttpRequest, JsonResponse

from config.celery import app as celery_app
from servers.services.runtime import get_runtime


def health(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers. For liveness probes: it depends on nothing else."""
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served, else 503; each part with its state and, when bad, the reason.

    Workers missing is ``degraded``: calls are answered, exports wait.
    """
    parts = {"database": _database(), "log": _log(), "redis": _redis(), "workers": _workers()}
    required = ("database", "log", "redis")
    serving = all(parts[name]["state"] == "healthy" for name in required)
    degraded = any(part["state"] != "healthy" for part in parts.values())
    status = "unready" if not serving else "degraded" if degraded else "ready"
    return JsonResponse({"status": status, "parts": parts}, status=200 if serving else 503)


def _healthy() -> dict[str, Any]:
    return {"state": "healthy"}


def _unhealthy(reason: str) -> dict[str, Any]:
    return {"state": "unhealthy", "reason": reason}


def _database() -> dict[str, Any]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return _unhealthy("PostgreSQL does not answer.")
    return _healthy()


def _log() -> dict[str, Any]:
    if get_runtime().writer.accepting:
        return _healthy()
    return _unhealthy("The log cannot be written, so calls are refused.")


def _redis() -> dict[str, Any]:
    try:
        with redis.Redis.from_url(
            settings.ENV.redis_url, socket_timeout=2, socket_connect_timeout=2
        ) as client:
            client.ping()
    except redis.RedisError:
        return _unhealthy("Redis does not answer.")
    return _healthy()


def _workers() -> dict[str, Any]:
    try:
        answers = celery_app.control.ping(timeout=0.5, limit=1)
    except (redis.RedisError, OSError):
        return _unhealthy("Redis does not answer, so workers cannot be asked.")
    return _healthy() if answers else _unhealthy("No worker answers: exports and checks wait.")
