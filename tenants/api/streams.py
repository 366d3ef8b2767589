"""REST: the streams of a team's log and what they delivered. Parses, calls one service, answers; a worker hands
over.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInput
from tenants.api.base import StrictSerializer, TenantView, list_of, results, shown_once, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import public_url
from tenants.models import LogStream, StreamDelivery
from tenants.services import streams
from tenants.services.stream_settings import (
    MAX_AUTHORITIES,
    MAX_HEADER,
    MAX_URL,
    SYSLOG_PORT,
    shown_settings,
)
from tenants.services.streams import MadeStream, Standing
from tenants.streams.syslog import ENDS, EXAMPLE_ID

STREAM_STATES = ["healthy", "retrying", "paused"]
STREAM_KINDS = LogStream.Kind.values
_TAGS = ["audit"]


class StreamSerializer(serializers.Serializer[Any]):
    """A receiver of a team's log, and how far it is. Its secrets are stored encrypted, and shown to nobody."""

    id = serializers.UUIDField(source="row.id")
    name = serializers.CharField(source="row.name")
    kind = serializers.ChoiceField(source="row.kind", choices=STREAM_KINDS)
    settings = serializers.SerializerMethodField(
        help_text="Of the kind: `url`, and `headers` by their names; or `host`, `port`, `server_name`, `authorities`, "
        "`sd_id`, `ends`. A query of the URL is not shown."
    )
    filters = serializers.DictField(source="row.filters", child=serializers.CharField())
    state = serializers.ChoiceField(source="row.state", choices=STREAM_STATES)
    message = serializers.CharField(source="words", help_text="Where it stands, in words.")
    cursor = serializers.IntegerField(
        source="row.cursor", help_text="The last record that the receiver took, or that the filters left out."
    )
    behind = serializers.IntegerField(help_text="Records of the log that come after the cursor.")
    failing_since = serializers.DateTimeField(source="row.failing_since", allow_null=True)
    next_try_at = serializers.DateTimeField(source="row.next_try_at", allow_null=True)
    taken_at = serializers.DateTimeField(source="row.taken_at", allow_null=True)
    created_at = serializers.DateTimeField(source="row.created_at")

    @extend_schema_field({"type": "object", "additionalProperties": {}})
    def get_settings(self, standing: Standing) -> dict[str, Any]:
        return shown_settings(standing.row)


class MadeStreamSerializer(StreamSerializer):
    """A stream and, of a webhook, the secret that its receiver verifies signatures by: shown this once."""

    secret = serializers.SerializerMethodField(help_text="Empty where nothing is signed.")

    def to_representation(self, made: MadeStream) -> dict[str, Any]:
        return {**StreamSerializer(made.standing).data, "secret": made.secret}

    def get_secret(self, made: MadeStream) -> str:
        return made.secret


class StreamChange(StrictSerializer):
    """What is to be changed of a stream."""

    name = serializers.CharField(max_length=80, required=False)
    url = serializers.CharField(
        max_length=MAX_URL,
        required=False,
        help_text="Of `webhook` and `otlp`: https, or http into networks that the operator allows. An `otlp` address "
        "without a path gets `/v1/logs`.",
    )
    headers = serializers.DictField(
        child=serializers.CharField(max_length=MAX_HEADER, trim_whitespace=False),
        required=False,
        write_only=True,
        help_text="Of `webhook` and `otlp`: name and value. They replace those stored; left out, those stay.",
    )
    host = serializers.CharField(max_length=253, required=False, help_text="Of `syslog`.")
    port = serializers.IntegerField(
        min_value=1, max_value=65_535, required=False, help_text=f"Of `syslog`; {SYSLOG_PORT} by default."
    )
    server_name = serializers.CharField(
        max_length=253,
        required=False,
        allow_blank=True,
        help_text="Of `syslog`: what its certificate is for. Empty: the host.",
    )
    authorities = serializers.CharField(
        max_length=MAX_AUTHORITIES,
        required=False,
        allow_blank=True,
        help_text="Of `syslog`: PEM of the authorities that are believed in place of the system's.",
    )
    sd_id = serializers.CharField(
        max_length=32,
        required=False,
        help_text=f"Of `syslog`: the SD-ID of its structured data. `{EXAMPLE_ID}` has the number kept for examples.",
    )
    ends = serializers.ChoiceField(
        choices=ENDS,
        required=False,
        help_text="Of `syslog`: what shows that a batch was taken. Its `close_notify` by default; `connection` for a "
        "receiver that closes without one, as rsyslog's gtls driver does.",
    )
    filters = serializers.DictField(
        child=serializers.CharField(max_length=200, allow_blank=True),
        required=False,
        help_text="tool, outcome, kind, member, credential_id, text: as for searching. They replace those stored.",
    )


class StreamInput(StreamChange):
    """Another receiver of a team's log."""

    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=STREAM_KINDS)
    begin = serializers.IntegerField(
        min_value=1,
        required=False,
        help_text="The number of the first record that it gets. Left out: whatever comes from now on.",
    )


class SecretRoll(StrictSerializer):
    """For how long the old secret of a webhook signs beside the new one."""

    overlap_hours = serializers.IntegerField(
        min_value=0, max_value=streams.MAX_OVERLAP_HOURS, default=24, help_text="0: not at all."
    )


class DeliverySerializer(serializers.Serializer[Any]):
    """One attempt to hand records over."""

    id = serializers.UUIDField()
    number = serializers.IntegerField(help_text="Counted from 1 in its stream.")
    cause = serializers.ChoiceField(
        choices=StreamDelivery.Cause.values,
        help_text="In its `turn`, `again` because somebody asked for it, or a `test`.",
    )
    at = serializers.DateTimeField(help_text="When it ended.")
    first = serializers.IntegerField(allow_null=True, help_text="It covers the records from this number …")
    last = serializers.IntegerField(allow_null=True, help_text="… to this one.")
    records = serializers.IntegerField(help_text="How many of them the filters let through.")
    size = serializers.IntegerField(help_text="Bytes that were sent.")
    attempt = serializers.IntegerField(help_text="Counted from 1 for the same records.")
    taken = serializers.BooleanField()
    status = serializers.IntegerField(allow_null=True, help_text="HTTP's, where there was an answer.")
    duration_us = serializers.IntegerField()
    message = serializers.CharField(source="words", help_text="Why it was not taken, or not wholly.")


class DeliveryQuery(StrictSerializer):
    """Which deliveries."""

    before = serializers.IntegerField(
        required=False, min_value=1, help_text="Only those with smaller numbers."
    )
    limit = serializers.IntegerField(
        default=streams.LISTED_DELIVERIES, min_value=1, max_value=streams.MAX_LISTED
    )


StreamList = list_of(StreamSerializer, "LogStreamList")
DeliveryList = list_of(DeliverySerializer, "StreamDeliveryList")


class StreamsView(TenantView):
    """The streams of a team's log."""

    @extend_schema(operation_id="list_audit_streams", responses={200: StreamList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the streams, and how far each is."""
        return results(StreamSerializer(streams.list_streams(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_audit_stream",
        request=StreamInput,
        responses={201: MadeStreamSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Hand the log over to another receiver. The answer holds a webhook's secret, which is shown this once."""
        given = self.read_input(StreamInput)
        kind, begin = given.pop("kind"), given.pop("begin", streams.NOW)
        made = streams.create_stream(kind, given, begin=begin, caller=self.caller)
        return shown_once(MadeStreamSerializer(made))


class StreamView(TenantView):
    """One stream of a team's log."""

    @extend_schema(
        operation_id="get_audit_stream", responses={200: StreamSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, stream: str) -> Response:
        """Read a stream: how far it is, and why it is not further."""
        return Response(StreamSerializer(streams.get_stream(uuid_of(stream), caller=self.caller)).data)

    @extend_schema(
        operation_id="update_audit_stream",
        request=StreamChange,
        responses={200: StreamSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, stream: str) -> Response:
        """Change what is given. It goes on where it is."""
        given = self.read_input(StreamChange, partial=True)
        return Response(
            StreamSerializer(streams.change_stream(uuid_of(stream), given, caller=self.caller)).data
        )

    @extend_schema(operation_id="delete_audit_stream", responses={204: None, **problems()}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, stream: str) -> Response:
        """Hand nothing over any more, and forget what was delivered."""
        streams.delete_stream(uuid_of(stream), caller=self.caller)
        return Response(status=204)


class StreamPauseView(TenantView):
    """Pausing a stream."""

    @extend_schema(
        operation_id="pause_audit_stream",
        request=None,
        responses={200: StreamSerializer, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, stream: str) -> Response:
        """Hand nothing over until it is resumed. What comes meanwhile is kept for it."""
        _require_empty(request)
        return Response(StreamSerializer(streams.pause_stream(uuid_of(stream), caller=self.caller)).data)


class StreamResumeView(TenantView):
    """Resuming a stream."""

    @extend_schema(
        operation_id="resume_audit_stream",
        request=None,
        responses={200: StreamSerializer, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, stream: str) -> Response:
        """Go on where it was paused; of one that is retrying, try now."""
        _require_empty(request)
        return Response(StreamSerializer(streams.resume_stream(uuid_of(stream), caller=self.caller)).data)


class StreamRollView(TenantView):
    """The secret of a webhook."""

    @extend_schema(
        operation_id="roll_audit_stream_secret",
        request=SecretRoll,
        responses={201: MadeStreamSerializer, **problems(400, 409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, stream: str) -> Response:
        """Sign with another secret, for a while with both. The answer holds it, this once."""
        given = self.read_input(SecretRoll)
        made = streams.roll_secret(uuid_of(stream), overlap_hours=given["overlap_hours"], caller=self.caller)
        return shown_once(MadeStreamSerializer(made))


class StreamTestView(TenantView):
    """The test of a stream."""

    @extend_schema(
        operation_id="test_audit_stream",
        request=None,
        responses={200: DeliverySerializer, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, stream: str) -> Response:
        """Send a test without a record now, and say what became of it."""
        _require_empty(request)
        return Response(DeliverySerializer(streams.send_test(uuid_of(stream), caller=self.caller)).data)


class DeliveriesView(TenantView):
    """What a stream delivered."""

    @extend_schema(
        operation_id="list_audit_stream_deliveries",
        parameters=[DeliveryQuery],
        responses={200: DeliveryList, **problems(400)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, stream: str) -> Response:
        """List deliveries, newest first; the newest 500 are kept. `next` is the address of the older ones."""
        asked = self.read_query(DeliveryQuery)
        page = streams.list_deliveries(
            uuid_of(stream), before=asked.get("before"), limit=asked["limit"], caller=self.caller
        )
        following = None
        if page.next_before is not None:
            query = urlencode({**request.query_params.dict(), "before": page.next_before})
            following = public_url(f"/api/v1/tenants/{tenant}/audit/streams/{stream}/deliveries?{query}")
        return results(DeliverySerializer(page.deliveries, many=True).data, next_url=following)


class RedeliveryView(TenantView):
    """A delivery that is to be made again."""

    @extend_schema(
        operation_id="redeliver_audit_stream_delivery",
        request=None,
        responses={200: DeliverySerializer, **problems(409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, stream: str, delivery: str) -> Response:
        """Send the same records once more, out of turn, and say what became of it."""
        _require_empty(request)
        made = streams.redeliver(uuid_of(stream), uuid_of(delivery), caller=self.caller)
        return Response(DeliverySerializer(made).data)


def _require_empty(request: Request) -> None:
    if request.data:
        raise InvalidInput("This address takes no body. Send none, or an empty object.")
