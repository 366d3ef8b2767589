"""What becomes of credentials that REST sees: their use is noted, a refused one goes into the team's log.

``tenants.api`` decides who calls; this adds what needs the process's log writer, and is named in the settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from rest_framework.response import Response

from core.errors import Forbidden, RateLimited, Unauthenticated, Unavailable
from core.loop import post, run_async
from core.requestid import current_request_id
from servers.services.lockout import CODE
from servers.services.reasons import log_unavailable
from servers.services.refusals import KIND_AUTH
from servers.services.runtime import get_runtime
from tenants.access import Caller, key_digest
from tenants.api import problems
from tenants.api.authentication import ApiKeyAuthentication
from tenants.models import SLUG_PATTERN

_SECONDS: Final = 10.0
_CLIENT: Final = "rest"


class RecordedKeyAuthentication(ApiKeyAuthentication):
    """API keys, with the time of their last use noted."""

    def identify(self, token: str, tenant_slug: str | None, address: str) -> Caller:
        """Raises as its base does, and ``RateLimited`` where the address is locked out."""
        lockout, digest, place = get_runtime().lockout, key_digest(token), tenant_slug or ""
        if not lockout.knows(digest, place):
            run_async(lockout.check(address), timeout=_SECONDS)
        try:
            caller = super().identify(token, tenant_slug, address)
        except Unauthenticated as refusal:
            run_async(lockout.count(address, digest, refusal), timeout=_SECONDS)
            raise
        post(lockout.remember, digest, place)
        return caller

    def let_in(self, caller: Caller, address: str) -> None:
        """Raises ``Forbidden`` as its base does, recorded."""
        try:
            super().let_in(caller, address)
        except Forbidden as refusal:
            run_async(_record_caller(caller, refusal, current_request_id()), timeout=_SECONDS)
            raise
        post(get_runtime().uses.note, caller, address)


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: a refused credential is recorded before its answer leaves."""
    if isinstance(error, Unauthenticated) or (isinstance(error, RateLimited) and error.code == CODE):
        authorization = context["request"].headers.get("Authorization", "")
        tenant_slug = context["kwargs"].get("tenant", "")
        if authorization and re.fullmatch(SLUG_PATTERN, tenant_slug):
            try:
                token = authorization.partition(" ")[2].strip()
                run_async(_record(tenant_slug, error, token, current_request_id()), timeout=_SECONDS)
            except Unavailable as unavailable:
                error = unavailable
    return problems.problem_response(error, context)


async def _record_caller(caller: Caller, refusal: Forbidden, request_id: str) -> None:
    runtime = get_runtime()
    await runtime.start()
    await runtime.refusals.refused_caller(
        caller, refusal, kind=KIND_AUTH, server="", client=_CLIENT, request_id=request_id, bounded=True
    )


async def _record(
    tenant_slug: str, refusal: Unauthenticated | RateLimited, token: str, request_id: str
) -> None:
    runtime = get_runtime()
    await runtime.start()
    # Asked before the tenant is looked up: the same answer whether or not there is such a tenant.
    if not runtime.writer.accepting:
        raise log_unavailable()
    tenant_id = await runtime.tenants.get(tenant_slug)
    if tenant_id is not None:
        await runtime.refusals.refused_credential(
            tenant_id,
            refusal,
            token=token,
            server="",
            client=_CLIENT,
            request_id=request_id,
        )
