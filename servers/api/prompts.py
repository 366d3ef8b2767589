"""REST: prompts. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.serializers import EnabledChange, PromptList, PromptSerializer
from servers.services import prompts
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["prompts"]


class PromptsView(TenantView):
    """The prompts of a team."""

    @extend_schema(operation_id="list_prompts", responses={200: PromptList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the prompts, switched on or off."""
        return results(PromptSerializer(prompts.list_prompts(caller=self.caller), many=True).data)


class PromptView(TenantView):
    """One prompt."""

    @extend_schema(operation_id="get_prompt", responses={200: PromptSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, prompt: str) -> Response:
        """Show a prompt, not what it renders."""
        row = prompts.get_prompt(uuid_of(prompt), caller=self.caller)
        return Response(PromptSerializer(row).data)

    @extend_schema(
        operation_id="update_prompt",
        request=EnabledChange,
        responses={200: PromptSerializer, **problems(400)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, prompt: str) -> Response:
        """Offer a prompt, or take it off every server without losing it."""
        given = self.read_input(EnabledChange)
        row = prompts.set_prompt_enabled(uuid_of(prompt), given["enabled"], caller=self.caller)
        return Response(PromptSerializer(row).data)
