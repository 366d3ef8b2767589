"""Where an installation puts its logs' checkpoints, outside of its database. Plain data: it sends nothing.

An address is ``file:///folder``, ``https://…`` (a webhook) or ``s3://bucket/prefix?endpoint=…&region=…``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

DEFAULT_REGION: Final = "us-east-1"

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class _Addressed:
    address: str = field(repr=False)

    @property
    def id(self) -> str:
        """The same for the same address, and tells nothing of it: a webhook's may hold a secret."""
        return hashlib.sha256(self.address.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class FolderTarget(_Addressed):
    """A file a team, in a folder of the machine that the worker runs on."""

    folder: Path

    @property
    def label(self) -> str:
        """What members of teams may know of it."""
        return "a file on the server"


@dataclass(frozen=True, slots=True)
class WebhookTarget(_Addressed):
    """Each note is sent there. The address may hold a secret."""

    host: str

    @property
    def label(self) -> str:
        """What members of teams may know of it."""
        return f"a webhook at {self.host}"


@dataclass(frozen=True, slots=True)
class BucketTarget(_Addressed):
    """An object a note. ``prefix`` is empty or ends with a slash; ``endpoint`` is scheme, host and port."""

    name: str
    prefix: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def label(self) -> str:
        """What members of teams may know of it."""
        return f"the bucket {self.name}"


Target: TypeAlias = FolderTarget | WebhookTarget | BucketTarget


def parse_targets(words: Iterable[str], *, access_key: str, secret_key: str) -> tuple[Target, ...]:
    """The targets that these addresses name; the keys are for buckets. Raises ``ValueError`` that says what is wrong,
    without the address: it may hold a secret.
    """
    return tuple(_parse(word, access_key, secret_key) for word in dict.fromkeys(words))


def _parse(word: str, access_key: str, secret_key: str) -> Target:
    try:
        parts = urlsplit(word)
        port = parts.port
    except ValueError:
        raise ValueError("one of its addresses is none") from None
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        if parts.netloc or parts.query or not folder.is_absolute() or ".." in folder.parts:
            raise ValueError("write a folder as file:///var/lib/marina/checkpoints")
        return FolderTarget(word, folder)
    if parts.scheme in {"http", "https"}:
        if not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("write a webhook as https://notes.example.com/marina, without a user or a #")
        return WebhookTarget(word, parts.hostname if port is None else f"{parts.hostname}:{port}")
    if parts.scheme == "s3":
        return _bucket(word, access_key, secret_key)
    raise ValueError("an address of it is neither file:///…, https://… nor s3://…")


def _bucket(word: str, access_key: str, secret_key: str) -> BucketTarget:
    parts = urlsplit(word)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    region = asked.pop("region", DEFAULT_REGION)
    endpoint = asked.pop("endpoint", f"https://s3.{region}.amazonaws.com").rstrip("/")
    at = urlsplit(endpoint)
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or (prefix and not _PREFIX.fullmatch(prefix)) or ".." in prefix:
        raise ValueError("write a bucket as s3://name/prefix, of plain characters")
    if asked or not _REGION.fullmatch(region):
        raise ValueError("after a bucket's ? there may be endpoint= and region= alone")
    if at.scheme not in {"http", "https"} or not at.hostname or "@" in at.netloc or at.path or at.query:
        raise ValueError("a bucket's endpoint must be scheme, host and port")
    if not access_key or not secret_key:
        raise ValueError(
            "a bucket needs MARINA_CHECKPOINTS_ACCESS_KEY and MARINA_CHECKPOINTS_SECRET_KEY besides"
        )
    return BucketTarget(
        word, parts.netloc, f"{prefix}/" if prefix else "", endpoint, region, access_key, secret_key
    )
