"""REST: a team's invitations. Parses, calls one service, answers. They are accepted in the dashboard, by a person."""

from __future__ import annotations

from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import TenantView, list_of, results, uuid_of
from tenants.api.problems import problems
from tenants.api.serializers import ROLES, MemberInput
from tenants.models import Invitation
from tenants.services import invitations
from tenants.services.invitations import DEFAULT_DAYS, MAX_DAYS

INVITATION_STATUSES: Final = ["open", "accepted", "withdrawn", "expired"]


class InvitationSerializer(serializers.Serializer[Any]):
    """An invitation. Its link is in the letter only."""

    id = serializers.UUIDField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=ROLES)
    status = serializers.SerializerMethodField()
    invited_by = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(
        allow_null=True, help_text="When the newest letter left; null: the mail server did not take it."
    )
    expires_at = serializers.DateTimeField()
    access_ends_at = serializers.DateTimeField(allow_null=True, help_text="The membership's end.")
    accepted_at = serializers.DateTimeField(allow_null=True)
    withdrawn_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(serializers.ChoiceField(choices=INVITATION_STATUSES))
    def get_status(self, invitation: Invitation) -> str:
        return invitation.state(timezone.now())

    @extend_schema_field(serializers.EmailField(allow_null=True))
    def get_invited_by(self, invitation: Invitation) -> str | None:
        return None if invitation.invited_by is None else invitation.invited_by.email


class InvitationInput(MemberInput):
    """Whom to invite, and to what."""

    expires_in_days = serializers.IntegerField(default=DEFAULT_DAYS, help_text=f"1 to {MAX_DAYS}.")


InvitationList = list_of(InvitationSerializer, "InvitationList")


class InvitationsView(TenantView):
    """The invitations of a team."""

    @extend_schema(
        operation_id="list_invitations", responses={200: InvitationList, **problems()}, tags=["members"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """List the newest 500 invitations, whatever became of them."""
        return results(InvitationSerializer(invitations.list_invitations(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="invite",
        request=InvitationInput,
        responses={201: InvitationSerializer, **problems(400, 409, 429)},
        tags=["members"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Offer a role by mail to whoever has the address."""
        invited = invitations.invite(**self.read_input(InvitationInput), caller=self.caller)
        return Response(InvitationSerializer(invited).data, status=201)


class InvitationView(TenantView):
    """One invitation of a team."""

    @extend_schema(
        operation_id="get_invitation", responses={200: InvitationSerializer, **problems()}, tags=["members"]
    )
    def get(self, request: Request, tenant: str, invitation: str) -> Response:
        """Read an invitation."""
        row = invitations.get_invitation(uuid_of(invitation), caller=self.caller)
        return Response(InvitationSerializer(row).data)

    @extend_schema(
        operation_id="withdraw_invitation", responses={204: None, **problems(409)}, tags=["members"]
    )
    def delete(self, request: Request, tenant: str, invitation: str) -> Response:
        """Withdraw an invitation that nobody has accepted."""
        invitations.withdraw_invitation(uuid_of(invitation), caller=self.caller)
        return Response(status=204)


class ResendView(TenantView):
    """The letter of an invitation."""

    @extend_schema(
        operation_id="resend_invitation",
        request=None,
        responses={200: InvitationSerializer, **problems(409, 429)},
        tags=["members"],
    )
    def post(self, request: Request, tenant: str, invitation: str) -> Response:
        """Mail the invitation again, with a new link and seven more days; the old link ends."""
        row = invitations.resend_invitation(uuid_of(invitation), caller=self.caller)
        return Response(InvitationSerializer(row).data)
