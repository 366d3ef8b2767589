"""REST: the servers behind a data source, and what is said in their place. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import HEALTH_STATES, RefreshedSerializer
from servers.services.overriding import list_overrides, set_overrides
from servers.services.upstreams import list_upstreams
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems

UPSTREAM_STATES = [
    ("closed", "it is asked"),
    ("open", "it is not asked until next_try"),
    ("half_open", "it is being looked at whether it answers again"),
]


class UpstreamHealthSerializer(serializers.Serializer[Any]):
    """What the last check found of one server."""

    state = serializers.ChoiceField(choices=HEALTH_STATES)
    reason = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)


class UpstreamStateSerializer(serializers.Serializer[Any]):
    """What one process of Marina found when it asked a server."""

    process = serializers.CharField()
    state = serializers.ChoiceField(choices=UPSTREAM_STATES)
    reason = serializers.CharField(help_text="Why it is not asked; empty when it is.")
    since = serializers.DateTimeField(help_text="Since when it is asked, or not.")
    next_try = serializers.DateTimeField(
        allow_null=True, help_text="The first call after this looks whether it answers again."
    )
    faults = serializers.IntegerField(help_text="In a row.")


class UpstreamSerializer(serializers.Serializer[Any]):
    """One of the servers behind a data source."""

    number = serializers.IntegerField(
        help_text="0: the one of url; the others are the replicas in their order."
    )
    url = serializers.CharField()
    state = serializers.ChoiceField(choices=UPSTREAM_STATES, help_text="The worst that any process found.")
    health = UpstreamHealthSerializer(allow_null=True, help_text="Null where the source has no other server.")
    processes = UpstreamStateSerializer(many=True, help_text="Those that found a change of late.")


UpstreamList = list_of(UpstreamSerializer, "UpstreamList")


class OverridesInput(StrictSerializer):
    """All overrides of a data source."""

    overrides = serializers.DictField(
        help_text="By the server's own names of its tools: name, title, description, defaults, hidden, annotations."
    )


class OverrideSerializer(serializers.Serializer[Any]):
    """What a team says of one tool in place of its server."""

    tool = serializers.CharField(help_text="The name that the server gives it.")
    override = serializers.DictField()
    original = serializers.DictField(help_text="What the server says. Empty where it lists no such tool.")


OverrideList = list_of(OverrideSerializer, "OverrideList")


class OverridesView(TenantView):
    """What a team says of a data source's tools in place of their server."""

    @extend_schema(
        operation_id="list_overrides", responses={200: OverrideList, **problems()}, tags=["data-sources"]
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """List the overrides, each with what the server says beside it."""
        found = list_overrides(uuid_of(source), caller=self.caller)
        return results(OverrideSerializer(found, many=True).data)

    @extend_schema(
        operation_id="set_overrides",
        request=OverridesInput,
        responses={200: RefreshedSerializer, **problems(400, 409, 413)},
        tags=["data-sources"],
    )
    def put(self, request: Request, tenant: str, source: str) -> Response:
        """Have the tools described so, in place of all overrides that there are. Other settings stay."""
        given = self.read_input(OverridesInput)
        done = set_overrides(uuid_of(source), given["overrides"], caller=self.caller)
        return Response(RefreshedSerializer(done).data)


class UpstreamsView(TenantView):
    """The servers behind a data source."""

    @extend_schema(
        operation_id="list_upstreams",
        responses={200: UpstreamList, **problems(503)},
        tags=["data-sources"],
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """List the servers behind a source, and which of them are asked just now. Other kinds than mcp have none."""
        found = list_upstreams(uuid_of(source), caller=self.caller)
        return results(UpstreamSerializer(found, many=True).data)
