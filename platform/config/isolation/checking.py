"""Sends what the check asks to a running Marina, and says what came of it. Judges, and changes nothing itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx2
from django.conf import settings

from config.isolation.attempt import Attempt, Request
from config.isolation.attempts import HELLO, LEGACY, message
from config.isolation.teams import CheckedTeam

SECONDS: Final = 30.0

_TOO_OFTEN: Final = 429
_NOTHING: Final = frozenset({302, 401, 403})
"""What a credential that does not work is answered with."""

_SHOWN: Final = 300
_UNLIKE: Final = frozenset(
    {
        "x-request-id",
        "date",
        "expires",
        "set-cookie",
        "content-length",
        "etag",
        "mcp-session-id",
        "retry-after",
    }
)
_TOKEN: Final = re.compile(r'(name="csrfmiddlewaretoken" value=")[^"]+"|(data-csrf=")[^"]+"')
_REQUEST_ID: Final = re.compile(r'("request_id":\s*")[^"]*"')
_LEAVES_OUT: Final = 32
"""Characters of a CSRF secret."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer that was not as it must be."""

    attempt: str
    request: str
    problem: str

    def __str__(self) -> str:
        return f"{self.attempt}\n  {self.request}\n  {self.problem}"


@dataclass(slots=True)
class Report:
    """How many attempts were made, and what they found."""

    attempts: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    text: str


def begin_session(base_url: str, team: CheckedTeam) -> str:
    """Begin an MCP session as this team. Raises ``httpx2.HTTPError``."""
    with httpx2.Client(base_url=base_url, timeout=SECONDS, trust_env=False) as client:
        asked = message(f"/mcp/{team.slug}", team.key, "initialize", LEGACY, HELLO)
        answer = client.post(asked.path, headers=dict(asked.headers), json=asked.body).raise_for_status()
        return answer.headers["mcp-session-id"]


def check(
    base_url: str, attempts: Iterable[Attempt], *, tell: Callable[[Finding], None] | None = None
) -> Report:
    """Make every attempt at ``base_url``. ``tell`` hears of a finding as it comes. Raises ``httpx2.HTTPError``."""
    report = Report()
    # One connection at a time and no cookies of its own: each request carries what it is asked with.
    with httpx2.Client(base_url=base_url, timeout=SECONDS, trust_env=False, follow_redirects=False) as client:
        for attempt in attempts:
            report.attempts += 1
            for finding in _judge(client, attempt):
                report.findings.append(finding)
                if tell is not None:
                    tell(finding)
    return report


def _judge(client: httpx2.Client, attempt: Attempt) -> Iterable[Finding]:
    asked = attempt.asked
    answer = _send(client, asked)
    shown = f"{asked.method} {asked.path}"
    if answer.status >= 500:
        yield Finding(attempt.name, shown, f"It was answered with {answer.status}.")
    leaked = [mark for mark in attempt.hidden if mark in answer.text]
    if leaked:
        yield Finding(attempt.name, shown, f"The answer shows what is the other team's: {', '.join(leaked)}.")
    if answer.status == _TOO_OFTEN:
        yield Finding(
            attempt.name, shown, "It was answered with 429: the check is locked out, this proves nothing."
        )
    if attempt.like is None:
        if attempt.expects and answer.status != attempt.expects:
            yield Finding(
                attempt.name,
                shown,
                f"A team's own request got {answer.status}, not {attempt.expects}: something of "
                "it was ended, or this proves nothing.",
            )
        elif not attempt.expects and answer.status in _NOTHING:
            yield Finding(
                attempt.name, shown, f"Our own credentials got {answer.status}: this proves nothing."
            )
        return
    like = _send(client, attempt.like)
    mine, theirs = (_like(each, attempt.words) for each in (answer, like))
    if mine != theirs:
        what = next(
            name for name in ("status", "headers", "text") if getattr(mine, name) != getattr(theirs, name)
        )
        yield Finding(
            attempt.name,
            shown,
            f"It tells the other team's from what is not there, by its {what}: {_differing(mine, theirs, what)}",
        )


def _send(client: httpx2.Client, request: Request) -> _Answer:
    headers = dict(request.headers)
    cookies = []
    if request.session:
        secret = "a" * _LEAVES_OUT
        cookies = [
            f"{settings.SESSION_COOKIE_NAME}={request.session}",
            f"{settings.CSRF_COOKIE_NAME}={secret}",
        ]
        headers |= {
            "X-CSRFToken": secret,
            "Referer": f"{client.base_url}",
            "Origin": f"{client.base_url}".rstrip("/"),
        }
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    client.cookies.clear()
    data = None if request.form is None else dict(request.form)
    sent = client.build_request(request.method, request.path, headers=headers, json=request.body, data=data)
    answer = client.send(sent, stream=True)
    try:
        is_endless = answer.headers.get("content-type", "").startswith("text/event-stream")
        text = "" if is_endless else answer.read().decode("utf-8", "replace")
    finally:
        answer.close()
    kept = {name: value for name, value in answer.headers.items() if name not in _UNLIKE}
    return _Answer(answer.status_code, kept, text.replace(answer.headers.get("x-request-id", "\0"), ""))


def _like(answer: _Answer, words: Iterable[tuple[str, str]]) -> _Answer:
    """The answer less what differs for each request by design, and in the words of the other."""

    def plain(text: str) -> str:
        for word, other in words:
            text = text.replace(word, other)
        return text

    text = _REQUEST_ID.sub(r"\1", _TOKEN.sub("", answer.text))
    return _Answer(answer.status, {name: plain(value) for name, value in answer.headers.items()}, plain(text))


def _differing(mine: _Answer, theirs: _Answer, what: str) -> str:
    first, second = str(getattr(mine, what)), str(getattr(theirs, what))
    at = next((place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    begin = max(0, at - 40)
    return f"{first[begin : begin + _SHOWN]!r} instead of {second[begin : begin + _SHOWN]!r}"
