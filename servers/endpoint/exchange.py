"""One HTTP request: who calls which server, and the answer to what its body holds. Every refusal is recorded.

A fault of form (an ``RpcError``) is recorded here, once it is known who made it. What the services refuse (a
``MarinaError``) they recorded where they decided it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, Unavailable
from core.strictjson import BadJson, read_json
from servers.endpoint.authentication import identify
from servers.endpoint.eras import (
    BATCH_VERSION,
    check_batched,
    check_envelope,
    check_modern_notification,
    check_modern_request,
    header_version,
    legacy_version,
)
from servers.endpoint.errors import translate
from servers.endpoint.methods import METHODS, Incoming, client_of, run_method
from servers.endpoint.view import Views
from servers.endpoint.wire import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Id,
    Reply,
    RpcError,
    code_name,
    error_bytes,
    internal_error,
    result_bytes,
)
from servers.services.calls import CALL_SECONDS, KIND_CALL
from servers.services.reasons import log_unavailable
from servers.services.refusals import KIND_AUTH, KIND_REQUEST
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from servers.services.visibility import require_server
from tenants.access import Caller

MAX_BATCH: Final = 50
"""Messages in one batch."""

BATCH_SECONDS: Final = 30.0
"""The deadline of a whole batch: as long as one call may take."""

PUBLIC_SCOPES: Final = ("tools:read", "tools:execute")
"""What anyone may do on a server that its team made public."""

_BEARER: Final = b"Bearer "
_METHOD_CHARACTERS: Final = 80
_ACCEPTED: Final = Reply(202, b"")

logger = logging.getLogger(__name__)


class Exchange:
    """One HTTP request and its answer."""

    __slots__ = (
        "_away",
        "_runtime",
        "_views",
        "admitted",
        "caller",
        "headers",
        "request_id",
        "server_slug",
        "surface",
        "tenant_slug",
    )

    caller: Caller
    surface: Surface

    def __init__(self, runtime: Runtime, views: Views) -> None:
        self._runtime = runtime
        self._views = views
        self._away: Unavailable | None = None
        self.headers: dict[bytes, bytes] = {}
        self.request_id = ""
        self.tenant_slug = ""
        self.server_slug = ""
        self.admitted = False
        """Whether ``caller`` and ``surface`` are known."""

    async def admit(self) -> None:
        """Find out who calls, and the server they call. Raises ``MarinaError``, recorded."""
        runtime = self._runtime
        authorization = self.headers.get(b"authorization")
        caller = None
        if authorization is not None and authorization.startswith(_BEARER):
            # The hot path: a grant that is held. Everything else is read and judged with care below.
            caller = runtime.grants.held(hashlib.sha256(authorization[7:]).digest(), self.tenant_slug)
        if caller is None:
            caller = await self._identify(authorization)
            # A grant is held for seconds, so a key in use passes here often enough.
            runtime.uses.note(caller)
        try:
            require_server(caller, self.server_slug)
            surface = runtime.surfaces.peek(caller.tenant_id, self.server_slug)
            if surface is None:
                surface = await self._find_surface(caller)
        except (Forbidden, NotFound) as refusal:
            await runtime.refusals.refused_caller(
                caller,
                refusal,
                kind=KIND_AUTH,
                server=self.server_slug,
                client=client_of(self.headers),
                request_id=self.request_id,
                bounded=True,
            )
            raise
        self.caller = caller
        self.surface = surface
        self.admitted = True

    async def answer(self, body: bytes) -> Reply:
        """The answer to a body: one message, or a batch where the protocol has them."""
        message: object = None
        try:
            try:
                message = read_json(body)
            except BadJson as fault:
                raise RpcError(PARSE_ERROR, f"The body is not valid JSON: {fault}.", status=400) from None
            if isinstance(message, list):
                return await self._answer_batch(message)
            return await self._answer_one(check_envelope(message))
        except RpcError as error:
            return await self.refuse(error, message)

    async def refuse(
        self,
        error: RpcError | MarinaError,
        message: object = None,
        *,
        rpc_id: Id = None,
        modern: bool = False,
    ) -> Reply:
        """An error as the whole answer, once the log has it."""
        told = await self._recorded(error, message)
        status = told.http_status(modern=modern, answers=rpc_id is not None)
        return Reply(status, error_bytes(rpc_id, told), told.headers)

    async def _recorded(self, error: RpcError | MarinaError, message: object) -> RpcError:
        """What is to be told: the error, or that the log cannot be written."""
        if isinstance(error, MarinaError):
            return translate(error)
        if not self.admitted:
            # Nobody knows whose it is: a wrong path, a foreign Host, a wrong content type.
            return error
        asked: Mapping[str, Any] = message if isinstance(message, dict) else {}
        method, params = asked.get("method"), asked.get("params")
        wanted: Mapping[str, Any] = params if isinstance(params, dict) else {}
        is_call = method == KIND_CALL
        try:
            await self._runtime.refusals.refused_caller(
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

    async def _identify(self, authorization: bytes | None) -> Caller:
        if authorization is None:
            anonymous = await self._anonymous()
            if anonymous is not None:
                return anonymous
        return await identify(
            self._runtime,
            self.tenant_slug,
            authorization,
            server=self.server_slug,
            client=client_of(self.headers),
            request_id=self.request_id,
        )

    async def _anonymous(self) -> Caller | None:
        """Anyone, on a server that its team made public; elsewhere ``None``."""
        if not self._runtime.writer.accepting:
            raise log_unavailable()
        tenant_id = await self._runtime.tenants.get(self.tenant_slug)
        surface = None if tenant_id is None else await self._runtime.surfaces.get(tenant_id, self.server_slug)
        if surface is None or not surface.public:
            return None
        return Caller(
            tenant_id=surface.tenant_id,
            tenant_slug=surface.tenant_slug,
            actor="anonymous",
            scopes=frozenset((*PUBLIC_SCOPES, f"server:{surface.slug}")),
        )

    async def _find_surface(self, caller: Caller) -> Surface:
        if not self._runtime.writer.accepting:
            # The database that has no log for us has no snapshot either: do not wait for it to say so.
            raise log_unavailable()
        surface = await self._runtime.surfaces.get(caller.tenant_id, self.server_slug)
        if surface is None:
            raise NotFound(
                "This team has no server at this URL. The dashboard lists the servers with their URLs; the "
                "team's URL without a server's name is the default one.",
                code="server_not_found",
            )
        return surface

    async def _answer_one(self, message: dict[str, Any]) -> Reply:
        version = legacy_version(self.headers, message)
        modern = version is None
        rpc_id: Id = message.get("id")
        if "method" not in message or "id" not in message:
            if modern:
                if "method" not in message:
                    raise RpcError(
                        INVALID_REQUEST,
                        "A client sends no responses in protocol version 2026-07-28.",
                        status=400,
                    )
                check_modern_notification(self.headers)
            # Nothing here waits for a response or acts on a notification yet: heard, and dropped.
            return _ACCEPTED
        try:
            if version is None:
                version = check_modern_request(self.headers, message)
            result = await run_method(self._incoming(message, version, modern=modern, seconds=CALL_SECONDS))
            return Reply(200, result_bytes(rpc_id, result))
        except (RpcError, MarinaError) as error:
            return await self.refuse(error, message, rpc_id=rpc_id, modern=modern)
        except Exception:
            logger.exception("method failed", extra=self._fault_fields(message))
            fault = internal_error(self.request_id)
            return Reply(fault.http_status(modern=modern, answers=True), error_bytes(rpc_id, fault))

    async def _answer_batch(self, messages: list[Any]) -> Reply:
        version = header_version(self.headers)
        if version != BATCH_VERSION:
            raise RpcError(
                INVALID_REQUEST,
                f"A batch is allowed in protocol version {BATCH_VERSION} only. Send each message in a request "
                "of its own.",
                data={"code": "batch_not_allowed"},
                status=400,
            )
        if not 1 <= len(messages) <= MAX_BATCH:
            raise RpcError(
                INVALID_REQUEST,
                f"A batch holds 1 to {MAX_BATCH} messages, this one {len(messages)}. Send several.",
                data={"code": "batch_size"},
                status=400,
            )
        ends = asyncio.get_running_loop().time() + BATCH_SECONDS
        answers = [
            answer for message in messages if (answer := await self._answer_in_batch(message, version, ends))
        ]
        return Reply(200, b"[" + b",".join(answers) + b"]") if answers else _ACCEPTED

    async def _answer_in_batch(self, message: object, version: str, ends: float) -> bytes | None:
        rpc_id: Id = None
        try:
            checked = check_batched(message)
            if "method" not in checked or "id" not in checked:
                return None
            rpc_id = checked["id"]
            seconds = ends - asyncio.get_running_loop().time()
            await self._admit_again(seconds)
            incoming = self._incoming(checked, version, modern=False, seconds=min(CALL_SECONDS, seconds))
            return result_bytes(rpc_id, await run_method(incoming))
        except (RpcError, MarinaError) as error:
            return error_bytes(rpc_id, await self._recorded(error, message))
        except Exception:
            logger.exception("method failed", extra=self._fault_fields(message))
            return error_bytes(rpc_id, internal_error(self.request_id))

    async def _admit_again(self, seconds: float) -> None:
        """``admit``, for while the messages before ran, the key may have ended or the server may have changed."""
        if seconds <= 0:
            raise _batch_is_over()
        if self._away is not None:
            raise Unavailable(self._away.message, code=self._away.code)
        try:
            await self.admit()
        except Unavailable as error:
            # Asking a database that hangs once more for each message would take each time as long.
            self._away = error
            raise

    def _incoming(self, message: dict[str, Any], version: str, *, modern: bool, seconds: float) -> Incoming:
        surface = self.surface
        return Incoming(
            method=message["method"],
            params=message.get("params") or {},
            version=version,
            modern=modern,
            seconds=seconds,
            caller=self.caller,
            surface=surface,
            view=self._views.of(surface),
            runtime=self._runtime,
            headers=self.headers,
            request_id=self.request_id,
        )

    def _fault_fields(self, message: object) -> dict[str, object]:
        method = message.get("method") if isinstance(message, dict) else None
        return {
            "request_id": self.request_id,
            "tenant": self.surface.tenant_slug,
            "method": method if method in METHODS else "unknown",
        }


def _reason(error: RpcError) -> MarinaError:
    """A fault of form in the words of the log."""
    rule = (error.data or {}).get("rule")
    if rule is not None:
        return Forbidden(error.message, rule=str(rule), code=code_name(error))
    return InvalidInput(error.message, code=code_name(error))


def _shown(method: object) -> Mapping[str, Any] | None:
    return {"method": method[:_METHOD_CHARACTERS]} if isinstance(method, str) else None


def _batch_is_over() -> RpcError:
    return RpcError(
        408,
        f"The batch took more than {BATCH_SECONDS:g} seconds before this message came up, so it was not acted "
        "upon. Send it again, in a request of its own.",
        data={"code": "batch_too_slow", "rule": "batch:seconds", "retryable": True},
    )
