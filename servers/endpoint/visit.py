"""Who calls which server: the part of a request that is the same for every transport. Every refusal is recorded.

A fault of form (an ``RpcError``) is recorded here, once it is known who made it. What the services refuse (a
``MarinaError``) they recorded where they decided it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from core.clientaddress import address_of_scope, is_within
from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, Unauthenticated, Unavailable
from servers.endpoint.authentication import identify
from servers.endpoint.errors import translate
from servers.endpoint.handlers.answers import client_of
from servers.endpoint.incoming import Parts
from servers.endpoint.load import Cells
from servers.endpoint.noting import note_call, note_misplaced, note_missing_scopes, note_refusal
from servers.endpoint.wire import RpcError, code_name
from servers.services.limits import admit_anonymous, anonymous_caller
from servers.services.reasons import log_unavailable
from servers.services.refusals import KIND_AUTH, KIND_REQUEST
from servers.services.surfaces import Surface
from servers.services.visibility import may_use_server, require_server
from tenants.access import Caller, require_address
from tenants.audit.records import KIND_CALL
from tenants.oauth_addresses import DEFAULT_SERVER, metadata_url
from tenants.roles import Action

PUBLIC_SCOPES: Final = frozenset({"tools:read", "tools:execute", "resources:read", "prompts:read"})
"""What anyone may do on a server that its team made public."""

_OF_CLIENTS: Final = (Action.TOOLS_READ, Action.TOOLS_CALL, Action.RESOURCES_READ, Action.PROMPTS_READ)

_BEARER: Final = b"Bearer "
_METHOD_CHARACTERS: Final = 80


class Visit:
    """One connection or request at one server's URL, and whoever makes it."""

    __slots__ = (
        "admitted",
        "caller",
        "counted",
        "headers",
        "parts",
        "request_id",
        "scope",
        "server_slug",
        "surface",
        "tenant_slug",
    )

    caller: Caller
    surface: Surface

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.scope: Mapping[str, Any] = {}
        self.headers: dict[bytes, bytes] = {}
        self.request_id = ""
        self.tenant_slug = ""
        self.server_slug = ""
        self.admitted = False
        """Whether ``caller`` and ``surface`` are known."""
        self.counted: Cells | None = None
        """Where it counts as under way, while it does."""

    def admit_held(self) -> bool:
        """``admit`` where all that it has to know is held in memory: nearly always, and it waits for nothing.

        False: nothing was decided, and ``admit`` looks with care.
        """
        authorization = self.headers.get(b"authorization")
        if authorization is None or not authorization.startswith(_BEARER):
            return False
        runtime = self.parts.runtime
        caller = runtime.grants.held(hashlib.sha256(authorization[7:]).digest(), self.tenant_slug)
        if caller is None or not may_use_server(caller, self.server_slug):
            return False
        surface = runtime.surfaces.peek(caller.tenant_id, self.server_slug)
        if surface is None:
            return False
        if caller.networks is not None and not is_within(self.address(), caller.networks):
            return False
        self.caller = caller
        self.surface = surface
        self.admitted = True
        return True

    def address(self) -> str:
        """Where it comes from, past the operator's proxies."""
        return address_of_scope(self.scope, settings.ENV.trusted_proxies)

    async def admit(self, *, again: bool = False) -> None:
        """Find out who calls, and the server they call. Raises ``MarinaError``, recorded.

        ``again``: what stands open is looked at anew, which is no further request of whoever has no key. It ends
        where its credential may do less of what clients do than when it was opened.
        """
        before = self.caller if again else None
        if not self.admit_held():
            await self._admit_with_care(again=again)
        if before is not None and any(before.may(each) and not self.caller.may(each) for each in _OF_CLIENTS):
            refusal = Forbidden(
                "What this credential may do has become less since this was begun. Begin it anew.",
                rule="rights:changed",
                code="rights_changed",
            )
            try:
                await self._record(self.caller, refusal)
            except Unavailable:
                # Found again by the next look.
                self.caller = before
                raise
            raise refusal

    async def look_again(self) -> None:
        """``admit`` again: for what stands open."""
        await self.admit(again=True)

    async def _admit_with_care(self, *, again: bool) -> None:
        runtime = self.parts.runtime
        address = self.address()
        caller = await self._identify(self.headers.get(b"authorization"), address, counted=not again)
        try:
            require_address(caller, address)
            # A grant is held for seconds, so a key in use passes here often enough.
            runtime.uses.note(caller, address)
            require_server(caller, self.server_slug)
            surface = runtime.surfaces.peek(caller.tenant_id, self.server_slug)
            if surface is None:
                surface = await self._find_surface(caller)
        except (Forbidden, NotFound) as refusal:
            await self._record(caller, refusal)
            raise
        self.caller = caller
        self.surface = surface
        self.admitted = True

    async def _record(self, caller: Caller, refusal: MarinaError) -> None:
        """Record that the caller was turned away at the door."""
        await self.parts.runtime.refusals.refused_caller(
            caller,
            refusal,
            kind=KIND_AUTH,
            server=self.server_slug,
            client=client_of(self.headers),
            request_id=self.request_id,
            bounded=True,
        )

    def enter(self) -> None:
        """Count it as under way, once it is admitted. Raises ``RpcError`` (429). ``leave`` must follow."""
        self.counted = self.parts.hub.requests.take(self.caller)

    def leave(self) -> None:
        """It is answered."""
        counted = self.counted
        if counted is not None:
            self.counted = None
            self.parts.hub.requests.give(counted)

    async def recorded(self, error: RpcError | MarinaError, message: object) -> RpcError:
        """What is to be told: the error once the log has it, or that the log cannot be written."""
        if isinstance(error, MarinaError):
            if isinstance(error, Forbidden) and self.admitted:
                note_missing_scopes(self, error)
            return translate(error, self._metadata())
        if error.recorded:
            return error
        if not self.admitted:
            # Nobody knows whose it is: a wrong path, a foreign Host, a wrong content type.
            await note_misplaced(self)
            return error
        asked: Mapping[str, Any] = message if isinstance(message, dict) else {}
        method, params = asked.get("method"), asked.get("params")
        wanted: Mapping[str, Any] = params if isinstance(params, dict) else {}
        is_call = method == KIND_CALL
        try:
            await self.parts.runtime.refusals.refused_caller(
                self.caller,
                _reason(error),
                kind=KIND_CALL if is_call else KIND_REQUEST,
                server=self.surface.slug,
                client=client_of(self.headers, wanted),
                request_id=self.request_id,
                tool=wanted.get("name") if is_call else "",
                arguments=wanted.get("arguments") if is_call else _shown(method),
                bounded=not is_call,
            )
        except Unavailable as unavailable:
            return translate(unavailable)
        return error

    def _metadata(self) -> str:
        """Where the server says who issues tokens for it, whether or not there is one; empty: at no server's URL."""
        if not self.tenant_slug:
            return ""
        return metadata_url(
            self.tenant_slug, None if self.server_slug == DEFAULT_SERVER else self.server_slug
        )

    async def _identify(self, authorization: bytes | None, address: str, *, counted: bool) -> Caller:
        if authorization is None:
            anonymous = await self._anonymous(address, counted=counted)
            if anonymous is not None:
                return anonymous
        try:
            caller = await identify(
                self.parts.runtime,
                self.tenant_slug,
                authorization,
                address=address,
                server=self.server_slug,
                client=client_of(self.headers),
                request_id=self.request_id,
            )
        except Unauthenticated as refusal:
            await note_refusal(self, authorization, refusal)
            raise
        note_call(self, authorization, caller)
        return caller

    async def _anonymous(self, address: str, *, counted: bool) -> Caller | None:
        """Anyone, on a server that its team made public; elsewhere ``None``. Raises ``RateLimited``, recorded."""
        runtime = self.parts.runtime
        if not runtime.writer.accepting:
            raise log_unavailable()
        tenant_id = await runtime.tenants.get(self.tenant_slug)
        if tenant_id is None or not await runtime.surfaces.is_public(tenant_id, self.server_slug):
            return None
        caller = anonymous_caller(tenant_id, self.tenant_slug, self.server_slug, address, PUBLIC_SCOPES)
        if counted:
            await admit_anonymous(
                runtime,
                self.server_slug,
                address,
                caller=caller,
                client=client_of(self.headers),
                request_id=self.request_id,
            )
        # The snapshot comes after the token. It has the last word: it may know of a change that was not heard.
        surface = await runtime.surfaces.get(tenant_id, self.server_slug)
        return caller if surface is not None and surface.public else None

    async def _find_surface(self, caller: Caller) -> Surface:
        runtime = self.parts.runtime
        if not runtime.writer.accepting:
            # The database that has no log for us has no snapshot either: do not wait for it to say so.
            raise log_unavailable()
        surface = await runtime.surfaces.get(caller.tenant_id, self.server_slug)
        if surface is None:
            raise NotFound(
                "This team has no server at this URL. The dashboard lists the servers with their URLs; the "
                "team's URL without a server's name is the default one.",
                code="server_not_found",
            )
        return surface


def _reason(error: RpcError) -> MarinaError:
    """A fault of form in the words of the log."""
    rule = (error.data or {}).get("rule")
    if rule is not None:
        return Forbidden(error.message, rule=str(rule), code=code_name(error))
    return InvalidInput(error.message, code=code_name(error))


def _shown(method: object) -> Mapping[str, Any] | None:
    return {"method": method[:_METHOD_CHARACTERS]} if isinstance(method, str) else None
