"""REST: a team's configuration as a file. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.services.configuration.exporting import export_configuration, name_file
from servers.services.configuration.importing import apply_configuration, plan_configuration
from tenants.api.base import StrictSerializer, TenantView
from tenants.api.problems import problems

YAML: Final = "application/yaml"
"""RFC 9512."""

_TAGS = ["configuration"]
_ACTIONS: Final = ("create", "change", "delete")


class ConfigurationInput(StrictSerializer):
    """A configuration file, and what goes with it."""

    configuration = serializers.CharField(
        trim_whitespace=False,
        help_text="The text of the file, YAML or JSON; or a list of MCP servers, as clients keep it.",
    )
    prune = serializers.BooleanField(default=False, help_text="Delete what the file's sections do not name.")
    secrets = serializers.DictField(
        child=serializers.DictField(),
        default=dict,
        help_text="Settings that are not in the file: the names of data sources, each with its settings.",
    )


class ConfigurationApplication(ConfigurationInput):
    """A configuration file to apply."""

    fingerprint = serializers.CharField(
        max_length=64, default="", help_text="Of the plan that was looked at: another plan is not applied."
    )


class FieldChangeSerializer(serializers.Serializer[Any]):
    """One field: null is none."""

    path = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class ConfigurationChangeSerializer(serializers.Serializer[Any]):
    """What happens to one thing."""

    action = serializers.ChoiceField(choices=_ACTIONS)
    what = serializers.CharField(help_text="source, tool, resource, prompt or server.")
    name = serializers.CharField()
    fields_changed = FieldChangeSerializer(source="fields", many=True)
    notes = serializers.ListField(child=serializers.CharField())


class ConfigurationPlanSerializer(serializers.Serializer[Any]):
    """What applying a file changes, or has changed."""

    changes = ConfigurationChangeSerializer(many=True)
    notes = serializers.ListField(
        child=serializers.CharField(), help_text="What of the text is not in the plan, and why."
    )
    summary = serializers.CharField()
    fingerprint = serializers.CharField()
    applied = serializers.BooleanField()


class ConfigurationView(TenantView):
    """The configuration of a team."""

    @extend_schema(
        operation_id="export_configuration",
        responses={(200, YAML): OpenApiTypes.STR, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str) -> HttpResponse:
        """Read all that the team has configured as a file, without secrets: always the same bytes for the same team."""
        text = export_configuration(caller=self.caller)
        headers = {
            "Content-Disposition": f'attachment; filename="{name_file(tenant)}"',
            "Cache-Control": "no-store",
        }
        return HttpResponse(text, content_type=f"{YAML}; charset=utf-8", headers=headers)


class ConfigurationPlanView(TenantView):
    """What a file would change."""

    @extend_schema(
        operation_id="plan_configuration",
        request=ConfigurationInput,
        responses={200: ConfigurationPlanSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Say what applying a file would change. Nothing is saved; it needs the rights that applying needs."""
        given = self.read_input(ConfigurationInput)
        plan = plan_configuration(given.pop("configuration"), **given, caller=self.caller)
        return Response(ConfigurationPlanSerializer(plan).data)


class ConfigurationApplyView(TenantView):
    """Makes a team what a file says."""

    @extend_schema(
        operation_id="apply_configuration",
        request=ConfigurationApplication,
        responses={200: ConfigurationPlanSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Apply a file: all of it, or nothing."""
        given = self.read_input(ConfigurationApplication)
        done = apply_configuration(given.pop("configuration"), **given, caller=self.caller)
        return Response(ConfigurationPlanSerializer(done).data)
