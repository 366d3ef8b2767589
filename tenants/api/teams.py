"""REST: teams, their members and their API keys. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.access import Caller, tenants_of_user
from tenants.api.base import ApiView, TenantView, number_of, results, shown_once, uuid_of
from tenants.api.invitations import InvitationSerializer
from tenants.api.problems import problems
from tenants.api.serializers import (
    IssuedKeySerializer,
    KeyChangeInput,
    KeyInput,
    KeyList,
    KeySerializer,
    ListedMemberSerializer,
    MemberChange,
    MemberInput,
    MemberList,
    MemberSerializer,
    OwnershipInput,
    RollInput,
    TenantInput,
    TenantList,
    TenantSerializer,
)
from tenants.arrivals import arrival_of_request
from tenants.models import User
from tenants.services import invitations, keys, members, teams


class TenantsView(ApiView):
    """The caller's own teams."""

    @extend_schema(operation_id="list_tenants", responses={200: TenantList, **problems()}, tags=["tenants"])
    def get(self, request: Request) -> Response:
        """List the teams that you belong to; for an API key, its one team."""
        if isinstance(request.auth, Caller):
            self.caller = request.auth
            rows = [teams.get_tenant(caller=self.caller)]
        elif isinstance(request.user, User):
            arrival = arrival_of_request(request)
            rows = [tenant for tenant, _ in tenants_of_user(request.user.pk, arrival=arrival)]
        else:
            rows = []
        return results(TenantSerializer(rows, many=True).data)


class TenantDetailView(TenantView):
    """One team."""

    @extend_schema(
        operation_id="get_tenant", responses={200: TenantSerializer, **problems()}, tags=["tenants"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Read a team."""
        return Response(TenantSerializer(teams.get_tenant(caller=self.caller)).data)

    @extend_schema(
        operation_id="update_tenant",
        request=TenantInput,
        responses={200: TenantSerializer, **problems(400, 409)},
        tags=["tenants"],
    )
    def patch(self, request: Request, tenant: str) -> Response:
        """Rename a team, whose URLs stay, or require a second factor of its members; what is left out stays."""
        given = self.read_input(TenantInput)
        return Response(TenantSerializer(teams.change_tenant(**given, caller=self.caller)).data)


class MembersView(TenantView):
    """The members of a team."""

    @extend_schema(operation_id="list_members", responses={200: MemberList, **problems()}, tags=["members"])
    def get(self, request: Request, tenant: str) -> Response:
        """List the members."""
        rows = members.list_members(caller=self.caller)
        context = {"lacking": members.find_lacking(rows, caller=self.caller)}
        return results(ListedMemberSerializer(rows, many=True, context=context).data)

    @extend_schema(
        operation_id="add_member",
        request=MemberInput,
        responses={202: InvitationSerializer, **problems(400, 409, 429)},
        tags=["members"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Ask a person to become a member: the answer is their invitation, which they accept in the dashboard."""
        invited = invitations.invite(**self.read_input(MemberInput), caller=self.caller)
        return Response(InvitationSerializer(invited).data, status=202)


class MemberView(TenantView):
    """One member of a team."""

    @extend_schema(
        operation_id="get_member", responses={200: MemberSerializer, **problems()}, tags=["members"]
    )
    def get(self, request: Request, tenant: str, member: str) -> Response:
        """Read a member."""
        return Response(MemberSerializer(members.get_member(number_of(member), caller=self.caller)).data)

    @extend_schema(
        operation_id="change_member",
        request=MemberChange,
        responses={200: MemberSerializer, **problems(400, 409)},
        tags=["members"],
    )
    def patch(self, request: Request, tenant: str, member: str) -> Response:
        """Give a member another role, or their access an end."""
        given = self.read_input(MemberChange)
        changed = members.change_member(number_of(member), **given, caller=self.caller)
        return Response(MemberSerializer(changed).data)

    @extend_schema(operation_id="remove_member", responses={204: None, **problems(409)}, tags=["members"])
    def delete(self, request: Request, tenant: str, member: str) -> Response:
        """End a membership."""
        members.remove_member(number_of(member), caller=self.caller)
        return Response(status=204)


class OwnMembershipView(TenantView):
    """The caller's own membership of a team."""

    @extend_schema(
        operation_id="get_own_membership", responses={200: MemberSerializer, **problems()}, tags=["members"]
    )
    def get(self, request: Request, tenant: str) -> Response:
        """Read your own membership, which every role may."""
        return Response(MemberSerializer(members.get_own_membership(caller=self.caller)).data)

    @extend_schema(operation_id="leave_tenant", responses={204: None, **problems(409)}, tags=["members"])
    def delete(self, request: Request, tenant: str) -> Response:
        """Leave the team."""
        members.leave_tenant(caller=self.caller)
        return Response(status=204)


class OwnershipView(TenantView):
    """Who owns a team."""

    @extend_schema(
        operation_id="transfer_ownership",
        request=OwnershipInput,
        responses={200: MemberSerializer, **problems(400, 409)},
        tags=["members"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Make another member an owner and become an admin yourself, in one step."""
        given = self.read_input(OwnershipInput)
        heir = members.transfer_ownership(given["member"], caller=self.caller)
        return Response(MemberSerializer(heir).data)


class KeysView(TenantView):
    """The API keys of a team."""

    @extend_schema(operation_id="list_keys", responses={200: KeyList, **problems()}, tags=["api-keys"])
    def get(self, request: Request, tenant: str) -> Response:
        """List the keys, expired and revoked ones too; none shows its text."""
        return results(KeySerializer(keys.list_keys(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="issue_key",
        request=KeyInput,
        responses={201: IssuedKeySerializer, **problems(400)},
        tags=["api-keys"],
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Issue a key. Its text is in this answer only."""
        return _issued(keys.issue_key(**self.read_input(KeyInput), caller=self.caller))


class KeyView(TenantView):
    """One API key of a team."""

    @extend_schema(operation_id="get_key", responses={200: KeySerializer, **problems()}, tags=["api-keys"])
    def get(self, request: Request, tenant: str, key: str) -> Response:
        """Read a key, without its text."""
        return Response(KeySerializer(keys.get_key(uuid_of(key), caller=self.caller)).data)

    @extend_schema(
        operation_id="change_key",
        request=KeyChangeInput,
        responses={200: KeySerializer, **problems(400, 409)},
        tags=["api-keys"],
    )
    def patch(self, request: Request, tenant: str, key: str) -> Response:
        """Set where a key may be used from."""
        given = self.read_input(KeyChangeInput)
        return Response(KeySerializer(keys.restrict_key(uuid_of(key), **given, caller=self.caller)).data)

    @extend_schema(operation_id="revoke_key", responses={204: None, **problems()}, tags=["api-keys"])
    def delete(self, request: Request, tenant: str, key: str) -> Response:
        """Revoke a key for good."""
        keys.revoke_key(uuid_of(key), caller=self.caller)
        return Response(status=204)


class KeyRollView(TenantView):
    """The successor of an API key."""

    @extend_schema(
        operation_id="roll_key",
        request=RollInput,
        responses={201: IssuedKeySerializer, **problems(400, 409)},
        tags=["api-keys"],
    )
    def post(self, request: Request, tenant: str, key: str) -> Response:
        """Issue a key of the same settings in place of this one. Its text is in this answer only."""
        return _issued(keys.roll_key(uuid_of(key), **self.read_input(RollInput), caller=self.caller))


def _issued(issued: keys.IssuedKey) -> Response:
    return shown_once(IssuedKeySerializer(issued.row, context={"key": issued.key}))
