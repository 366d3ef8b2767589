"""One POST to the MCP endpoint: the answer to what its body holds, as one body or as a stream of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import RedisError

from core.errors import MarinaError, Unavailable
from core.strictjson import BESIDE_BYTES, BadJson, read_json, read_json_beside
from servers.endpoint.channel import Channel, PostChannel, Send
from servers.endpoint.eras import (
    BATCH_VERSION,
    check_batched,
    check_envelope,
    check_modern_notification,
    check_modern_request,
    header_version,
    id_of,
    implied_headers,
    legacy_version,
)
from servers.endpoint.events import EventLog, new_stream
from servers.endpoint.handlers.lifecycle import sessions_away
from servers.endpoint.headers import accepts_events, prefers_events
from servers.endpoint.incoming import Incoming, Parts
from servers.endpoint.methods import METHODS, run_method
from servers.endpoint.notices import take_notice
from servers.endpoint.questions import Questions, SessionQuestions
from servers.endpoint.sessions import Session
from servers.endpoint.visit import Visit
from servers.endpoint.wire import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Id,
    Reply,
    RpcError,
    error_bytes,
    id_bytes,
    internal_error,
    result_parts,
)
from servers.services.calls import CALL_SECONDS

MAX_BATCH: Final = 50
"""Messages in one batch."""

BATCH_SECONDS: Final = 30.0
"""The deadline of a whole batch: as long as one call may take."""

SESSION_HEADER: Final = b"mcp-session-id"

_ACCEPTED: Final = Reply(202)

logger = logging.getLogger(__name__)


class Exchange(Visit):
    """One POST and its answer."""

    __slots__ = (
        "_away",
        "_carrier",
        "_new_session",
        "_notice",
        "_on_request",
        "_questions",
        "_send",
        "opened",
        "rpc_id",
        "session",
    )

    def __init__(self, parts: Parts, send: Send) -> None:
        super().__init__(parts)
        self._send = send
        self._away: Unavailable | None = None
        self._new_session: Session | None = None
        self._carrier: Channel | None = None
        self._questions: Questions | None = None
        self._notice: Callable[[dict[str, Any]], None] | None = None
        self._on_request: Callable[[Id], None] | None = None
        self.opened: PostChannel | None = None
        """The channel, once something was said on it."""
        self.session: Session | None = None
        self.rpc_id: Id = None
        """The id of the request that is being served, when there is just one."""

    def use(
        self,
        carrier: Channel,
        session: Session,
        questions: Questions | None = None,
        notice: Callable[[dict[str, Any]], None] | None = None,
        on_request: Callable[[Id], None] | None = None,
    ) -> None:
        """Answer on a connection that carries everything both ways, and that the session belongs to.

        ``notice`` takes notifications and responses, ``on_request`` hears which request is being served.
        """
        self._carrier = carrier
        self.session = session
        self._questions = questions
        self._notice = notice
        self._on_request = on_request

    @property
    def carried(self) -> bool:
        """Whether a connection that carries more than this message takes the answer."""
        return self._carrier is not None

    async def answer(self, body: bytes) -> Reply:
        """The answer to a body: one message, or a batch where the protocol has them."""
        message: object = None
        try:
            try:
                message = read_json(body) if len(body) <= BESIDE_BYTES else await self._read_large(body)
            except BadJson as fault:
                raise RpcError(PARSE_ERROR, f"The body is not valid JSON: {fault}.", status=400) from None
            if isinstance(message, list):
                return await self._answer_batch(message)
            return await self._answer_one(check_envelope(message))
        except RpcError as error:
            return await self.refuse(error, message, rpc_id=id_of(message))

    async def _read_large(self, body: bytes) -> object:
        # Strangers are one team more, whosever server they call.
        team = -1 if self.caller.anonymous else self.caller.tenant_id
        return await read_json_beside(body, team=team)

    async def refuse(
        self,
        error: RpcError | MarinaError,
        message: object = None,
        *,
        rpc_id: Id = None,
        modern: bool = False,
    ) -> Reply:
        """An error as the whole answer, once the log has it."""
        told = await self.recorded(error, message)
        status = told.http_status(modern=modern, answers=rpc_id is not None)
        return Reply(status, (error_bytes(rpc_id, told),), told.headers)

    def channel(self) -> Channel:
        """The way back to the client of this message."""
        if self._carrier is not None:
            return self._carrier
        return self.stream()

    def stream(self) -> PostChannel:
        """The answer to this POST as a stream."""
        if self.opened is None:
            log = None
            session = self.session
            if session is not None:
                log = EventLog(
                    self.parts.runtime.bus.redis, session, new_stream(), request=id_bytes(self.rpc_id)
                )
            self.opened = PostChannel(
                self._send,
                [(b"x-request-id", self.request_id.encode("ascii"))],
                carries=accepts_events(self.headers.get(b"accept", b"")),
                log=log,
                primes=session is not None and session.primed,
            )
        return self.opened

    def prefer_stream(self) -> None:
        """Answer with a stream of events where the client names that first: in a session it can come back to it."""
        if prefers_events(self.headers.get(b"accept", b"")):
            self.stream().wanted = True

    async def _answer_one(self, message: dict[str, Any]) -> Reply:
        headers = self.headers
        version = legacy_version(headers, message)
        modern = version is None
        rpc_id: Id = message.get("id")
        method = message.get("method")
        try:
            if self._carrier is not None:
                # There are no headers a message: what they would have said is in the message itself.
                headers = {**headers, **implied_headers(message)}
                if self.session is not None and self.session.version and not modern:
                    version = self.session.version
            elif not modern and method != "initialize" and SESSION_HEADER in self.headers:
                version = await self._resume(version)
            if method is None or rpc_id is None:
                return await self._take(message, modern=modern)
            self.rpc_id = rpc_id
            if self._on_request is not None:
                self._on_request(rpc_id)
            if version is None:
                version = check_modern_request(headers, message)
            result = await run_method(self._incoming(message, version, modern=modern, seconds=CALL_SECONDS))
            return Reply(200, result_parts(rpc_id, result), self._session_header())
        except (RpcError, MarinaError) as error:
            return await self.refuse(error, message, rpc_id=rpc_id, modern=modern)
        except Exception:
            logger.exception("method failed", extra=self._fault_fields(message))
            fault = internal_error(self.request_id)
            return Reply(fault.http_status(modern=modern, answers=True), (error_bytes(rpc_id, fault),))

    async def _take(self, message: dict[str, Any], *, modern: bool) -> Reply:
        """A notification, or a response to a question."""
        if modern:
            if "method" not in message:
                raise RpcError(
                    INVALID_REQUEST, "A client sends no responses in protocol version 2026-07-28.", status=400
                )
            if self._carrier is None:
                check_modern_notification(self.headers)
        if self._notice is not None:
            self._notice(message)
        elif self.session is not None and not modern:
            try:
                await take_notice(self.parts.runtime.bus, self.session, message)
            except (RedisError, OSError):
                raise sessions_away() from None
        return _ACCEPTED

    async def _resume(self, version: str | None) -> str | None:
        """Find the session that the request names. Its revision stands where the request names none."""
        self.session = await self.find_session()
        return version if b"mcp-protocol-version" in self.headers else self.session.version

    async def find_session(self) -> Session:
        """The session that the request names. Raises ``RpcError``: the client is to begin a new one."""
        named = self.headers[SESSION_HEADER]
        session = self.parts.sessions.peek(named, self.caller, self.surface.slug)
        if session is None:
            try:
                session = await self.parts.sessions.get(named, self.caller, self.surface.slug)
            except (RedisError, OSError):
                raise sessions_away() from None
        if session is None:
            raise RpcError(
                404,
                "There is no such session here, or it has ended. Send initialize again to begin a new one.",
                data={"code": "session_unknown"},
                status=404,
            )
        return session

    async def _answer_batch(self, messages: list[Any]) -> Reply:
        version = header_version(self.headers)
        if self.carried:
            version = (self.session and self.session.version) or version
        elif SESSION_HEADER in self.headers and version is not None:
            try:
                version = await self._resume(version)
            except (MarinaError, RpcError) as error:
                return await self.refuse(error)
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
        return Reply(200, (b"[", b",".join(answers), b"]")) if answers else _ACCEPTED

    async def _answer_in_batch(self, message: object, version: str, ends: float) -> bytes | None:
        rpc_id = id_of(message)
        try:
            checked = check_batched(message)
            if "method" not in checked or rpc_id is None:
                await self._take(checked, modern=False)
                return None
            seconds = ends - asyncio.get_running_loop().time()
            await self._admit_again(seconds)
            incoming = self._incoming(checked, version, modern=False, seconds=min(CALL_SECONDS, seconds))
            return b"".join(result_parts(rpc_id, await run_method(incoming)))
        except (RpcError, MarinaError) as error:
            return error_bytes(rpc_id, await self.recorded(error, message))
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
        if surface.canaries:
            surface = surface.seen_by(self.caller)
        session = None if modern else self.session
        questions = self._questions
        if questions is None and session is not None:
            questions = SessionQuestions(self.parts.runtime.bus, session)
        return Incoming(
            method=message["method"],
            params=message.get("params") or {},
            rpc_id=message["id"],
            version=version,
            modern=modern,
            seconds=seconds,
            caller=self.caller,
            surface=surface,
            view=self.parts.views.of(surface),
            parts=self.parts,
            headers=self.headers,
            request_id=self.request_id,
            channel=self.channel,
            session=session,
            questions=questions,
            framed=self._carrier is None,
            begin=self._note_session,
            check_again=self.look_again,
        )

    def _note_session(self, session: Session) -> None:
        self._new_session = session

    def _session_header(self) -> tuple[tuple[bytes, bytes], ...]:
        begun = self._new_session
        return () if begun is None else ((SESSION_HEADER, begun.id.encode("ascii")),)

    def _fault_fields(self, message: object) -> dict[str, object]:
        method = message.get("method") if isinstance(message, dict) else None
        return {
            "request_id": self.request_id,
            "tenant": self.surface.tenant_slug,
            "method": method if method in METHODS else "unknown",
        }


def _batch_is_over() -> RpcError:
    return RpcError(
        408,
        f"The batch took more than {BATCH_SECONDS:g} seconds before this message came up, so it was not acted "
        "upon. Send it again, in a request of its own.",
        data={"code": "batch_too_slow", "rule": "batch:seconds", "retryable": True},
    )
