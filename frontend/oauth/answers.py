"""How the issuer's endpoints read what programs send and answer them, and how refusals come into the log."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from core.challenges import quotable
from core.clientaddress import UNKNOWN, address_block
from core.databaseaway import DATABASE_AWAY
from core.errors import Forbidden, RateLimited, Unavailable
from core.loop import run_async
from core.requestid import current_request_id
from frontend.oauth.noting import note_answer, pad_of
from frontend.sessions import visitor_address
from servers.services.limits import in_seconds
from servers.services.runtime import get_runtime
from servers.services.surfaces import find_tenant
from tenants.access import Caller
from tenants.models import SLUG_PATTERN
from tenants.oauth_steps import Kind
from tenants.services.oauth_parameters import OAuthFault

KIND: Final = "oauth"
"""The kind of records of what was refused."""

MAX_BODY_BYTES: Final = 64 * 1024
_FIELDS: Final = 64
_SECONDS: Final = 10.0

Endpoint = Callable[[HttpRequest, int, str], HttpResponse]


def program_endpoint(kind: Kind | None) -> Callable[[Endpoint], Callable[..., HttpResponse]]:
    """Make a view that programs POST to, from anywhere: it gets the tenant's id and slug, and no session counts.

    Its faults become the protocol's errors, recorded; an unknown tenant has no such endpoint. ``kind`` is what a
    request is in a client's timeline; ``None``: no step of it.
    """

    def decorate(view: Endpoint) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest, tenant: str) -> HttpResponse:
            if request.method == "OPTIONS":
                return open_to_all(HttpResponse(status=204))
            tenant_id = tenant_named(tenant)
            if tenant_id is None:
                return open_to_all(no_such_issuer())
            if request.method != "POST":
                fault = OAuthFault("invalid_request", "This endpoint takes a POST.", status=405)
                response = _refuse(request, fault)
            else:
                response = _answer(view, request, tenant_id, tenant)
            if kind is not None:
                note_answer(request, tenant_id, kind, response.status_code)
            return open_to_all(response)

        return answer

    return decorate


def _answer(view: Endpoint, request: HttpRequest, tenant_id: int, tenant_slug: str) -> HttpResponse:
    try:
        try:
            return view(request, tenant_id, tenant_slug)
        except OAuthFault as fault:
            record_fault(fault, tenant_id=tenant_id, tenant_slug=tenant_slug)
            return _refuse(request, fault)
    except DATABASE_AWAY:
        words, status, wait = "The database is away. Try again shortly.", 503, 2
    except (RateLimited, Unavailable) as error:
        words, status = error.message, error.status
        wait = error.retry_after if isinstance(error, RateLimited) else 2
    response = _refuse(request, OAuthFault("temporarily_unavailable", words, status=status))
    response["Retry-After"] = str(wait)
    return response


def _refuse(request: HttpRequest, fault: OAuthFault) -> HttpResponse:
    pad_of(request).fault = fault
    return fault_answer(fault)


def no_such_issuer() -> HttpResponse:
    """The one answer below the address of a tenant that there is not."""
    return fault_answer(OAuthFault("not_found", "There is no such issuer.", status=404))


def tenant_named(slug: str) -> int | None:
    """The tenant's id, or ``None`` where there is none."""
    return find_tenant(slug) if re.fullmatch(SLUG_PATTERN, slug) else None


def take_turn(request: HttpRequest, tenant_id: int, tenant_slug: str) -> None:
    """Count a request that programs make, by its address at the team. Raises ``RateLimited``, recorded (bounded)."""
    address = visitor_address(request)
    if address == UNKNOWN:
        return
    caller = Caller(tenant_id=tenant_id, tenant_slug=tenant_slug, actor=f"anonymous ({address})")
    run_async(_take_turn(caller, address, current_request_id()), timeout=_SECONDS)


async def _take_turn(caller: Caller, address: str, request_id: str) -> None:
    limiter = get_runtime().token_limiter
    wait = await limiter.take(f"oauth/{caller.tenant_id}/{address_block(address)}")
    if wait <= 0:
        return
    seconds = math.ceil(wait)
    refusal = RateLimited(
        f"Your address asked this issuer more than {limiter.pace.requests} times in {limiter.pace.seconds} seconds. "
        f"Try again {in_seconds(seconds)}.",
        retry_after=seconds,
        rule="oauth:rate",
    )
    await _record(caller, refusal, "", request_id)
    raise refusal


def read_form(request: HttpRequest) -> list[tuple[str, str]]:
    """The body's parameters, as they came. Raises ``OAuthFault``."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthFault("invalid_request", "Send the parameters as application/x-www-form-urlencoded.")
    body = read_body(request)
    if request.META.get("QUERY_STRING"):
        raise OAuthFault("invalid_request", "Send the parameters in the body: addresses end up in logs.")
    try:
        return parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS
        )
    except ValueError:
        raise OAuthFault("invalid_request", "The body is not a form of at most 64 fields in UTF-8.") from None


def read_body(request: HttpRequest) -> bytes:
    """The body. Raises ``OAuthFault`` where it is larger than any sound request."""
    if len(request.body) > MAX_BODY_BYTES:
        raise OAuthFault("invalid_request", f"The body is larger than {MAX_BODY_BYTES} bytes.", status=413)
    return request.body


def json_answer(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """JSON that nobody keeps (RFC 6749 section 5.1)."""
    response = JsonResponse(dict(body), status=status)
    for name, value in (headers or {}).items():
        if name.lower() != "content-type":
            response[name] = value
    response["Cache-Control"] = "no-store"
    return response


def fault_answer(fault: OAuthFault) -> HttpResponse:
    """A fault as the protocol words it (RFC 6749 section 5.2)."""
    response = json_answer(
        {"error": fault.code, "error_description": quotable(fault.description)}, status=fault.status
    )
    if fault.status == 401:
        response["WWW-Authenticate"] = 'Basic realm="marina"'
    return response


def open_to_all(response: HttpResponse) -> HttpResponse:
    """Let pages of any origin read the answer: no cookie counts here, so there is nothing to protect by origin."""
    response["Access-Control-Allow-Origin"] = "*"
    response["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response["Access-Control-Allow-Headers"] = "Authorization, Content-Type, MCP-Protocol-Version"
    return response


def public_document(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Make a view that anyone reads, pages of any origin included: browsers ask whether they may, before they do."""

    read = require_safe(view)

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "OPTIONS":
            return open_to_all(HttpResponse(status=204))
        return open_to_all(read(request, *args, **kwargs))

    return answer


def record_fault(
    fault: OAuthFault, *, tenant_id: int, tenant_slug: str, actor: str = "unknown client", server: str = ""
) -> None:
    """Put a refusal into the tenant's log, bounded as all that strangers can cause. Raises ``Unavailable``."""
    caller = Caller(tenant_id=tenant_id, tenant_slug=tenant_slug, actor=actor)
    refusal = Forbidden(fault.description, rule=f"{KIND}:{fault.code}", code=fault.code)
    run_async(_record(caller, refusal, server, current_request_id()), timeout=_SECONDS)


async def _record(caller: Caller, refusal: Forbidden | RateLimited, server: str, request_id: str) -> None:
    runtime = get_runtime()
    await runtime.start()
    await runtime.refusals.refused_caller(
        caller, refusal, kind=KIND, server=server, client=KIND, request_id=request_id, bounded=True
    )
