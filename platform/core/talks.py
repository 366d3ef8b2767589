"""Conversations between two processes of one installation, over the bus: who knows a process's name talks with it.

Either side says and hears messages in their order until one of them hangs up, dies, or messages are lost: then the
other one hears that. Nothing is kept, so nothing is to be said that must not get lost. What is large lies sealed beside
the bus until it is heard: Redis ends the connection of a subscriber for whom too much waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from core.bus import Bus
from core.crypto import SealError
from core.finishing import stop
from core.sealing import sealer

BEAT_SECONDS: Final = 2.0
"""How often each side says that it is there."""
SILENT_SECONDS: Final = 6.0
"""Who says nothing for so long is gone."""
MAX_TALKS: Final = 1_000
"""Of one process at a time. Beyond it whoever begins one hears that it is busy."""
LARGE: Final = 262_144
"""Bytes. A longer message lies beside."""
BESIDE_SECONDS: Final = 60
"""For how long it does."""

logger = logging.getLogger(__name__)

Message = Mapping[str, Any]


class HungUp(Exception):
    """The other side is not there, or not any more."""


class Busy(HungUp):
    """The other side is there, and has too many conversations to have this one."""


class Talk:
    """One side of a conversation. Used from one event loop."""

    def __init__(self, bus: Bus, own: str, peer: str, talk_id: str) -> None:
        self.id = talk_id
        self._bus = bus
        self._own = own
        self._peer = peer
        self._said = 0
        self._heard = 0
        self._came: deque[tuple[int, Message | None]] = deque()
        """What was said, each with its number; ``None`` lies beside."""
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._over = False
        self._busy = False
        self._gone = False
        self._silent_since = asyncio.get_running_loop().time()
        self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def say(self, message: Message, *, subject: str = "") -> None:
        """Say something; ``subject`` with the first message says what about. Raises ``HungUp``."""
        letter: dict[str, Any] = {"subject": subject} if subject else {}
        async with self._turn:
            self._said += 1
            content = orjson.dumps(message)
            if len(content) > LARGE:
                await self._lay_beside(content)
                letter["say"] = None
            else:
                letter["say"] = orjson.Fragment(content)
            await self._send(letter)

    async def hear(self) -> Message:
        """The next message. Raises ``HungUp``, ``Busy`` where it has not begun."""
        loop = asyncio.get_running_loop()
        while not self._came:
            if self._over:
                raise Busy if self._busy else HungUp
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._silent_since + SILENT_SECONDS):
                    await self._news.wait()
            if loop.time() >= self._silent_since + SILENT_SECONDS:
                self._end()
        number, message = self._came.popleft()
        return await self._read_beside(number) if message is None else message

    async def hang_up(self) -> None:
        """Say no more, and hear no more."""
        self._beating.cancel()
        self._end()
        if not self._gone:
            with contextlib.suppress(HungUp):
                await self._send({"over": True})

    def take(self, letter: Mapping[str, Any]) -> None:
        """What came from the other side."""
        self._silent_since = asyncio.get_running_loop().time()
        self._gone = letter.get("over") is True
        self._busy = letter.get("busy") is True
        # Each letter says how many messages there were: one that is missing does not come any more.
        if letter.get("said") != self._heard + ("say" in letter):
            self._end()
        elif "say" in letter:
            self._heard += 1
            self._came.append((self._heard, letter["say"]))
        elif self._gone:
            self._end()
        self._news.set()

    async def _lay_beside(self, content: bytes) -> None:
        key = _beside(self.id, self._own, self._said)
        try:
            await self._bus.redis.set(key, sealer().seal(content, context=key), ex=BESIDE_SECONDS)
        except (RedisError, OSError):
            raise HungUp from None

    async def _read_beside(self, number: int) -> Message:
        key = _beside(self.id, self._peer, number)
        try:
            sealed = await self._bus.redis.getdel(key)
            if sealed is not None:
                found: Message = orjson.loads(sealer().open(sealed, context=key))
                return found
        except (RedisError, OSError, SealError):
            pass
        self._end()
        raise HungUp

    def _end(self) -> None:
        self._over = True
        self._news.set()

    async def _beat(self) -> None:
        while not self._over:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(HungUp):
                async with self._turn:
                    await self._send({})

    async def _send(self, letter: Mapping[str, Any]) -> None:
        letter = {**letter, "talk": self.id, "from": self._own, "said": self._said}
        try:
            heard_by = await self._bus.redis.publish(_channel(self._peer), orjson.dumps(letter))
        except (RedisError, OSError):
            raise HungUp from None
        if not heard_by:
            self._gone = True
            self._end()
            raise HungUp


Answer = Callable[[Talk], Awaitable[None]]
"""Has one conversation that another process began. It is hung up when this returns."""


class Talks:
    """The conversations of one process. ``name`` is by what others find it."""

    def __init__(self, bus: Bus) -> None:
        self.name = secrets.token_hex(8)
        self._bus = bus
        self._answers: dict[str, Answer] = {}
        self._talks: dict[str, Talk] = {}
        self._answering: set[asyncio.Task[None]] = set()
        # A gap is noticed by each conversation itself.
        bus.listen(_channel(self.name), self._heard, lambda: None)

    def answer(self, subject: str, answer: Answer) -> None:
        """Have conversations about this with whoever begins one."""
        self._answers[subject] = answer

    @asynccontextmanager
    async def begin(self, peer: str, subject: str, message: Message) -> AsyncIterator[Talk]:
        """Talk with another process, from a first message on. Raises ``HungUp`` where it is not there."""
        talk = Talk(self._bus, self.name, peer, secrets.token_hex(8))
        self._talks[talk.id] = talk
        try:
            await talk.say(message, subject=subject)
            yield talk
        finally:
            del self._talks[talk.id]
            await talk.hang_up()

    async def close(self) -> None:
        """End the conversations that others began, and wait until they are told so."""
        await stop(*self._answering)

    def _heard(self, content: bytes) -> None:
        letter = orjson.loads(content)
        talk = self._talks.get(letter["talk"])
        if talk is not None:
            talk.take(letter)
        elif answer := self._answers.get(letter.get("subject", "")):
            if len(self._talks) >= MAX_TALKS:
                self._spawn(self._refuse(letter["from"], letter["talk"]))
                return
            talk = Talk(self._bus, self.name, letter["from"], letter["talk"])
            self._talks[talk.id] = talk
            talk.take(letter)
            self._spawn(self._have(talk, answer))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _refuse(self, peer: str, talk_id: str) -> None:
        letter = {"talk": talk_id, "from": self.name, "said": 0, "over": True, "busy": True}
        with contextlib.suppress(RedisError, OSError):
            await self._bus.redis.publish(_channel(peer), orjson.dumps(letter))

    async def _have(self, talk: Talk, answer: Answer) -> None:
        try:
            await answer(talk)
        except HungUp:
            pass
        except Exception:
            logger.exception("a conversation with another process failed")
        finally:
            del self._talks[talk.id]
            await talk.hang_up()


def _beside(talk_id: str, whose: str, number: int) -> str:
    """Where what one side says lies: the other one knows by itself, and no letter names what is read and deleted."""
    return f"marina:talk:{talk_id}:{whose}:{number}"


def _channel(name: str) -> str:
    return f"marina:talks:{name}"
