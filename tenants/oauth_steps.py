"""One step of a client on its way in: what it asked, what it was answered. Pure; no secret ever goes into one.

Codes, tokens, verifiers and secrets are told as being there or not. A code is also marked by a short hash, so that
the consent it came of and the token request it went into are known to belong together.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from core.clientaddress import address_block

WINDOW_SECONDS: Final = 60
"""The same step of the same program within such a window is one step, counted."""

MAX_VALUE: Final = 300
"""Characters kept of any one thing that was asked or answered."""

MAX_ASKED: Final = 16

_SECRET: Final = re.compile(r"mcp_(?:at|rt|live|test)_[\w-]+|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")


class Kind(StrEnum):
    """What a step was, in the order in which a connection goes."""

    CHALLENGE = "challenge"
    MISPLACED = "misplaced"
    RESOURCE_METADATA = "resource_metadata"
    ISSUER_METADATA = "issuer_metadata"
    REGISTRATION = "registration"
    CLIENT_DOCUMENT = "client_document"
    AUTHORIZATION = "authorization"
    CONSENT = "consent"
    TOKEN = "token"  # noqa: S105 - a kind of step
    REFRESH = "refresh"
    REVOCATION = "revocation"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``told`` is what the client could read, ``why`` what Marina alone knows of a refusal.

    ``at`` is seconds since 1970. ``known``: whoever made it had proven who they are, so that it is kept apart from what
    strangers cause. ``code_mark`` and ``consent_mark`` are short hashes. ``again`` counts further ones like it.
    """

    kind: Kind
    at: float
    ok: bool
    status: int = 0
    code: str = ""
    told: str = ""
    why: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    agent: str = ""
    client_id: str = ""
    member: str = ""
    server: str = ""
    grant: str = ""
    code_mark: str = ""
    consent_mark: str = ""
    known: bool = False
    id: str = ""
    again: int = 0

    @property
    def source(self) -> tuple[str, str]:
        """Which program it was, as far as that can be seen: where it came from, and what it calls itself."""
        return address_block(self.address), self.agent


def clean(value: object, most: int = MAX_VALUE) -> str:
    """``value`` as a step may keep it: short, without what looks like a credential, and all of it to be seen.

    Control characters go, and those that hide or turn the text around them.
    """
    shown = str(value)[: 4 * MAX_VALUE]
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in shown)
    return _SECRET.sub("[masked]", text)[:most]


def clean_address(url: str) -> str:
    """A URL without its query and fragment, where clients put what is nobody's business."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return clean(url.partition("?")[0].partition("#")[0])
    netloc = parts.netloc.rpartition("@")[2]
    begin = f"{parts.scheme}:" if parts.scheme else ""
    rest = "?…" if parts.query else ""
    return clean(f"{begin}{'//' if netloc else ''}{netloc}{parts.path}{rest}")


def mark_of(secret: str) -> str:
    """A short hash that tells one random secret from another, and nothing else."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:16] if secret else ""


def presence(parameters: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Which of the secrets were sent, by their lengths alone."""
    return {name: f"sent, {len(parameters[name])} characters" for name in names if parameters.get(name)}


def sealed(step: Step) -> Step:
    """The step as it is kept: bounded, cleaned, and with its id.

    What comes again within a window, all the same, has the same id; so has one access token's first call everywhere.
    """
    asked = {clean(name, 40): clean(value) for name, value in list(step.asked.items())[:MAX_ASKED]}
    made = replace(
        step,
        asked=asked,
        told=clean(step.told),
        code=clean(step.code, 60),
        agent=clean(step.agent, 120),
        address=clean(step.address, 60),
        client_id=clean(step.client_id, 255),
    )
    if made.id:
        return made
    return replace(made, id=_id_of([*_sameness(made), str(int(made.at // WINDOW_SECONDS))]))


def id_of_call(token_digest: bytes, tenant_id: int) -> str:
    """The id of an access token's first call: the same in every process that sees one."""
    return _id_of(["call", str(tenant_id), hashlib.sha256(b"first call" + token_digest).hexdigest()])


def encode(step: Step) -> bytes:
    """The step as it is kept, without its id and count."""
    kept = {name: getattr(step, name) for name in _FIELDS if getattr(step, name)}
    return orjson.dumps(kept)


def decode(body: bytes, *, step_id: str, again: int) -> Step:
    """A kept step. Raises ``ValueError`` for what a newer Marina may have kept."""
    found: dict[str, Any] = orjson.loads(body)
    kept = {name: found[name] for name in _FIELDS if name in found}
    kept["kind"] = Kind(kept["kind"])
    kept.setdefault("ok", False)
    return Step(**kept, id=step_id, again=again)


_FIELDS: Final = tuple(name for name in Step.__dataclass_fields__ if name not in {"id", "again"})


def _sameness(step: Step) -> list[str]:
    asked = [f"{name}={value}" for name, value in sorted(step.asked.items())]
    marks = [step.member, step.grant, step.code_mark, step.consent_mark]
    return [step.kind, str(step.ok), *step.source, step.client_id, step.code, step.why, *marks, *asked]


def _id_of(parts: list[str]) -> str:
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).digest()
    return str(uuid.UUID(bytes=digest[:16]))
