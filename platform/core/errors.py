"""The one error tree. Services raise it, surfaces (REST, pages, MCP) translate it.

    MarinaError                 500  internal
    ├── InvalidInput            400  invalid_input        errors=[{path, message}]
    ├── Unauthenticated         401  unauthenticated
    ├── Forbidden               403  forbidden            rule=<which rule refused>
    ├── NotFound                404  not_found            same for foreign and unknown ids
    ├── Conflict                409  conflict
    ├── Gone                    410  gone                 it was there, and is not any more
    ├── TooSlow                 408  too_slow             retryable
    ├── TooLarge                413  too_large
    ├── RateLimited             429  rate_limited         retryable, after retry_after seconds
    ├── Unavailable             503  unavailable          retryable
    └── SourceError             502  source_*             a data source answered with a fault

A message is written for the person who reads it: the cause first, then the next step. It never holds
the text of a foreign exception, a secret, or another tenant's data. What it quotes of the input is made
readable here, for all surfaces: names of ten thousand letters are cut, hidden characters are written out.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from core.readable import readable

MAX_MESSAGE: Final = 2_000
MAX_PATH: Final = 300
"""Characters of what is said of an error, and of a place in the input."""


class MarinaError(Exception):
    """Base of every error that Marina raises on purpose.

    Attributes:
        code: stable, machine-readable, part of the public contract.
        message: one or two sentences for a person: cause, then next step.
        data: named details that are safe to show to the caller.
        retryable: whether the same request may succeed later, unchanged.
        status: the HTTP status (RFC 9110) of surfaces that speak HTTP.
    """

    code: str = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        data: dict[str, Any] | None = None,
        retryable: bool = False,
    ) -> None:
        self.message = readable(message, MAX_MESSAGE)
        super().__init__(self.message)
        self.data: dict[str, Any] = data or {}
        self.retryable = retryable
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # By what it holds: what it was made of says less, and each kind is made of other things.
        return _made_again, (type(self), self.args), vars(self)


def _made_again(kind: type[MarinaError], args: tuple[Any, ...]) -> MarinaError:
    return kind.__new__(kind, *args)


class InvalidInput(MarinaError):
    """The caller's input breaks a rule. ``errors`` names each place (a dotted or JSON-pointer path)."""

    code = "invalid_input"
    status = 400
    title = "Invalid input"

    def __init__(
        self,
        message: str,
        *,
        errors: list[dict[str, str]] | None = None,
        code: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, data=data)
        self.errors: list[dict[str, str]] = [
            {
                **each,
                "path": readable(each["path"], MAX_PATH),
                "message": readable(each["message"], MAX_MESSAGE),
            }
            for each in errors or ()
        ]


class Unauthenticated(MarinaError):
    """No credential, or one that is malformed, unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "Not signed in"


class Forbidden(MarinaError):
    """The caller is known but a rule refuses. ``rule`` names it and goes into the record."""

    code = "forbidden"
    status = 403
    title = "Not allowed"

    def __init__(
        self, message: str, *, rule: str, code: str | None = None, data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code, data={"rule": rule, **(data or {})})
        self.rule = rule


class NotFound(MarinaError):
    """There is no such thing for this caller: it is unknown, or belongs to another tenant (same answer)."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(MarinaError):
    """The request does not fit the present state (a name that is taken, a version that moved on)."""

    code = "conflict"
    status = 409
    title = "Conflict"


class Gone(MarinaError):
    """What was asked for had its time, and is not there any more."""

    code = "gone"
    status = 410
    title = "Not there any more"


class TooSlow(MarinaError):
    """A request did not arrive within the time that it may take."""

    code = "too_slow"
    status = 408
    title = "Too slow"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, retryable=True)


class TooLarge(MarinaError):
    """A body or a result is over its stated limit."""

    code = "too_large"
    status = 413
    title = "Too large"


class RateLimited(MarinaError):
    """The caller asks too often. ``retry_after`` says in how many whole seconds the next request is let through."""

    code = "rate_limited"
    status = 429
    title = "Too many requests"

    def __init__(self, message: str, *, retry_after: int, rule: str, code: str | None = None) -> None:
        super().__init__(message, code=code, data={"rule": rule, "retry_after": retry_after}, retryable=True)
        self.retry_after = retry_after


class Unavailable(MarinaError):
    """Marina cannot do this now (the log cannot be written, a queue is full). Retrying later helps."""

    code = "unavailable"
    status = 503
    title = "Not available now"

    def __init__(self, message: str, *, code: str | None = None, data: dict[str, Any] | None = None) -> None:
        super().__init__(message, code=code, data=data, retryable=True)


class SourceError(MarinaError):
    """A data source failed or refused. ``code`` says how:

    ``source_unreachable``, ``source_auth``, ``source_missing`` (no such database, host or path),
    ``source_timeout``, ``source_denied`` (privileges), ``query_invalid`` (with ``data.position``,
    1-based, in characters), ``query_refused`` (Marina's own rules), ``result_too_large``.
    """

    code = "source_failed"
    status = 502
    title = "The data source failed"
