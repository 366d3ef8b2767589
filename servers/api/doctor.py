"""REST: the OAuth doctor. Parses, calls one service, answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.services.oauth_selftest import TITLES, run_self_test
from tenants.api.base import TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.oauth_steps import Kind
from tenants.services.oauth_diagnosis import STATES
from tenants.services.oauth_doctor import find_timeline, list_timelines
from tenants.services.oauth_faults import FAULTS


class FindingSerializer(serializers.Serializer[Any]):
    """What is wrong at a step, and what to do about it."""

    code = serializers.ChoiceField(choices=sorted(FAULTS))
    step_id = serializers.UUIDField()
    title = serializers.CharField()
    wrong = serializers.CharField()
    developer = serializers.CharField(help_text="What the client's developer does next.")
    admin = serializers.CharField(help_text="What the team's admin does next.")
    overcome = serializers.BooleanField(help_text="A later step went well all the same.")


class TimelineStepSerializer(serializers.Serializer[Any]):
    """One step of a client on its way in, without any secret."""

    id = serializers.UUIDField(source="step.id")
    kind = serializers.ChoiceField(source="step.kind", choices=[kind.value for kind in Kind])
    at = serializers.DateTimeField()
    standing = serializers.ChoiceField(choices=["ok", "as expected", "refused", "at fault"])
    asked = serializers.DictField(source="step.asked", child=serializers.CharField())
    status = serializers.IntegerField(source="step.status")
    error = serializers.CharField(source="step.code", help_text="Empty: none.")
    answered = serializers.CharField(source="step.told")
    address = serializers.CharField(source="step.address")
    agent = serializers.CharField(source="step.agent")
    client_id = serializers.CharField(source="step.client_id")
    times = serializers.IntegerField(help_text="How often it came within a minute.")


class TimelineSummarySerializer(serializers.Serializer[Any]):
    """A client's attempt to connect."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    client_id = serializers.CharField(source="attempt.client_id")
    member = serializers.CharField(source="attempt.member", help_text="Empty: none is known.")
    address = serializers.CharField(source="attempt.address")
    connection_state = serializers.ChoiceField(source="state", choices=list(STATES))
    fault = serializers.CharField(help_text="The code of what is in the way; empty: nothing.")
    began_at = serializers.DateTimeField()
    last_step_at = serializers.DateTimeField(source="ended_at")


class TimelineSerializer(TimelineSummarySerializer):
    """A client's attempt to connect, step by step."""

    steps = TimelineStepSerializer(many=True)
    findings = FindingSerializer(source="diagnosis.findings", many=True)


class SelfTestCheckSerializer(serializers.Serializer[Any]):
    """One step of the self-test."""

    key = serializers.ChoiceField(choices=list(TITLES))
    title = serializers.CharField()
    passed = serializers.BooleanField(allow_null=True, help_text="`null`: it could not be tried.")
    asked = serializers.CharField()
    answered = serializers.CharField()
    problem = serializers.CharField()
    next_step = serializers.CharField()


class SelfTestSerializer(serializers.Serializer[Any]):
    """What a client meets at the installation's public address."""

    passed = serializers.BooleanField()
    base_url = serializers.CharField()
    checks = SelfTestCheckSerializer(many=True)


TimelineList = list_of(TimelineSummarySerializer, "TimelineList")


class TimelinesView(TenantView):
    """Clients that tried to connect."""

    @extend_schema(
        operation_id="list_oauth_timelines", responses={200: TimelineList, **problems()}, tags=["oauth"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the clients that tried to connect in the last day, newest first, and what stood in their way."""
        return results(TimelineSummarySerializer(list_timelines(caller=self.caller), many=True).data)


class TimelineView(TenantView):
    """One client that tried to connect."""

    @extend_schema(
        operation_id="get_oauth_timeline", responses={200: TimelineSerializer, **problems()}, tags=["oauth"]
    )
    def get(self, request: Request, tenant: str, timeline: str) -> Response:
        """Say step by step what a client asked, what it was answered, and what is wrong."""
        return Response(TimelineSerializer(find_timeline(uuid_of(timeline), caller=self.caller)).data)


class SelfTestView(TenantView):
    """The self-test of OAuth."""

    @extend_schema(
        operation_id="run_oauth_self_test",
        request=None,
        responses={200: SelfTestSerializer, **problems()},
        tags=["oauth"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Connect to this team as a client would, by the public address, and say what came of each step."""
        return Response(SelfTestSerializer(run_self_test(caller=self.caller)).data)
