"""REST: why a credential can or cannot call a tool. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import AccessQuery, ExplanationSerializer
from servers.services.explaining import explain_call
from tenants.api.base import TenantView
from tenants.api.problems import problems


class AccessView(TenantView):
    """The decision about a call, step by step."""

    @extend_schema(
        operation_id="explain_access",
        parameters=[AccessQuery],
        responses={200: ExplanationSerializer, **problems(400)},
        tags=["api-keys"],
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Say why a key, a connected app or an outside issuer's token can or cannot call a tool now, step by step."""
        asked = self.read_query(AccessQuery)
        explanation = explain_call(
            asked["credential_id"],
            asked["server"],
            asked["tool"],
            address=asked.get("address", ""),
            values=asked.get("values", "").split(),
            caller=self.caller,
        )
        return Response(ExplanationSerializer(explanation).data)
