"""Prints what the children say, line by line behind their names. Decides nothing about them."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Mapping
from typing import IO, Final, TextIO

from config.local.failure import StopRequested

_WIDTH: Final = 8
_LAST_LINES: Final = 15
_LONGEST_LINE: Final = 64 * 1024
_DRAIN_READS: Final = 64
_COLOURS: Final = {
    "marina": "1",
    "postgres": "34",
    "redis": "31",
    "setup": "33",
    "demo": "33",
    "web": "32",
    "heavy": "32",
    "worker": "35",
    "exporter": "35",
    "runner": "35",
    "beat": "36",
    "call": "1;32",
}
# A log line may quote what a client sent: it must not steer the terminal.
_CONTROL: Final[Mapping[int, str]] = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "�")


class Stream:
    """The output of one child, cut into lines."""

    def __init__(self, name: str, pipe: IO[bytes]) -> None:
        self.name = name
        self.pipe = pipe
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._rest = b""
        os.set_blocking(pipe.fileno(), False)

    def read_lines(self) -> list[str] | None:
        """The whole lines that have come; None once the child has closed its end."""
        try:
            piece = os.read(self.pipe.fileno(), 65536)
        except BlockingIOError:
            return []
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if (not piece and self._rest) or len(self._rest) > _LONGEST_LINE:
            whole.append(self._rest)
            self._rest = b""
        if not piece and not whole:
            return None
        lines = [line.decode(errors="replace").rstrip("\r").translate(_CONTROL) for line in whole]
        self.last_lines.extend(lines)
        return lines


class Console:
    """One terminal (or pipe) that all children share."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._selector = selectors.DefaultSelector()

    def attach(self, name: str, pipe: IO[bytes]) -> Stream:
        """Print what comes from ``pipe`` from now on."""
        stream = Stream(name, pipe)
        self._selector.register(pipe, selectors.EVENT_READ, stream)
        return stream

    def watch(self, descriptor: int) -> None:
        """Let ``pump`` return early when ``descriptor`` has something to read (which is thrown away)."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def pump(self, seconds: float) -> None:
        """Wait for output for at most ``seconds`` and print it. ``StopRequested`` if nobody reads us."""
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                os.read(key.fd, 4096)
            else:
                self._forward(key.data)

    def drain(self, stream: Stream) -> None:
        """Print what an ended child still has in its pipe, even if a descendant holds the pipe open."""
        for _ in range(_DRAIN_READS):
            if stream.pipe.closed:
                break
            self._forward(stream)

    def say(self, text: str, *, name: str = "marina") -> None:
        """A line of our own."""
        for line in text.split("\n"):
            self._print(name, line)

    def block(self, text: str) -> None:
        """Text as it is, without a name before it."""
        self._write(text + "\n")

    def _forward(self, stream: Stream) -> None:
        lines = stream.read_lines()
        if lines is None:
            self._selector.unregister(stream.pipe)
            stream.pipe.close()
            return
        for line in lines:
            self._print(stream.name, line)

    def _print(self, name: str, line: str) -> None:
        label = f"{name:<{_WIDTH}} |"
        if self._colour:
            label = f"\x1b[{_COLOURS.get(name, '0')}m{label}\x1b[0m"
        self._write(f"{label} {line}\n")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (BrokenPipeError, ValueError):
            # The terminal, or the pipe's reader, has gone: end in order, in silence.
            self._out = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as we do
            raise StopRequested("nobody reads the output any more") from None
