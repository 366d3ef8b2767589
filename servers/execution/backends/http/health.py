"""Says in words whether an HTTP source works: one request, on a connection of its own. Raises nothing for a bad one."""

from __future__ import annotations

from time import monotonic
from typing import Final

from core.errors import InvalidInput, MarinaError
from core.outbound import AllowAddress
from servers.execution.backends.http.connections import Api
from servers.execution.backends.http.exchanges import exchange
from servers.execution.backends.http.requests import Prepared
from servers.execution.contract import Health, HealthState, Source

CHECK_SECONDS: Final = 10.0


async def check_source(source: Source, *, allow: AllowAddress) -> Health:
    """Sign in, and ask once. ``latency_ms`` covers all of it."""
    started = monotonic()
    try:
        api = Api(source, allow=allow)
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    settings = api.settings
    url = settings.base_url + settings.health_path
    try:
        seconds = min(settings.timeout, CHECK_SECONDS)
        reply = await exchange(api, Prepared("GET", url, (), None), seconds=seconds, use_cache=False)
    except MarinaError as fault:
        # An answer that is too large, or leads elsewhere, is an answer; whether it is the right one is not known.
        state: HealthState = (
            "degraded" if fault.code in {"result_too_large", "source_redirect"} else "unhealthy"
        )
        return Health(state, fault.message, fault.code, _since(started))
    finally:
        await api.client.close()
    return _judge(
        reply.status, _since(started), asked=bool(settings.health_path), signed=settings.auth != "none"
    )


def _judge(status: int, latency: float, *, asked: bool, signed: bool) -> Health:
    if status in (401, 403) and signed:
        reason = (
            f"The API answers, but refuses how Marina signs in (status {status}). Check it in the settings."
        )
        return Health("unhealthy", reason, "source_auth", latency)
    if status in (401, 403) and asked:
        reason = (
            f"The API wants somebody signed in (status {status}). Choose how Marina signs in in the settings."
        )
        return Health("degraded", reason, "source_auth", latency)
    if status >= 500:
        reason = f"The API answers with a fault of its own (status {status}). Ask whoever runs it."
        return Health("unhealthy", reason, "source_failed", latency)
    if asked and status >= 400:
        reason = f"The API answers with status {status} at health_path. Correct the path, or leave it empty."
        return Health("degraded", reason, "source_missing", latency)
    return Health("healthy", latency_ms=latency)


def _since(started: float) -> float:
    return round((monotonic() - started) * 1_000, 3)
