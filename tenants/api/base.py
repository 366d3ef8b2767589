"""What every view of the REST API shares: who calls, for which tenant, and how input is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.errors import Forbidden, Unauthenticated
from tenants.access import Caller, SignInNeededHere, caller_for_user, tenant_not_found, unknown_key
from tenants.api.parsing import StrictJsonParser
from tenants.api.problems import LengthRequired, MethodNotAllowed, no_such_address
from tenants.arrivals import arrival_of_request
from tenants.models import SLUG_PATTERN, User
from tenants.services.recording import record_refusal

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class StrictSerializer(serializers.Serializer[Any]):
    """Input that names every field it does not know, instead of ignoring it."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = sorted(str(name) for name in set(data) - set(self.fields))
            if unknown:
                known = ", ".join(name for name, field in self.fields.items() if not field.read_only)
                raise serializers.ValidationError(
                    {name: [f"is not a known field. Known are: {known}."] for name in unknown}
                )
        return super().to_internal_value(data)


class ApiView(APIView):
    """A view whose every error is a problem document and whose bodies are strict JSON."""

    parser_classes = [StrictJsonParser]
    caller: Caller
    """Who asks, once that is known."""

    refusals_recorded_below = False
    """Whether the service itself records what it refuses (the one decision path of calls does)."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            # DRF would take it for an empty body, without a word.
            raise LengthRequired("Send the body with a Content-Length header.")
        super().initial(request, *args, **kwargs)

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        raise MethodNotAllowed(
            "This address does not take this method.", data={"allowed": self.allowed_methods}
        )

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, Forbidden) and not self.refusals_recorded_below and hasattr(self, "caller"):
            record_refusal(
                "rest", exc, operation=f"{self.request.method} {self.route_pattern()}", caller=self.caller
            )
        return super().handle_exception(exc)

    def route_pattern(self) -> str:
        """The route's pattern, in which no id stands."""
        match = self.request.resolver_match
        return "" if match is None else match.route

    def read_input(self, kind: type[serializers.Serializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The body, checked against ``kind``."""
        return self._checked(kind(data=self.request.data, partial=partial))

    def read_query(self, kind: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The query's parameters, checked against ``kind``."""
        return self._checked(kind(data=self.request.query_params.dict()))

    def _checked(self, serializer: serializers.Serializer[Any]) -> dict[str, Any]:
        serializer.is_valid(raise_exception=True)
        checked: dict[str, Any] = dict(serializer.validated_data)
        return checked


class TenantView(ApiView):
    """A view below ``/tenants/{tenant}/``. ``caller`` is who asks, resolved for that tenant."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        try:
            self.caller = resolve_caller(request, kwargs["tenant"])
        except SignInNeededHere as refusal:
            self.caller = refusal.caller  # whose attempt the team's log keeps
            raise


def resolve_caller(request: Request, tenant_slug: str) -> Caller:
    """Who asks, for this tenant. One answer for an unknown tenant and for one that is not theirs.

    To a person that is a 404; to a key, which is unknown there, a 401.
    """
    if isinstance(request.auth, Caller):
        if request.auth.tenant_slug != tenant_slug:
            raise unknown_key()
        return request.auth
    if not isinstance(request.user, User):
        raise Unauthenticated("Sign in, or send an API key of the team.")
    if not re.fullmatch(SLUG_PATTERN, tenant_slug):
        raise tenant_not_found()
    arrival = arrival_of_request(request)
    return caller_for_user(request.user.pk, request.user.email, tenant_slug, arrival=arrival)


def uuid_of(text: str) -> UUID:
    """An id from a path. What is not one is an id that nothing has, so both get the same answer."""
    return UUID(text) if _UUID.fullmatch(text) else UUID(int=0)


def number_of(text: str) -> int:
    """A number from a path. What is not one is a number that nothing has."""
    return int(text) if _NUMBER.fullmatch(text) else 0


def results(rows: Iterable[Any], *, next_url: str | None = None) -> Response:
    """A list as every list looks."""
    return Response({"results": list(rows), "next": next_url})


def shown_once(made: serializers.Serializer[Any]) -> Response:
    """The answer that holds a new secret: nothing on its way may keep it."""
    return Response(made.data, status=201, headers={"Cache-Control": "no-store"})


def list_of(item: type[serializers.Serializer[Any]], name: str) -> type[serializers.Serializer[Any]]:
    """The serializer of a list of ``item``, for the schema; ``name`` is the component's."""
    return type(
        name,
        (serializers.Serializer,),
        {
            "__doc__": "A list; `next` is where it goes on.",
            "results": item(many=True),
            "next": serializers.URLField(allow_null=True),
        },
    )


@extend_schema(exclude=True)
class NoSuchAddress(ApiView):
    """Answers for every path of the API that leads nowhere, without asking who calls."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise no_such_address()
