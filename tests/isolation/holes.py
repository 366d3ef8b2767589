"""The web application with a hole in it, opened by ``/holes/NAME``: what the isolation check has to find. For its test.

Row-level security stands beneath most of the code, so that few holes of Python alone would show: these are the ways in
which one could still tell, or show, what belongs to somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from config.asgi import application as whole
from config.isolation.teams import slugs_of
from servers.endpoint import sessions
from servers.services import grants
from servers.services.runtime import get_runtime
from tenants import access
from tenants.models import IdentityProvider, Tenant
from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.oauth_flow import Answered, issue_tokens, revoke_token
from tenants.services.sso_providers import find_open_providers
from tenants.tokens import ACCESS_PREFIX, caller_for_token

PAIR = "isolation-holed"
"""Teams of their own: what gets across a hole stays in their logs."""

_ASKING, _OTHER = slugs_of(PAIR)

Hole = Callable[[], Any]
"""Makes a patch that is not started yet."""


def _other() -> Tenant:
    return Tenant.objects.get(slug=_OTHER)


def _key_opens_every_team() -> Any:
    def caller_for_credential(token: str, *, tenant_slug: str | None = None) -> access.Caller:
        return access.caller_for_key(token)

    return patch.object(grants, "caller_for_credential", caller_for_credential)


class _Both:
    """Two patches as one: where two walls stand, a hole goes through both."""

    def __init__(self, *patches: Any) -> None:
        self._patches = patches

    def start(self) -> None:
        for each in self._patches:
            each.start()

    def stop(self) -> None:
        for each in self._patches:
            each.stop()


def _key_opens_every_team_in_rest() -> Any:
    from tenants.api import authentication, base

    resolve_caller = base.resolve_caller

    def any_team(request: Any, tenant_slug: str) -> access.Caller:
        return (
            request.auth if isinstance(request.auth, access.Caller) else resolve_caller(request, tenant_slug)
        )

    return _Both(
        patch.object(authentication, "_tenant_of", lambda request: None),
        patch.object(base, "resolve_caller", any_team),
    )


def _everybody_is_a_member() -> Any:
    from frontend import access as pages

    def caller_for_user(user_id: int, email: str, tenant_slug: str, *, arrival: Any) -> access.Caller:
        tenant = Tenant.objects.filter(slug=tenant_slug).first()
        if tenant is None:
            return access.caller_for_user(user_id, email, tenant_slug, arrival=arrival)
        return access.Caller(tenant.pk, tenant.slug, f"user:{email}", user_id=user_id, role=Role.OWNER)

    return patch.object(pages, "caller_for_user", caller_for_user)


def _menu_names_every_team() -> Any:
    from frontend import pages

    def tenants_of_user(user_id: int, *, arrival: Any) -> list[tuple[Tenant, Role]]:
        # Named by what stands in the row: its name.
        return [(tenant, Role.VIEWER) for tenant in Tenant.objects.all()]

    return patch.object(pages, "tenants_of_user", tenants_of_user)


def _surface_is_of_another_team() -> Any:
    from servers.services import surface_cache, surfaces

    load = surfaces.load_surface

    def load_surface(tenant_id: int, *args: Any) -> Any:
        return load(_other().pk, *args)

    return patch.object(surface_cache, "load_surface", load_surface)


def _sessions_are_anybodys() -> Any:
    return patch.object(sessions, "_belongs", lambda session, caller, server: True)


def _log_is_of_another_team() -> Any:
    from tenants.services import log

    return patch.object(log, "tenant_scope", lambda tenant_id: tenant_scope(_other().pk))


def _keys_are_of_another_team() -> Any:
    from tenants.services import keys

    return patch.object(keys, "tenant_scope", lambda tenant_id: tenant_scope(_other().pk))


def _sources_are_of_another_team() -> Any:
    from servers.services import sources

    return patch.object(sources, "tenant_scope", lambda tenant_id: tenant_scope(_other().pk))


def _team_that_exists_is_refused_otherwise() -> Any:
    from core.errors import Forbidden

    def caller_for_user(user_id: int, email: str, tenant_slug: str, *, arrival: Any) -> access.Caller:
        try:
            return access.caller_for_user(user_id, email, tenant_slug, arrival=arrival)
        except Exception:
            if Tenant.objects.filter(slug=tenant_slug).exists():
                raise Forbidden("You are no member of this team.", rule="membership") from None
            raise

    from frontend import access as pages

    return patch.object(pages, "caller_for_user", caller_for_user)


def _refresh_tokens_are_good_everywhere() -> Any:
    from frontend.oauth import tokens

    def at_the_other(
        parameters: Mapping[str, str], *, authorization: str | None, tenant_id: int, tenant_slug: str
    ) -> Answered:
        if parameters.get("grant_type") == "refresh_token":
            other = _other()
            parameters = {**parameters, "resource": resource(other.slug)}
            tenant_id, tenant_slug = other.pk, other.slug
        return issue_tokens(
            parameters, authorization=authorization, tenant_id=tenant_id, tenant_slug=tenant_slug
        )

    return patch.object(tokens, "issue_tokens", at_the_other)


def _revocations_reach_every_team() -> Any:
    from frontend.oauth import tokens

    def at_both(parameters: Mapping[str, str], **asked: Any) -> Answered:
        # The answer is the same, as always: what it did shows later.
        revoke_token(parameters, **{**asked, "tenant_id": _other().pk})
        return revoke_token(parameters, **asked)

    return patch.object(tokens, "revoke_token", at_both)


def _tokens_open_every_team() -> Any:
    def caller_for_credential(token: str, *, tenant_slug: str) -> access.Caller:
        if token.startswith(ACCESS_PREFIX):
            return caller_for_token(token, tenant_slug=_ASKING)
        return access.caller_for_key(token, tenant_slug=tenant_slug)

    return patch.object(grants, "caller_for_credential", caller_for_credential)


def _providers_are_of_every_team() -> Any:
    from frontend.views import team_sign_in

    def with_the_others(slug: str) -> tuple[Tenant | None, list[IdentityProvider]]:
        tenant, own = find_open_providers(slug)
        _, others = find_open_providers(_OTHER)
        return tenant, [*own, *others]

    return patch.object(team_sign_in, "find_open_providers", with_the_others)


HOLES: dict[str, Hole] = {
    hole.__name__.strip("_"): hole
    for hole in (
        _key_opens_every_team,
        _key_opens_every_team_in_rest,
        _everybody_is_a_member,
        _menu_names_every_team,
        _surface_is_of_another_team,
        _sessions_are_anybodys,
        _log_is_of_another_team,
        _keys_are_of_another_team,
        _sources_are_of_another_team,
        _team_that_exists_is_refused_otherwise,
        _refresh_tokens_are_good_everywhere,
        _revocations_reach_every_team,
        _tokens_open_every_team,
        _providers_are_of_every_team,
    )
}


class Holed:
    """Marina's application, and the way to open one hole after another."""

    def __init__(self) -> None:
        self._open: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/holes/"):
            await whole(scope, receive, send)
            return
        if self._open is not None:
            self._open.stop()
        name = scope["path"].removeprefix("/holes/")
        self._open = HOLES[name]() if name else None
        if self._open is not None:
            self._open.start()
        # What was looked up while the wall was whole is forgotten.
        get_runtime().surfaces.drop_all()
        get_runtime().grants.drop_all()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


application = Holed()
