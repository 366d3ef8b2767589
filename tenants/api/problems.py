"""Every error of the REST API as RFC 9457 ``application/problem+json``. Never sends an exception's text."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from drf_spectacular.utils import OpenApiResponse
from rest_framework import exceptions, serializers
from rest_framework.response import Response

from core.databaseaway import DATABASE_AWAY
from core.errors import (
    Forbidden,
    InvalidInput,
    MarinaError,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from core.problem import problem_document
from core.requestid import current_request_id
from tenants.api.authentication import challenge

CONTENT_TYPE: Final = "application/problem+json"

_log = logging.getLogger(__name__)


class MethodNotAllowed(MarinaError):
    """The address exists; the method does not."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class NotAcceptable(MarinaError):
    """The client accepts no form that Marina can send."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


class LengthRequired(MarinaError):
    """A body of unknown length."""

    code = "length_required"
    status = 411
    title = "Length required"


class UnsupportedMediaType(MarinaError):
    """The body is not JSON."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported media type"


class TooManyRequests(MarinaError):
    """A limit on how often."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"


def no_such_address() -> NotFound:
    """The answer for a path that leads nowhere."""
    return NotFound("There is nothing at this address. The schema at /api/v1/schema lists what there is.")


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's exception handler: any exception of a view becomes a problem document."""
    translated = _translate(error)
    request_id = current_request_id()
    if translated is None:
        _log_unexpected(error, request_id, context)
        translated = MarinaError(
            "Marina failed. The request was not understood as wrong: tell the operator the request id.",
            retryable=True,
        )
    headers: dict[str, str] = {}
    if isinstance(translated, Unauthenticated | Forbidden) and (wanted := challenge(translated)):
        headers["WWW-Authenticate"] = wanted
    if isinstance(translated, MethodNotAllowed):
        headers["Allow"] = ", ".join(translated.data["allowed"])
    if isinstance(translated, RateLimited):
        headers["Retry-After"] = str(translated.retry_after)
    if isinstance(translated, Unavailable):
        headers["Retry-After"] = "5"
    return Response(
        problem_document(translated, request_id=request_id),
        status=translated.status,
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def _translate(error: Exception) -> MarinaError | None:
    if isinstance(error, MarinaError):
        return error
    if isinstance(error, Http404 | exceptions.NotFound):
        return no_such_address()
    if isinstance(error, DATABASE_AWAY):
        return Unavailable("The database does not answer. Nothing was changed; try again shortly.")
    if isinstance(error, exceptions.ValidationError):
        errors = list(_faults(error.detail))
        first = errors[0] if errors else {"path": "", "message": "is not valid."}
        return InvalidInput(f"{first['path'] or 'body'}: {first['message']}", errors=errors)
    if isinstance(error, exceptions.APIException | DjangoPermissionDenied):
        return _translate_framework(error)
    return None


def _translate_framework(error: exceptions.APIException | DjangoPermissionDenied) -> MarinaError | None:
    match error:
        case exceptions.ParseError():
            return InvalidInput("The body is not valid JSON.", code="malformed_json")
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Unauthenticated(
                "Sign in, or send an API key of the team: 'Authorization: Bearer mcp_live_…'.",
            )
        case exceptions.PermissionDenied() | DjangoPermissionDenied():
            # Marina's own refusals are Forbidden; what is left is the check against forged requests.
            return Forbidden(
                "The request carries a session but no valid CSRF token. Send the token of the page in "
                "X-CSRFToken, or use an API key.",
                rule="csrf",
                code="csrf_failed",
            )
        case exceptions.MethodNotAllowed():
            allowed = getattr(error, "allowed", [])
            return MethodNotAllowed("This address does not take this method.", data={"allowed": allowed})
        case exceptions.NotAcceptable():
            return NotAcceptable("Marina answers in application/json: allow it in the Accept header.")
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType("Send the body as JSON, with 'Content-Type: application/json'.")
        case exceptions.Throttled():
            return TooManyRequests("Too many requests. Wait a moment and try again.", retryable=True)
        case _:
            return None


def _faults(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """DRF's nested details as a flat list of path and message."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _faults(inner, ".".join(part for part in (path, own) if part))
    elif isinstance(detail, list | tuple):
        for place, inner in enumerate(detail):
            nested = isinstance(inner, Mapping | list | tuple)
            yield from _faults(inner, f"{path}.{place}".lstrip(".") if nested else path)
    else:
        yield {"path": path, "message": str(detail)}


def _log_unexpected(error: Exception, request_id: str, context: Mapping[str, Any]) -> None:
    # Where, not what: an exception's text may hold a secret or a tenant's data.
    _log.error(
        "unexpected exception in the REST API",
        extra={
            "request_id": request_id,
            "view": type(context.get("view")).__name__,
            "exception_type": type(error).__qualname__,
            "where": traceback.format_list(traceback.extract_tb(error.__traceback__)),
        },
    )


class FaultSerializer(serializers.Serializer[Any]):
    """One place in the input, and what is wrong there."""

    path = serializers.CharField()
    message = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 problem details, with Marina's extension members."""

    type = serializers.CharField(help_text="urn:marina:error:<code>")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="The cause, then the next step.")
    code = serializers.CharField(help_text="Stable and machine-readable.")
    request_id = serializers.CharField(help_text="The operator finds the request by it.")
    data: ClassVar[Any] = serializers.DictField(required=False, help_text="Named details.")
    errors: ClassVar[Any] = FaultSerializer(many=True, required=False)


_REASONS: Final = {
    400: "The input is not valid; `errors` names each place.",
    401: "No credential, or one that is unknown, expired or revoked.",
    403: "The role or the scopes do not allow it; `data.rule` names the rule.",
    404: "There is no such thing for this caller.",
    409: "It does not fit the present state.",
    410: "It was there for its time, and is not any more.",
    413: "The body is too large.",
    429: "Too often; `Retry-After` says when to come back.",
    502: "The data source failed.",
    503: "Not available now; trying again later helps.",
}


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """The error responses of an operation for its schema: those that every one has, and ``statuses``."""
    return {
        (status, CONTENT_TYPE): OpenApiResponse(ProblemSerializer, description=_REASONS[status])
        for status in sorted({401, 403, 404, *statuses})
    }
