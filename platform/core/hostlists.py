"""Lists of hosts that an operator allows: reads them, and says whether one is among them. Resolves no name.

An entry is a name (``api.example.com``), all names below one (``*.example.com``, not itself), or an IP address, each
with a port or without: then the usual ones of the web are meant. Names are compared as they are in DNS: their case and
a last dot do not count, and international ones are in their xn-- form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

MAX_HOSTS: Final = 100
PORTS: Final = (443, 80)
"""Of an entry that names none."""

_TOLD: Final = 8
_MAX_NAME: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""What a resolver takes for an address, or part of one, where it is the last label (WHATWG URL, section 3.5)."""


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry. ``below``: the names below ``name``, and not that. ``port`` is 0 where the usual ones are meant."""

    name: str
    below: bool = False
    port: int = 0

    def allows(self, host: str, port: int) -> bool:
        """Whether a host, as ``read_host`` gives it, and a port are meant."""
        if port not in ((self.port,) if self.port else PORTS):
            return False
        return host.endswith(f".{self.name}") if self.below else host == self.name

    def __str__(self) -> str:
        name = f"*.{self.name}" if self.below else _bracketed(self.name)
        return f"{name}:{self.port}" if self.port else name


def read_hosts(given: Sequence[Any]) -> tuple[AllowedHost, ...]:
    """The entries of a list. Raises ``ValueError`` with the first that is none, and why."""
    if len(given) > MAX_HOSTS:
        raise ValueError(f"at most {MAX_HOSTS} hosts can be listed")
    return tuple(dict.fromkeys(map(_entry, given)))


def allows(hosts: Sequence[AllowedHost], host: str, port: int) -> bool:
    """Whether a host, as ``read_host`` gives it, is among these, with this port."""
    return any(each.allows(host, port) for each in hosts)


def in_words(hosts: Sequence[AllowedHost]) -> str:
    """The first of them, and how many there are besides."""
    told = ", ".join(map(str, hosts[:_TOLD]))
    return f"{told} and {len(hosts) - _TOLD} more" if len(hosts) > _TOLD else told


def read_authority(text: str, default: int | None = None) -> tuple[str, int]:
    """Host and port of ``host:port``. Raises ``ValueError`` where it is none, or has no port and there is none."""
    host, port = _split(text)
    port = default if port is None else port
    if port is None:
        raise ValueError("it has no port")
    return read_host(host), port


def read_host(text: str) -> str:
    """A host as it is compared: in lower case, without a last dot; an IP address in its usual form, without brackets.

    Raises ``ValueError`` with what is wrong.
    """
    if text.startswith("["):
        return str(IPv6Address(text[1:-1]))
    name = text.removesuffix(".").lower()
    if not name.isascii():
        raise ValueError("write an international name in its xn-- form")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(IPv4Address(name))
    if len(name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("it is no name of a host")
    return name


def as_authority(host: str, port: int) -> str:
    """A host, as ``read_host`` gives it, with its port."""
    return f"{_bracketed(host)}:{port}"


def _entry(given: Any) -> AllowedHost:
    if not isinstance(given, str):
        raise ValueError(f"{given!r:.80} is no host; put numbers into quotation marks")  # noqa: TRY004 - one error
    try:
        return _read_entry(given)
    except ValueError as fault:
        raise ValueError(f"{given[:200]!r} is no host: {fault}") from None


def _read_entry(given: str) -> AllowedHost:
    if any(sign in given for sign in "/@?#"):
        raise ValueError("leave out https://, a path and a user name")
    if given.count(":") > 1 and not given.startswith("["):
        raise ValueError("put an IPv6 address into brackets")
    below = given.startswith("*.")
    text = given.removeprefix("*.")
    if "*" in text:
        raise ValueError("a * stands for all names below one, as in *.example.com, and for nothing else")
    host, port = _split(text)
    name = read_host(host)
    if below and (_is_address(name) or "." not in name):
        raise ValueError("a * stands before a name of two parts or more, as in *.example.com")
    return AllowedHost(name, below, port or 0)


def _split(text: str) -> tuple[str, int | None]:
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("it is no host with a port, or without")
    if found[2] is None:
        return found[1], None
    if not 0 < int(found[2]) < 65_536:
        raise ValueError("there is no such port")
    return found[1], int(found[2])


def _is_address(name: str) -> bool:
    return ":" in name or name.rpartition(".")[2].isdecimal()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
