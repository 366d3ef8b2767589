"""The shapes of sources, tools and servers in REST: input is checked for form here, rules are in services."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from servers.models import DataSource, Quarantine, Server
from servers.services.explaining import QUESTIONS
from tenants.api.base import StrictSerializer, list_of
from tenants.oauth_addresses import DEFAULT_SERVER, resource

HEALTH_STATES = tuple((state, state) for state in DataSource.HealthState.values)


class HealthSerializer(serializers.Serializer[Any]):
    """How connecting to a data source went."""

    state = serializers.ChoiceField(choices=HEALTH_STATES)
    reason = serializers.CharField(help_text="What is wrong, and what to do; empty when healthy.")
    code = serializers.CharField()
    latency_ms = serializers.FloatField(allow_null=True)


class StoredHealthSerializer(serializers.Serializer[Any]):
    """How the last check of a data source went."""

    state = serializers.ChoiceField(source="health", choices=HEALTH_STATES)
    reason = serializers.CharField(source="health_reason")
    checked_at = serializers.DateTimeField(source="health_checked_at", allow_null=True)
    since = serializers.DateTimeField(
        source="health_since", allow_null=True, help_text="When its state became what it is."
    )
    next_check = serializers.DateTimeField(
        source="health_next_at", allow_null=True, help_text="When it is checked again, about."
    )


class QuarantinedSerializer(serializers.Serializer[Any]):
    """Something that is not to be used before somebody looked at what became of it."""

    what = serializers.ChoiceField(choices=Quarantine.What.choices)
    name = serializers.CharField(help_text="As it is offered here; of a resource its URI.")
    reason = serializers.CharField()
    since = serializers.DateTimeField()


QuarantinedList = list_of(QuarantinedSerializer, "QuarantinedList")


class SourceSerializer(serializers.Serializer[Any]):
    """A data source, without its secrets."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    settings = serializers.DictField(help_text="What may be shown; secrets are left out.")
    version = serializers.IntegerField()
    tool_prefix = serializers.CharField()
    health = StoredHealthSerializer(source="*")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class SourceInput(StrictSerializer):
    """A data source to connect."""

    name = serializers.CharField(max_length=64)
    kind = serializers.CharField(max_length=32)
    settings = serializers.DictField(
        help_text='As the kind needs: postgres takes {"dsn": …}, sqlite {"path": …}, http {"base_url": …} or '
        '{"openapi": …}.'
    )


class SourceChange(StrictSerializer):
    """What can be changed of a data source. Settings are replaced whole, secrets included."""

    name = serializers.CharField(max_length=64, required=False)
    settings = serializers.DictField(required=False)


class PlanInput(StrictSerializer):
    """A SQL tool that is being written."""

    definition = serializers.DictField(help_text="As for a tool of the kind sql.")


class PlanSerializer(serializers.Serializer[Any]):
    """How the source would run it."""

    plan = serializers.CharField(help_text="The database's own words.")
    estimated_rows = serializers.IntegerField(
        allow_null=True, help_text="Null where the source expects none."
    )
    total_cost = serializers.FloatField(
        allow_null=True, help_text="In PostgreSQL's unit: to compare with other plans. SQLite has none."
    )


class SlowStatementSerializer(serializers.Serializer[Any]):
    """A statement that took long. Values in it are shown as question marks."""

    at = serializers.DateTimeField()
    seconds = serializers.FloatField()
    statement = serializers.CharField()
    outcome = serializers.CharField(help_text="ok, cancelled, or the code of the error.")


class SlowStatementList(serializers.Serializer[Any]):
    """The newest slow statements of a source."""

    results = SlowStatementSerializer(many=True)


class HostedRunSerializer(serializers.Serializer[Any]):
    """How a source's command fares in one process of Marina."""

    process = serializers.CharField(help_text="Host and number of the process of Marina.")
    state = serializers.ChoiceField(
        choices=["starting", "running", "waiting"],
        help_text="waiting: it ended, and is begun again at next_try, when somebody calls.",
    )
    at = serializers.DateTimeField(help_text="Since when it is so.")
    since = serializers.DateTimeField(allow_null=True, help_text="When it was begun last.")
    restarts = serializers.IntegerField(help_text="How often in a row it ended by itself.")
    reason = serializers.CharField(help_text="Why it ended.")
    next_try = serializers.DateTimeField(allow_null=True)


class HostedLineSerializer(serializers.Serializer[Any]):
    """A line that the command wrote beside its messages, or Marina of it. Secrets of the source are masked."""

    at = serializers.DateTimeField()
    text = serializers.CharField()


class HostedSourceSerializer(serializers.Serializer[Any]):
    """How the command of a source fares: nothing runs where it is not used."""

    network = serializers.ChoiceField(
        choices=["none", "hosts", "machine"],
        allow_blank=True,
        help_text="What the operator lets it reach: nothing, some hosts, or all that the machine does. Empty where the "
        "operator allows no such command any more, and for sources without one.",
    )
    hosts = serializers.ListField(
        child=serializers.CharField(),
        help_text="Those hosts; *.example.org are all names below it. Without a port, 443 and 80 are meant.",
    )

    runs = HostedRunSerializer(many=True)
    lines = HostedLineSerializer(
        many=True, help_text="The last 100 within a day, newest first; for who may change sources."
    )


class SettingsInput(StrictSerializer):
    """Settings to try without saving them."""

    kind = serializers.CharField(max_length=32)
    settings = serializers.DictField()


class ToolSerializer(serializers.Serializer[Any]):
    """A tool at its current version."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    source = serializers.CharField(source="source.name")  # type: ignore[assignment]
    enabled = serializers.BooleanField()
    version = serializers.IntegerField(source="current.number")
    state = serializers.CharField(
        source="current.state",
        help_text="published; draft where no version was published yet: the tool is not offered, its version the "
        "newest draft.",
    )
    kind = serializers.CharField(source="current.kind")
    title = serializers.CharField(source="current.title")
    description = serializers.CharField(source="current.description")
    definition = serializers.DictField(source="current.definition")
    input_schema = serializers.DictField(source="current.input_schema")
    output_schema = serializers.DictField(source="current.output_schema", allow_null=True)
    annotations = serializers.DictField(source="current.annotations")
    icons = serializers.ListField(child=serializers.DictField(), source="current.icons")
    created_at = serializers.DateTimeField()


class ToolInput(StrictSerializer):
    """A tool to make."""

    name = serializers.CharField(max_length=64)
    source = serializers.CharField(  # type: ignore[assignment]
        max_length=64, help_text="The data source's name."
    )
    kind = serializers.CharField(max_length=32)
    definition = serializers.DictField()
    title = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    description = serializers.CharField(
        max_length=20_000, required=False, allow_blank=True, default="", trim_whitespace=False
    )
    draft = serializers.BooleanField(
        required=False, default=False, help_text="Keep it to yourselves until you publish it."
    )


class ToolChange(StrictSerializer):
    """What can be changed of a tool: each change of what it is makes a new version."""

    definition = serializers.DictField(required=False)
    title = serializers.CharField(max_length=200, required=False, allow_blank=True)
    description = serializers.CharField(
        max_length=20_000, required=False, allow_blank=True, trim_whitespace=False
    )
    enabled = serializers.BooleanField(required=False)
    based_on = serializers.IntegerField(
        required=False,
        help_text="The version that you changed, which may be a draft; the answer is 409 if a newer one was published.",
    )
    draft = serializers.BooleanField(
        required=False, default=False, help_text="Keep the new version as a draft, beside the current one."
    )


class DraftInput(StrictSerializer):
    """What a tool is to be made of."""

    kind = serializers.CharField(max_length=32, help_text="The kind of tool: http.")
    text = serializers.CharField(
        max_length=65_536, help_text="What was pasted: of the kind http, a curl line."
    )


class DraftSerializer(serializers.Serializer[Any]):
    """A definition to make a tool with, and what of the text is not in it."""

    definition = serializers.DictField()
    notes = serializers.ListField(child=serializers.CharField())


class NamesSerializer(serializers.Serializer[Any]):
    """Tools and prompts by name, resources by URI."""

    tools = serializers.ListField(child=serializers.CharField())
    resources = serializers.ListField(child=serializers.CharField())
    prompts = serializers.ListField(child=serializers.CharField())


class RefreshInput(StrictSerializer):
    """How to take over what a data source brings. All of it may be left out."""

    document = serializers.JSONField(
        required=False,
        allow_null=True,
        help_text="An OpenAPI document in place of the source's own: its address, its text, or the document. Left out, "
        "the source's own is fetched again.",
    )
    preview = serializers.BooleanField(
        required=False, default=False, help_text="Say what would change, and change nothing."
    )
    fingerprint = serializers.CharField(
        max_length=64,
        required=False,
        allow_null=True,
        help_text="Of the preview that was looked at: other differences are not taken over (409, "
        "``differences_moved``).",
    )


class DifferenceSerializer(serializers.Serializer[Any]):
    """What became, or would become, of one tool."""

    kind = serializers.ChoiceField(choices=["added", "removed", "renamed", "changed"])
    tool = serializers.CharField()
    words = serializers.ListField(child=serializers.CharField())
    breaking = serializers.BooleanField(help_text="Whether calls as before may be refused.")
    ends = serializers.ListField(
        child=serializers.CharField(),
        help_text="Of a tool that goes: the pins, versions beside and canaries of servers that go with it.",
    )


class RefreshedSerializer(serializers.Serializer[Any]):
    """What taking over a data source's offering did. Of a preview only the differences and their fingerprint are."""

    added = NamesSerializer()
    changed = NamesSerializer(help_text="A tool that changed has a new version.")
    removed = NamesSerializer()
    differences = DifferenceSerializer(many=True)
    fingerprint = serializers.CharField(help_text="Says which differences these are.")


class CallInput(StrictSerializer):
    """A call to try."""

    arguments = serializers.DictField(required=False)
    server = serializers.CharField(max_length=40, default=DEFAULT_SERVER, help_text="The server's slug.")
    version = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        help_text="This version, such as a draft, in place of what the server offers: for who may change tools.",
    )
    priority = serializers.CharField(
        required=False,
        help_text="Of a call that takes long, among the team's tasks: low, normal, or high, for who may manage tasks.",
    )


class CallErrorSerializer(serializers.Serializer[Any]):
    """Why a tool failed."""

    code = serializers.CharField()
    message = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]


class CallResultSerializer(serializers.Serializer[Any]):
    """What a call gave, and the number of its record in the log."""

    tool = serializers.CharField()
    tool_version = serializers.IntegerField()
    outcome = serializers.ChoiceField(choices=["ok", "error", "refused"])
    structured = serializers.JSONField(allow_null=True, help_text="Any JSON value.")
    text = serializers.CharField()
    content = serializers.ListField(
        child=serializers.DictField(), allow_null=True, help_text="MCP content blocks, where text is not all."
    )
    rows = serializers.IntegerField(allow_null=True)
    size = serializers.IntegerField(help_text="Bytes.")
    truncated = serializers.BooleanField()
    duration_us = serializers.IntegerField(help_text="Microseconds.")
    seq = serializers.IntegerField(help_text="The number of its record in the log.")
    served_from = serializers.CharField(
        help_text="Empty, or where the result came from without a run: cache, same_run."
    )
    error = CallErrorSerializer(allow_null=True)


class ServerSerializer(serializers.Serializer[Any]):
    """A server: one MCP surface at its own URL."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    title = serializers.CharField()
    instructions = serializers.CharField()
    access = serializers.ChoiceField(choices=Server.Access.values)
    offers_all = serializers.BooleanField()
    sources = serializers.SerializerMethodField(help_text="Names of the chosen data sources.")
    mcp_url = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    def get_sources(self, server: Server) -> list[str]:
        return [source.name for source in server.sources.all()]

    def get_mcp_url(self, server: Server) -> str:
        return resource(self.context["tenant"], server.slug)


class ServerInput(StrictSerializer):
    """A server to make. Without ``sources`` it offers what comes of all of them."""

    slug = serializers.CharField(max_length=40)
    title = serializers.CharField(max_length=120)
    access = serializers.CharField(
        max_length=16, default=Server.Access.PRIVATE.value, help_text="private or public (owners only)"
    )
    sources = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, allow_null=True, default=None
    )
    instructions = serializers.CharField(
        max_length=20_000, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class ServerChange(StrictSerializer):
    """What can be changed of a server."""

    title = serializers.CharField(max_length=120, required=False)
    access = serializers.CharField(max_length=16, required=False, help_text="private or public (owners only)")
    sources = serializers.ListField(child=serializers.CharField(max_length=64), required=False)
    offers_all = serializers.BooleanField(required=False)
    instructions = serializers.CharField(
        max_length=20_000, required=False, allow_blank=True, trim_whitespace=False
    )


SourceList = list_of(SourceSerializer, "DataSourceList")
ToolList = list_of(ToolSerializer, "ToolList")
ServerList = list_of(ServerSerializer, "ServerList")


class AccessQuery(StrictSerializer):
    """Which call is asked about."""

    credential_id = serializers.UUIDField(
        help_text="Of an API key, of a connected app, or of an outside issuer."
    )
    tool = serializers.CharField(max_length=64)
    server = serializers.CharField(default=DEFAULT_SERVER, max_length=40)
    values = serializers.CharField(
        required=False,
        max_length=2000,
        help_text="Of an outside issuer: what a token has in the claim that counts, separated by spaces.",
    )
    address = serializers.IPAddressField(required=False, help_text="Where the client is; left out: anywhere.")


class StepSerializer(serializers.Serializer[Any]):
    """One step of the decision."""

    name = serializers.ChoiceField(choices=list(QUESTIONS))
    question = serializers.CharField()
    passed = serializers.BooleanField(
        allow_null=True, help_text="Null: an earlier refusal left nothing to ask."
    )
    answer = serializers.CharField(help_text="Of a refusal: what the client is told.")
    code = serializers.CharField()
    rule = serializers.CharField()


class ExplanationSerializer(serializers.Serializer[Any]):
    """What would become of a call now."""

    allowed = serializers.BooleanField(help_text="Whether it would be let through to the tool.")
    steps = StepSerializer(many=True)
