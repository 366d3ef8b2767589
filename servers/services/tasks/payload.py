"""What a task is to run and for whom, and what came of it, as its row holds it sealed. Pure: reads no row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import orjson

from core import errors
from core.errors import Forbidden, InvalidInput, MarinaError, RateLimited
from servers.execution.contract import Ask, LogLevel, Outcome, Trace
from tenants.access import Caller
from tenants.roles import Action, Role


@dataclass(frozen=True, slots=True)
class Work:
    """What a task is to run: one call, as it was let through. ``capabilities`` are what its client declared.

    ``kept`` and ``answers`` are of the rounds before: what the tool kept, and what the client answered by key.
    """

    caller: Caller
    server: str
    tool: str
    version: int
    arguments: Mapping[str, Any]
    client: str
    request_id: str
    trace: Trace | None
    capabilities: Mapping[str, Any]
    log_level: LogLevel | None
    schedule: str = ""
    """The id of the schedule that made the call."""

    def to_bytes(self) -> bytes:
        """As it is sealed."""
        plain = {**_plain(self), "caller": _caller_to_json(self.caller)}
        if not self.schedule:
            # Workers of the former release know no such member, and take these tasks while a new one is rolled out.
            del plain["schedule"]
        return _dump(plain)

    @classmethod
    def from_bytes(cls, clear: bytes) -> Work:
        """The other direction of ``to_bytes``."""
        given = _load(clear)
        trace = given["trace"]
        return cls(
            **{
                **given,
                "caller": _caller_from_json(given["caller"]),
                "trace": None if trace is None else Trace(trace["id"], trace["carried"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """What the client answered so far, by the key of the question in the tool's own words, and what the tool kept.

    ``used`` are the keys under which the client was asked: none comes twice (SEP-2663, "Task Polling").
    ``names`` leads from those that are open to the tool's own.
    """

    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: str = ""
    used: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return _dump(_plain(self))

    @classmethod
    def from_bytes(cls, clear: bytes) -> Answers:
        return cls(**_load(clear))


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run came to: the log's word for it, the task's (``Task.Status``), and what its caller gets.

    ``error`` is set where it is no success: of a rule (``Forbidden``, ``NotFound``), of the input or the source.
    ``asks`` and ``kept`` are of one that ended to ask the client.
    """

    outcome: str
    status: str
    structured: Any = None
    text: str = ""
    content: Sequence[Mapping[str, Any]] | None = None
    meta: Mapping[str, Any] | None = None
    rows: int | None = None
    size: int = 0
    truncated: bool = False
    failed: bool = False
    duration_us: int = 0
    error: Mapping[str, Any] | None = None
    asks: Mapping[str, Ask] = field(default_factory=dict)
    kept: str = ""

    @property
    def produced(self) -> Outcome | None:
        """What the tool gave, where it gave something."""
        if self.error is not None and not self.failed:
            return None
        return Outcome(
            self.structured,
            self.text,
            rows=self.rows,
            size=self.size,
            truncated=self.truncated,
            content=self.content,
            failed=self.failed,
            meta=self.meta,
        )

    def raised(self) -> MarinaError | None:
        """The error as it was raised."""
        return None if self.error is None else error_from_json(self.error)

    def to_bytes(self) -> bytes:
        return _dump(_plain(self))

    @classmethod
    def from_bytes(cls, clear: bytes) -> Ended:
        given = _load(clear)
        asks = {key: Ask(**ask) for key, ask in given["asks"].items()}
        return cls(**{**given, "asks": asks})


def error_to_json(error: MarinaError) -> dict[str, Any]:
    """An error of ours, so that another process can raise the same."""
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == errors.__name__)
    told: dict[str, Any] = {
        "kind": kind,
        "code": error.code,
        "message": error.message,
        "data": error.data,
        "retryable": error.retryable,
    }
    if isinstance(error, InvalidInput):
        told["errors"] = error.errors
    return told


def error_from_json(told: Mapping[str, Any]) -> MarinaError:
    """The other direction of ``error_to_json``."""
    kind = getattr(errors, str(told["kind"]))
    # Each kind is made in its own way, and all of it is known.
    error: MarinaError = kind.__new__(kind)
    MarinaError.__init__(
        error,
        str(told["message"]),
        code=None if told["code"] == kind.code else told["code"],
        data=dict(told["data"]),
        retryable=bool(told["retryable"]),
    )
    if isinstance(error, InvalidInput):
        error.errors = list(told.get("errors", ()))
    elif isinstance(error, Forbidden):
        error.rule = str(error.data.get("rule", ""))
    elif isinstance(error, RateLimited):
        error.retry_after = int(error.data.get("retry_after", 1))
    return error


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_as_json)
    except TypeError:
        # orjson refuses integers beyond 64 bits and lone surrogates; json writes them.
        return json.dumps(value, default=_as_json).encode()


def _load(clear: bytes) -> Any:
    try:
        return orjson.loads(clear)
    except orjson.JSONDecodeError:
        return json.loads(clear)


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _caller_to_json(caller: Caller) -> dict[str, Any]:
    given = {name: getattr(caller, name) for name in Caller.__dataclass_fields__}
    return {
        **given,
        "scopes": sorted(caller.scopes),
        "actions": None if caller.actions is None else sorted(caller.actions),
        "networks": None if caller.networks is None else [str(network) for network in caller.networks],
    }


def _caller_from_json(given: Mapping[str, Any]) -> Caller:
    actions, networks, role = given["actions"], given["networks"], given["role"]
    return Caller(
        **{
            **given,
            "credential_id": _uuid(given["credential_id"]),
            "issuer_id": _uuid(given["issuer_id"]),
            "role": None if role is None else Role(role),
            "scopes": frozenset(given["scopes"]),
            "actions": None if actions is None else frozenset(Action(each) for each in actions),
            "networks": None if networks is None else tuple(ip_network(each) for each in networks),
            "expires_at": _moment(given["expires_at"]),
            "access_ends_at": _moment(given["access_ends_at"]),
        }
    )


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Ask | Trace):
        return asdict(value)
    return (
        list(value) if isinstance(value, Sequence | frozenset) and not isinstance(value, str) else str(value)
    )
