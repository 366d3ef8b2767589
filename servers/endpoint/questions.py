"""Questions to a client: requests that the server sends while it serves one of the client's. Two ways, one interface.

To 2025-11-25 the question goes out on the stream of the request and its answer comes in as a message of its own, at
any replica: it travels through Redis to the process that waits. From 2026-07-28 on the request ends with
``input_required`` and is sent again with the answers; what was answered before is carried in ``requestState``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson
from redis.exceptions import RedisError

from core.bus import Bus
from core.crypto import Sealer, SealError
from core.errors import SourceError
from servers.endpoint.channel import Channel
from servers.endpoint.sessions import Session
from servers.endpoint.wire import INVALID_PARAMS, RpcError
from servers.execution.contract import Ask

ANSWER_SECONDS: Final = 600.0
"""How long a person may take."""

STATE_SECONDS: Final = 600
MAX_STATE_BYTES: Final = 256 * 1024
"""Of the answers that a ``requestState`` carries."""

_ANSWER_KEPT_SECONDS: Final = 60


class Questions(Protocol):
    """Puts questions to the client of one session."""

    async def ask(self, channel: Channel, ask: Ask) -> Mapping[str, Any]:
        """The client's result. Raises ``SourceError``: ``client_refused``, ``client_silent``."""
        ...


class SessionQuestions:
    """Questions within a session that lives in Redis."""

    __slots__ = ("_bus", "_session")

    def __init__(self, bus: Bus, session: Session) -> None:
        self._bus = bus
        self._session = session

    async def ask(self, channel: Channel, ask: Ask) -> Mapping[str, Any]:
        """See ``Questions``."""
        question = secrets.token_hex(8)
        woken = asyncio.Event()
        ended = False

        def heard(message: bytes) -> None:
            nonlocal ended
            ended = ended or message == b"end"
            if ended or message == b"answer " + question.encode():
                woken.set()

        redis = self._bus.redis
        key = answer_key(self._session.id, question)
        listener = await self._bus.subscribe(self._session.channel, heard, woken.set)
        try:
            await redis.set(_asked(self._session.id, question), b"1", px=int(ANSWER_SECONDS * 1000))
            woken.clear()
            await channel.send(question_bytes(question, ask))
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    await woken.wait()
                    woken.clear()
                    answer = await redis.getdel(key)
                    if answer is not None:
                        return read_answer(orjson.loads(answer))
                    if ended:
                        raise silent()
        except TimeoutError:
            raise silent() from None
        except (RedisError, OSError):
            raise SourceError(
                "The client could not be asked: sessions are not reachable just now. Call again.",
                code="client_silent",
                retryable=True,
            ) from None
        finally:
            self._bus.leave(listener)


async def deliver_answer(bus: Bus, session: Session, message: Mapping[str, Any]) -> None:
    """Bring a client's response to the call that waits for it. One that nobody asked for is dropped.

    Raises ``RedisError``.
    """
    question = message.get("id")
    if not isinstance(question, str) or len(question) > 64 or not question.isalnum():
        return
    if not await bus.redis.delete(_asked(session.id, question)):
        return
    content = {name: message[name] for name in ("result", "error") if name in message}
    async with bus.redis.pipeline(transaction=False) as pipe:
        pipe.set(answer_key(session.id, question), orjson.dumps(content), ex=_ANSWER_KEPT_SECONDS)
        pipe.publish(session.channel, b"answer " + question.encode())
        await pipe.execute()


class LocalQuestions:
    """Questions over a connection of this process's own: the answer comes in where it was asked."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Mapping[str, Any]]] = {}

    async def ask(self, channel: Channel, ask: Ask) -> Mapping[str, Any]:
        """See ``Questions``."""
        question = secrets.token_hex(8)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[question] = answer
        try:
            await channel.send(question_bytes(question, ask))
            async with asyncio.timeout(ANSWER_SECONDS):
                return read_answer(await answer)
        except TimeoutError:
            raise silent() from None
        finally:
            del self._waiting[question]

    def answer(self, message: Mapping[str, Any]) -> None:
        """Take a client's response. One that nobody asked for is dropped."""
        waiting = self._waiting.get(str(message.get("id")))
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


class Retries:
    """Answers of a 2026-07-28 client: those that came with this request, and those of the rounds before."""

    __slots__ = ("_answers", "_context", "_sealer", "kept", "version")

    def __init__(self, sealer: Sealer, *, bound_to: str, params: Mapping[str, Any]) -> None:
        self._sealer = sealer
        self._context = bound_to
        self._answers: dict[str, Mapping[str, Any]] = {}
        self.kept = ""
        self.version: int | None = None
        """Of a tool: the version that asked, which is the one to go on with."""
        state = params.get("requestState")
        if state is not None:
            opened = self._open(state)
            self._answers.update(opened["answers"])
            self.kept = opened.get("kept", "")
            self.version = opened.get("version")
        given = params.get("inputResponses")
        if given is not None:
            if not isinstance(given, dict):
                raise RpcError(INVALID_PARAMS, "params.inputResponses must be an object, one result a key.")
            self._answers.update({key: value for key, value in given.items() if isinstance(value, dict)})

    def answer(self, key: str) -> Mapping[str, Any] | None:
        """The client's result for a question, if it is there."""
        return self._answers.get(key)

    @property
    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """All of them, by key."""
        return self._answers

    def result(self, asks: Mapping[str, Ask], meta: bytes, *, kept: str = "") -> bytes:
        """An ``InputRequiredResult`` that asks for these. Raises ``SourceError`` when there is too much to carry."""
        return orjson.dumps(
            {
                "resultType": "input_required",
                "inputRequests": {
                    key: {"method": ask.method, "params": dict(ask.params)} for key, ask in asks.items()
                },
                "requestState": self._seal(kept),
                "_meta": orjson.Fragment(meta),
            }
        )

    def _seal(self, kept: str = "") -> str:
        state: dict[str, Any] = {"until": int(time.time()) + STATE_SECONDS, "answers": self._answers}
        if kept:
            state["kept"] = kept
        if self.version is not None:
            state["version"] = self.version
        clear = orjson.dumps(state)
        if len(clear) > MAX_STATE_BYTES:
            raise SourceError(
                f"The answers so far are more than the {MAX_STATE_BYTES} bytes that can be carried on. "
                "Answer with less.",
                code="state_too_large",
            )
        return base64.urlsafe_b64encode(self._sealer.seal(clear, context=self._context)).decode()

    def _open(self, state: object) -> Mapping[str, Any]:
        clear: Mapping[str, Any] = {}
        if isinstance(state, str) and len(state) <= 2 * MAX_STATE_BYTES:
            try:
                sealed = base64.b64decode(state.encode("ascii"), altchars=b"-_", validate=True)
                clear = orjson.loads(self._sealer.open(sealed, context=self._context))
            except (ValueError, binascii.Error, SealError):
                clear = {}
        if clear.get("until", 0) < time.time():
            # One answer for what was changed, what is another's and what is over: it tells nobody anything.
            raise RpcError(
                INVALID_PARAMS,
                "The requestState is not valid for this request: it was changed, belongs to another request or "
                "caller, or is older than ten minutes. Send the request again without it.",
                data={"code": "request_state_invalid"},
            )
        return clear


def bound_to(
    *, tenant_id: int, server: str, principal: str, method: str, target: str, arguments: object
) -> str:
    """What a ``requestState`` belongs to: it opens nowhere else (basic/patterns/mrtr, server requirement 5)."""
    digest = hashlib.blake2b(orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    return orjson.dumps(["request-state", tenant_id, server, principal, method, target, digest]).decode()


def question_bytes(question: str, ask: Ask) -> bytes:
    """The JSON-RPC request that puts a question."""
    return orjson.dumps({"jsonrpc": "2.0", "id": question, "method": ask.method, "params": dict(ask.params)})


def read_answer(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The result in a client's response. Raises ``SourceError`` (``client_refused``)."""
    result = message.get("result")
    if isinstance(result, dict):
        return result
    error = message.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    raise SourceError(
        "The client answered the question with an error, so the call could not go on.",
        code="client_refused",
        data={"client_code": code if isinstance(code, int) else None},
    )


def silent() -> SourceError:
    """What an operation is told when no answer came."""
    return SourceError("The client did not answer the question, so the call ended.", code="client_silent")


def answer_key(session_id: str, question: str) -> str:
    """Where an answer waits for the process that asked."""
    return f"marina:answer:{session_id}:{question}"


def _asked(session_id: str, question: str) -> str:
    return f"marina:asked:{session_id}:{question}"
