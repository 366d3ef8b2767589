"""What REST takes and gives of the versions of tools. Holds no rule: services check what matters."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from servers.models import ServedVersion, ToolVersion
from servers.services.served_versions import served_name
from tenants.api.base import StrictSerializer, list_of


class ToolVersionSerializer(serializers.Serializer[Any]):
    """What a tool was, from one change to the next."""

    number = serializers.IntegerField()
    state = serializers.ChoiceField(
        choices=ToolVersion.State.choices,
        help_text="The newest published version is the current one. withdrawn: the tool was rolled back from it.",
    )
    kind = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    definition = serializers.DictField()
    input_schema = serializers.DictField()
    output_schema = serializers.DictField(allow_null=True)
    annotations = serializers.DictField()
    icons = serializers.ListField(child=serializers.DictField())
    created_by = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.EmailField(allow_null=True))
    def get_created_by(self, version: ToolVersion) -> str | None:
        return None if version.created_by is None else version.created_by.email


class LineSerializer(serializers.Serializer[Any]):
    """A line of one of the versions or of both."""

    sign = serializers.ChoiceField(
        choices=["+", "-", " ", "…"], help_text="+ of the newer, - of the older; … stands for lines left out."
    )
    text = serializers.CharField()


class ComparisonSerializer(serializers.Serializer[Any]):
    """How a version differs from another."""

    before = serializers.IntegerField(source="before.number")
    after = serializers.IntegerField(source="after.number")
    words = serializers.ListField(child=serializers.CharField())
    breaking = serializers.BooleanField(help_text="Whether calls as before may be refused.")
    lines = LineSerializer(many=True, help_text="What the team wrote of it, line by line.")


class RollbackInput(StrictSerializer):
    """Where to roll a tool back to."""

    to = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        help_text="An earlier published version. Left out: the one before the current one.",
    )


class ServedVersionSerializer(serializers.Serializer[Any]):
    """A version of a tool that a server offers otherwise than as the current one."""

    id = serializers.UUIDField()
    server = serializers.CharField(source="server.slug", help_text="The server's slug.")
    tool = serializers.CharField(source="tool.name")
    version = serializers.IntegerField(source="version.number")
    use = serializers.ChoiceField(choices=ServedVersion.Use.choices)
    name = serializers.SerializerMethodField(help_text="What clients call it by.")
    share = serializers.IntegerField(allow_null=True, help_text="Of a canary: percent of those who call.")
    credentials = serializers.ListField(
        child=serializers.UUIDField(),
        help_text="Of a canary: ids of API keys, OAuth clients and outside issuers.",
    )
    created_at = serializers.DateTimeField()

    def get_name(self, served: ServedVersion) -> str:
        return served_name(served)


class ServedVersionInput(StrictSerializer):
    """A version of a tool to offer on a server, in place of the one that was offered so."""

    tool = serializers.CharField(max_length=64, help_text="The tool's name.")
    version = serializers.IntegerField()
    use = serializers.CharField(
        max_length=16,
        help_text="pin: in place of the current version. beside: beside it, as <tool>_v<version>. canary: in its place "
        "for some.",
    )
    share = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="Of a canary: percent, from 1 to 100."
    )
    credentials = serializers.ListField(
        child=serializers.CharField(max_length=64),
        required=False,
        default=list,
        help_text="Of a canary: ids.",
    )


ToolVersionList = list_of(ToolVersionSerializer, "ToolVersionList")
ServedVersionList = list_of(ServedVersionSerializer, "ServedVersionList")
