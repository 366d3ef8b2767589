"""The transport stdio: a message a line, to a process's input and from its output (2026-07-28 basic/transports/stdio).

It knows the process only as streams. What is no message is counted, and kept for whoever looks after the command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from core.beside import Beside
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.channel import Channel
from servers.execution.backends.mcp.lines import WritingPace, lines_of
from servers.execution.backends.mcp.patience import is_long_work, read_patiently
from servers.execution.backends.mcp.replies import Reply, Request
from servers.execution.backends.mcp.ways import ASIDE_SECONDS, Heard, Opened
from servers.execution.backends.mcp.wire import Headers, NotMcp, read_messages

MAX_LINE_BYTES: Final = 16_777_216
"""Of one message: as much as one list may have."""
MAX_UNSENT_BYTES: Final = 8_388_608
"""Of messages that the process does not take."""
MAX_NOTED_BYTES: Final = 16_384
"""Of a line that is noted: more than is shown, as a secret may begin in that and end behind it."""
MAX_GARBAGE: Final = 1_000
"""Lines that are no messages, of one process."""
MAX_PARTS: Final = 4
"""Of one line, each of as much as a message may have."""
MAX_UNASKED_BYTES: Final = 65_536
"""Of a line that comes while no request waits for anything: more is not looked at."""

_BESIDE: Final = Beside("marina-mcp")


class StdioWay:
    """Implements ``Way`` over one process's streams, for all that ask it."""

    one_line: bool = True
    session: str = ""

    def __init__(
        self,
        url: str,
        *,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        note: Callable[[str], None],
        pace: WritingPace,
        team: int = 0,
    ) -> None:
        """``pace`` is the process's, ``team`` whose it is."""
        self._url = url
        self._stdin = stdin
        self._stdout = stdout
        self._note = note
        self._pace = pace
        self._team = team
        self._sending = asyncio.Lock()
        self._garbage = 0
        self.channel = Channel(url, self._send, shared=True)

    @property
    def url(self) -> str:
        """See ``Way``."""
        return self._url

    def next_id(self) -> int:
        """See ``Way``."""
        return self.channel.next_id()

    async def ask(self, request: Request) -> Reply:
        """See ``Way``."""
        return await self.channel.ask(request)

    async def tell(self, content: bytes, *, headers: Headers = ()) -> None:
        """See ``Way``."""
        if self.channel.over is None:
            try:
                async with asyncio.timeout(ASIDE_SECONDS):
                    await self._send(content)
            except TimeoutError:
                raise OutboundRefused("it does not read its input", "broken") from None

    async def listen(self, heard: Heard, opened: Opened, *, headers: Headers = (), most_bytes: int) -> bool:
        """See ``Way``. What is said outside of requests is let go."""
        return False

    async def part(self, *, headers: Headers = ()) -> None:
        """See ``Way``. There is no session but the process's life."""

    async def close(self) -> None:
        """See ``Way``. Whoever began the process ends it."""

    async def read(self) -> str:
        """Hand out what the process says, until its output ends; why it is to be ended, where it is."""
        parts = 0
        async for line, ends in lines_of(self._stdout, self._pace, most=MAX_LINE_BYTES):
            parts += 1
            if ends:
                if parts == 1:
                    await self._take(line.strip())
                parts = 0
            elif parts == 1:
                words = f"it wrote a message of more than {MAX_LINE_BYTES} bytes"
                self.channel.fail_all(OutboundRefused(words, "too_large"))
            elif parts == MAX_PARTS:
                return "it wrote to its output without end"
            if self._garbage > MAX_GARBAGE:
                return f"it wrote more than {MAX_GARBAGE} lines to its output that are no messages of MCP"
        return ""

    async def _take(self, line: bytes) -> None:
        if not line or (len(line) > MAX_UNASKED_BYTES and not self.channel.busy):
            return
        try:
            if is_long_work(line):
                messages = await _BESIDE.run(partial(read_patiently, line), team=self._team)
            else:
                messages = read_messages(line)
        except NotMcp:
            self._garbage += 1
            # Cut when no secret is in it any more.
            self._note("stdout: " + line[:MAX_NOTED_BYTES].decode(errors="replace"))
            return
        for message in messages:
            self.channel.take(message, len(line))
            if len(messages) > 1:
                await self._pace.use_line()

    async def _send(self, content: bytes) -> None:
        transport = self._stdin.transport
        if transport.get_write_buffer_size() + len(content) > MAX_UNSENT_BYTES:
            raise OutboundRefused("it does not read its input", "broken")
        if self._stdin.is_closing():
            raise OutboundRefused("its input is closed", "broken")
        self._stdin.write(content + b"\n")
        with contextlib.suppress(ConnectionError):
            # That it ended is told by the end of its output.
            async with self._sending:
                await self._stdin.drain()
