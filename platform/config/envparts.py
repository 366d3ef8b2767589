"""Parts of what the environment says, as values. ``config.env`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.vaultaccess import VaultAccess


@dataclass(frozen=True, slots=True)
class Web:
    """How the web process listens: how many there are, and how long and how many of anything may be."""

    processes: int = 1
    max_connections: int = 8192
    header_seconds: int = 10
    idle_seconds: int = 5
    write_seconds: int = 30
    drain_seconds: int = 8
    heavy_socket: str = ""
    """Where a heavy process takes large requests; empty: each web process answers all by itself."""


@dataclass(frozen=True, slots=True)
class Mail:
    """How mail leaves: by SMTP, into files of ``folder``, or onto the console where neither is named."""

    sender: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: str = ""
    """``starttls``, ``implicit``, or nothing: in the clear."""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    seconds: int


@dataclass(frozen=True, slots=True)
class SecretPlaces:
    """Where teams' secrets may come from besides Marina's database, and how often they are read there."""

    prefix: str = ""
    """Of variables that hold one; none: no variable does."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Those with the prefix. No other variable can be asked for."""
    folder: Path | None = None
    vault: VaultAccess | None = None
    seconds: int = 60
    stale_seconds: int = 3600
    """How long what was read stays in use while its place cannot be asked."""


@dataclass(frozen=True, slots=True)
class LongWork:
    """How much long work there may be at once: of a worker process, of a team; and how long tasks are kept."""

    slots: int = 16
    per_team: int = 8
    open_per_team: int = 1000
    ttl_seconds: int = 86_400
