"""REST: prompts. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.offering_serializers import (
    OnePromptSerializer,
    PromptChange,
    PromptInput,
    PromptList,
    PromptSerializer,
)
from servers.services import handmade, prompts
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["prompts"]


class PromptsView(TenantView):
    """The prompts of a team."""

    @extend_schema(operation_id="list_prompts", responses={200: PromptList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the prompts, switched on or off."""
        return results(PromptSerializer(prompts.list_prompts(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_prompt",
        request=PromptInput,
        responses={201: OnePromptSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make a prompt of the team's own."""
        given = self.read_input(PromptInput)
        source = given.pop("source", None)
        made = handmade.create_prompt(given, source=source, caller=self.caller)
        return Response(OnePromptSerializer(made).data, status=201)


class PromptView(TenantView):
    """One prompt."""

    @extend_schema(operation_id="get_prompt", responses={200: OnePromptSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, prompt: str) -> Response:
        """Show a prompt, and how it was defined where it is the team's own."""
        row = prompts.get_prompt(uuid_of(prompt), caller=self.caller)
        return Response(OnePromptSerializer(row).data)

    @extend_schema(
        operation_id="update_prompt",
        request=PromptChange,
        responses={200: OnePromptSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, prompt: str) -> Response:
        """Change a prompt of the team's own, or offer one, or take it off every server without losing it."""
        given = self.read_input(PromptChange)
        enabled = given.pop("enabled", None)
        row = handmade.change_prompt(uuid_of(prompt), given, enabled=enabled, caller=self.caller)
        return Response(OnePromptSerializer(row).data)

    @extend_schema(operation_id="delete_prompt", responses={204: None, **problems(409)}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, prompt: str) -> Response:
        """Delete a prompt of the team's own."""
        handmade.delete_prompt(uuid_of(prompt), caller=self.caller)
        return Response(status=204)
