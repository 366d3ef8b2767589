"""The shapes of resources and prompts in REST: input is checked for form here, rules are in services."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from servers.models import Prompt, Resource
from servers.services.handmade import find_faults, prompt_definition, resource_definition
from tenants.api.base import StrictSerializer, list_of
from tenants.api.problems import FaultSerializer


class _Judged(serializers.Serializer[Any]):
    """What is told of one alone, whether it came with a data source or is the team's own."""

    faults = serializers.SerializerMethodField(
        help_text="What keeps it from working now, such as a tool that it names and that is gone."
    )

    @extend_schema_field(FaultSerializer(many=True))
    def get_faults(self, row: Resource | Prompt) -> list[dict[str, str]]:
        return find_faults(row)


class _OwnInput(StrictSerializer):
    """What is entered of either."""

    title = serializers.CharField(max_length=200, required=False, allow_blank=True)
    description = serializers.CharField(
        max_length=8_000, required=False, allow_blank=True, trim_whitespace=False
    )
    source = serializers.CharField(  # type: ignore[assignment]
        max_length=64, required=False, help_text="A data source's name; left out, the team's own for such."
    )


class ResourceSerializer(serializers.Serializer[Any]):
    """A resource, or a resource template, of a data source."""

    id = serializers.UUIDField()
    uri = serializers.CharField(help_text="Of a template, an RFC 6570 URI template.")
    template = serializers.BooleanField()
    name = serializers.CharField()
    source = serializers.CharField(source="source.name")  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    title = serializers.CharField()
    description = serializers.CharField()
    mime_type = serializers.CharField()
    size = serializers.IntegerField(allow_null=True, help_text="Bytes, where that is known.")
    annotations = serializers.DictField()
    icons = serializers.ListField(child=serializers.DictField())
    brought = serializers.BooleanField(
        help_text="Whether it came with its data source; else it is the team's own."
    )
    created_at = serializers.DateTimeField()


class OneResourceSerializer(ResourceSerializer, _Judged):
    """A resource, and of one that is the team's own how it was defined."""

    definition = serializers.SerializerMethodField()

    @extend_schema_field(serializers.DictField())
    def get_definition(self, row: Resource) -> dict[str, Any]:
        return resource_definition(row)


class ResourceInput(_OwnInput):
    """A resource to make; with braces in its URI it is a template, in whose text ``${name}`` are slots."""

    uri = serializers.CharField(max_length=1024, help_text="Of a template, an RFC 6570 URI template.")
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)
    mime_type = serializers.CharField(max_length=200, required=False, allow_blank=True)
    text = serializers.CharField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)
    blob = serializers.CharField(
        required=False, allow_null=True, help_text="In place of text: bytes in base64."
    )
    result = serializers.DictField(
        required=False,
        allow_null=True,
        help_text='In place of text, what a tool that only reads gives: {"tool": "get_order", "arguments": '
        '{"order_id": "${id}"}, "pick": "/rows/0"}. ``pick`` is a JSON Pointer into its result.',
    )
    variables = serializers.DictField(
        required=False,
        allow_null=True,
        help_text='Of a template: {"lang": {"enum": ["en", "de"]}}, or {"id": {"complete": {"tool": "find_orders", '
        '"arguments": {"prefix": "${id}"}, "pick": "/rows", "member": "id"}}}.',
    )
    annotations = serializers.DictField(required=False, allow_null=True)


class ResourceChange(ResourceInput):
    """What can be changed of a resource: of one that came with its data source, ``enabled`` alone."""

    uri = serializers.CharField(max_length=1024, required=False)
    source = None  # type: ignore[assignment]
    enabled = serializers.BooleanField(required=False)


class PromptSerializer(serializers.Serializer[Any]):
    """A prompt of a data source."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    source = serializers.CharField(source="source.name")  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    title = serializers.CharField()
    description = serializers.CharField()
    arguments = serializers.ListField(
        child=serializers.DictField(), help_text="Each with name, and perhaps title, description, required."
    )
    icons = serializers.ListField(child=serializers.DictField())
    brought = serializers.BooleanField(
        help_text="Whether it came with its data source; else it is the team's own."
    )
    created_at = serializers.DateTimeField()


class OnePromptSerializer(PromptSerializer, _Judged):
    """A prompt, and of one that is the team's own how it was defined."""

    definition = serializers.SerializerMethodField()

    @extend_schema_field(serializers.DictField())
    def get_definition(self, row: Prompt) -> dict[str, Any]:
        return prompt_definition(row)


class PromptInput(_OwnInput):
    """A prompt to make. ``${name}`` in a message stands for the argument, or the result, of that name."""

    name = serializers.CharField(max_length=64)
    arguments = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        help_text="Each with name, and perhaps title, description, required, default, and enum or complete as "
        "variables of a resource have them.",
    )
    results = serializers.DictField(
        required=False,
        allow_null=True,
        help_text='What tools that only read give, by the name of its slot: {"order": {"tool": "get_order", '
        '"arguments": {"order_id": "${number}"}, "pick": "/rows/0"}}.',
    )
    messages = serializers.ListField(
        child=serializers.DictField(),
        help_text='Each with a role (user, assistant), and text or resource: {"uri", "mime_type", "text" or "blob"}.',
    )


class PromptChange(PromptInput):
    """What can be changed of a prompt: of one that came with its data source, ``enabled`` alone."""

    name = serializers.CharField(max_length=64, required=False)
    messages = serializers.ListField(child=serializers.DictField(), required=False)
    source = None  # type: ignore[assignment]
    enabled = serializers.BooleanField(required=False)


ResourceList = list_of(ResourceSerializer, "ResourceList")
PromptList = list_of(PromptSerializer, "PromptList")
