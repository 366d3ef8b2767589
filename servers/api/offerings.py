"""REST: what a data source brings, as JSON. Only describes; what it holds is said in ``servers.execution.contract``."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class OfferedToolSerializer(serializers.Serializer[Any]):
    """A tool that a data source would bring."""

    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    input_schema = serializers.DictField()
    output_schema = serializers.DictField(allow_null=True)
    annotations = serializers.DictField()


class OfferedResourceSerializer(serializers.Serializer[Any]):
    """A resource, or a template, that a data source would bring."""

    uri = serializers.CharField()
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    mime_type = serializers.CharField()
    template = serializers.BooleanField()


class OfferedPromptSerializer(serializers.Serializer[Any]):
    """A prompt that a data source would bring."""

    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    arguments = serializers.ListField(child=serializers.DictField())


class LeftOutSerializer(serializers.Serializer[Any]):
    """Something that the source has and would not bring."""

    what = serializers.CharField(help_text="tool, resource, prompt, or output schema.")
    name = serializers.CharField()
    reason = serializers.CharField()


class OfferingSerializer(serializers.Serializer[Any]):
    """All that a data source would bring, and what it would not."""

    tools = OfferedToolSerializer(many=True)
    resources = OfferedResourceSerializer(many=True)
    prompts = OfferedPromptSerializer(many=True)
    left_out = LeftOutSerializer(many=True)
