"""The command line of ``marina-stdio``: reads it, refuses what would give the key away, and starts the bridge."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from marina.stdio.bridge import Bridge
from marina.stdio.pipes import Journal, Lines, LineWriter
from marina.stdio.upstream import Target, Upstream, is_loopback
from marina.stdio.wire import HEADER_NAME, PLAIN, is_header_value

TIMEOUT_SECONDS: Final = 300.0
KEY_VARIABLE: Final = "MARINA_API_KEY"
# By number: a host may have closed one of them, and then sys has no object for it.
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_MOST_KEY_BYTES: Final = 8192
_OWN: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "last-event-id"}
    | {"transfer-encoding", "upgrade"}
)


class BadUsage(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge until its host has gone. Gives the exit status: 0, or 2 for a wrong command line."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    try:
        # The host starts this command on a machine that has no Marina to configure.
        target = read_target(options, os.environ)  # noqa: TID251
    except BadUsage as error:
        parser.exit(2, f"marina-stdio: {error}\n")
    asyncio.run(_serve(target))
    return 0


def read_target(options: argparse.Namespace, environ: Mapping[str, str]) -> Target:
    """Check what the command line and the environment say. Raises ``BadUsage``."""
    try:
        url = urlsplit(options.url)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise BadUsage("The URL is malformed. It looks like https://mcp.example.com/mcp/TEAM.") from error
    if url.scheme not in {"http", "https"} or not host:
        raise BadUsage("The URL begins with https:// or http://, like https://mcp.example.com/mcp/TEAM.")
    if url.username is not None or url.password is not None:
        raise BadUsage(f"The URL holds a name or password, which others can see. Use {KEY_VARIABLE}.")
    headers = dict(_parse_header(text) for text in options.header)
    key = _read_key(options.key_file, environ)
    if key is not None:
        if url.scheme == "http" and not is_loopback(host) and not options.insecure:
            raise BadUsage(
                f"The key would go to {host} unencrypted. Use https://, or --insecure if nobody can listen there."
            )
        headers["Authorization"] = f"Bearer {key}"
    if not 0 < options.timeout <= 86_400:
        raise BadUsage("--timeout is a number of seconds between 0 and 86400.")
    return Target(options.url, headers, key is not None, options.timeout)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="marina-stdio",
        description="Connects an MCP host that only starts commands to an MCP server at a URL.",
        epilog=f"The key is read from {KEY_VARIABLE} or --key-file; as an argument, others could see it.",
    )
    parser.add_argument("url", metavar="URL", help="the server, like https://mcp.example.com/mcp/TEAM")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="a file that holds the key and nothing else"
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent along; may be repeated"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="how long the server may be silent about a request (%(default)g)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="send the key over plain http to another machine"
    )
    return parser


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not HEADER_NAME.fullmatch(name) or not PLAIN.fullmatch(value):
        raise BadUsage("A --header reads 'Name: value', in plain ASCII.")
    if name.lower() == "authorization":
        raise BadUsage(f"Others can see arguments. Put the key into {KEY_VARIABLE} or a --key-file instead.")
    if name.lower() in _OWN or name.lower().startswith("mcp-"):
        raise BadUsage(f"The header {name} is the bridge's own. Leave it out.")
    return name, value


def _read_key(path: Path | None, environ: Mapping[str, str]) -> str | None:
    if path is None:
        key, origin = environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
    else:
        origin = "The key file"
        try:
            with path.open("rb") as file:
                key = file.read(_MOST_KEY_BYTES).decode("ascii", errors="replace")
        except OSError as error:
            raise BadUsage(f"The key file cannot be read ({error.strerror}). Check its path.") from error
    key = key.strip()
    if not key and path is None:
        return None
    if not is_header_value(key):
        raise BadUsage(f"{origin} holds no key: it is one word of visible ASCII. Copy it again.")
    return key


async def _serve(target: Target) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows ends the process by itself
            loop.add_signal_handler(number, stop.set)
    journal = Journal(_STDERR)
    out = LineWriter(_STDOUT)
    bridge = Bridge(Upstream(target), out, journal, timeout=target.timeout)
    lines = Lines(_STDIN)
    reading = asyncio.create_task(bridge.read(lines))
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(out.broken.wait())]
    try:
        await asyncio.wait({reading, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
            settling = asyncio.create_task(bridge.settle())
            await asyncio.wait({settling, *ends}, return_when=asyncio.FIRST_COMPLETED)
            settling.cancel()
    finally:
        for task in (reading, *ends):
            task.cancel()
        await bridge.close()
        await journal.flush(0.2)
