"""REST: a team's secrets. Parses, calls one service, answers; no answer holds a value."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from servers.models import Secret
from servers.services import named_secrets
from tenants.api.base import StrictSerializer, TenantView, list_of, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["secrets"]
SECRET_STATES = tuple((state, state) for state in Secret.State.values)


class SecretPlaceSerializer(serializers.Serializer[Any]):
    """Where Vault has it, below the team's folder."""

    path = serializers.CharField(required=False)
    key = serializers.CharField(required=False)


class SecretUseSerializer(serializers.Serializer[Any]):
    """A setting of a data source that has the secret for its value."""

    data_source = serializers.CharField(source="source.name")
    data_source_id = serializers.UUIDField(source="source.id")
    setting = serializers.CharField()


class SecretSerializer(serializers.Serializer[Any]):
    """A secret, without its value."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    origin = serializers.ChoiceField(choices=Secret.Origin.values)
    place = SecretPlaceSerializer()
    state = serializers.ChoiceField(
        choices=SECRET_STATES,
        help_text="stale: a copy is in use, for its place could not be asked. unavailable: there is no value.",
    )
    reason = serializers.CharField(help_text="Why it could not be read; empty when ready.")
    version = serializers.IntegerField(help_text="Grows with each other value.")
    read_at = serializers.DateTimeField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    uses = SecretUseSerializer(many=True)


SecretList = list_of(SecretSerializer, "SecretList")


def _value() -> serializers.CharField:
    return serializers.CharField(
        required=False,
        write_only=True,
        trim_whitespace=False,
        help_text="For the origin stored alone. Never shown again.",
    )


class SecretInput(StrictSerializer):
    """A secret to name."""

    name = serializers.CharField(max_length=64)
    origin = serializers.ChoiceField(choices=Secret.Origin.values, required=False)
    value = _value()
    path = serializers.CharField(required=False, max_length=300, help_text="In Vault. Not given: its name.")
    key = serializers.CharField(required=False, max_length=128, help_text="In Vault. Not given: value.")


class SecretChange(StrictSerializer):
    """Another value, or another place: what a secret is, is replaced whole."""

    origin = serializers.ChoiceField(choices=Secret.Origin.values, required=False)
    value = _value()
    path = serializers.CharField(required=False, max_length=300)
    key = serializers.CharField(required=False, max_length=128)


class SecretsView(TenantView):
    """The secrets of a team."""

    @extend_schema(operation_id="list_secrets", responses={200: SecretList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the secrets with where each is used. No value is ever shown."""
        return results(SecretSerializer(named_secrets.list_secrets(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_secret",
        request=SecretInput,
        responses={201: SecretSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Name a secret: give its value, or say where Marina reads it."""
        made = named_secrets.create_secret(**self.read_input(SecretInput), caller=self.caller)
        return Response(SecretSerializer(made).data, status=201)


class SecretView(TenantView):
    """One secret."""

    @extend_schema(operation_id="get_secret", responses={200: SecretSerializer, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str, secret: str) -> Response:
        """Read what is known of a secret, without its value."""
        return Response(SecretSerializer(named_secrets.get_secret(uuid_of(secret), caller=self.caller)).data)

    @extend_schema(
        operation_id="replace_secret",
        request=SecretChange,
        responses={200: SecretSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, secret: str) -> Response:
        """Replace a secret's value or place. The data sources that name it are opened anew everywhere."""
        given = self.read_input(SecretChange)
        changed = named_secrets.replace_secret(uuid_of(secret), **given, caller=self.caller)
        return Response(SecretSerializer(changed).data)

    @extend_schema(operation_id="delete_secret", responses={204: None, **problems(409)}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, secret: str) -> Response:
        """Delete a secret that no data source names."""
        named_secrets.delete_secret(uuid_of(secret), caller=self.caller)
        return Response(status=204)


class SecretReadView(TenantView):
    """Reads a secret at its place."""

    @extend_schema(
        operation_id="read_secret_again",
        request=None,
        responses={200: SecretSerializer, **problems(409)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, secret: str) -> Response:
        """Read the secret where it lies now, and not when its turn comes. The answer holds no value."""
        return Response(SecretSerializer(named_secrets.read_again(uuid_of(secret), caller=self.caller)).data)
