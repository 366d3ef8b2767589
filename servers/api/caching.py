"""REST: how a tool's calls share results. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.models import MAX_CACHE_SECONDS
from servers.services import caching
from tenants.api.base import StrictSerializer, TenantView, uuid_of
from tenants.api.problems import problems

_TAGS = ["tools"]


class CachingCounts(serializers.Serializer[Any]):
    """How calls of the tool got their results in the last days, over all processes."""

    hits = serializers.IntegerField(help_text="Answered from what was kept.")
    joined = serializers.IntegerField(
        help_text="Given the result of another call's run, made at the same time."
    )
    runs = serializers.IntegerField(help_text="Run.")
    hit_rate = serializers.FloatField(
        allow_null=True, help_text="hits of all, from 0 to 1; null where there was no call."
    )


class CachingSerializer(serializers.Serializer[Any]):
    """How a tool's calls share results. Reasons are empty where there is none."""

    seconds = serializers.IntegerField(help_text="For how long a result is kept; 0: not at all.")
    collapses = serializers.BooleanField(help_text="Whether calls that are made at once may run once.")
    why_not_kept = serializers.CharField(help_text="Why no result of this tool is kept, whatever is set.")
    why_not_collapsed = serializers.CharField(help_text="Why each of its calls runs, whatever is set.")
    by_caller = serializers.BooleanField(help_text="Whether a kept result is for its caller alone.")
    days = serializers.IntegerField(help_text="Of how many days the counts are, today's among them.")
    counts = CachingCounts(allow_null=True, help_text="null while they cannot be read.")


class CachingChange(StrictSerializer):
    """What can be changed of it. What is left out stays."""

    seconds = serializers.IntegerField(
        required=False, help_text=f"0 to {MAX_CACHE_SECONDS}; above 0 for tools that only read."
    )
    collapses = serializers.BooleanField(required=False)


class ToolCacheView(TenantView):
    """How one tool's calls share results."""

    @extend_schema(
        operation_id="get_tool_cache", responses={200: CachingSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, tool: str) -> Response:
        """Say for how long results are kept, and how often that spared a run."""
        return Response(CachingSerializer(caching.get_caching(uuid_of(tool), caller=self.caller)).data)

    @extend_schema(
        operation_id="update_tool_cache",
        request=CachingChange,
        responses={200: CachingSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, tool: str) -> Response:
        """Set for how long results are kept, and whether calls that are made at once run once."""
        changed = caching.change_caching(uuid_of(tool), **self.read_input(CachingChange), caller=self.caller)
        return Response(CachingSerializer(changed).data)


class ToolCacheClearView(TenantView):
    """Clears one tool's cache."""

    @extend_schema(
        operation_id="clear_tool_cache", request=None, responses={204: None, **problems()}, tags=_TAGS
    )
    def post(self, request: Request, tenant: str, tool: str) -> Response:
        """Forget what was kept, on every replica: within a second, and within five where Redis is away."""
        caching.clear_cache(uuid_of(tool), caller=self.caller)
        return Response(status=204)
