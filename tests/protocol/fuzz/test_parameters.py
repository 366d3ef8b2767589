"""Each parameter of each method, missing or of another type, is refused by its name, in each era."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from servers.endpoint.methods import METHODS
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.wire import NAMED, Connection, Target

ANY: tuple[Any, ...] = (None, True, 5, 1.5, "x", [], {})
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "object": (dict,),
    "boolean": (bool,),
    "strings": (list,),
    "token": (str, int),
}
META = "io.modelcontextprotocol/"


@dataclass(frozen=True)
class Parameter:
    """One parameter by its path; ``optional`` ones may be left out, and then ``null`` counts as left out."""

    path: tuple[str, ...]
    kind: str
    optional: bool = False

    @property
    def wrong(self) -> Iterator[Any]:
        for value in ANY:
            fits = isinstance(value, TYPES[self.kind]) and not (
                isinstance(value, bool) and self.kind != "boolean"
            )
            if not fits and not (self.optional and value is None):
                yield value


def p(path: str, kind: str, *, optional: bool = False) -> Parameter:
    return Parameter(tuple(path.split(" ")), kind, optional)


REF = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
ROUNDS = (p("requestState", "string", optional=True), p("inputResponses", "object", optional=True))
LIST: tuple[dict[str, Any], tuple[Parameter, ...]] = ({}, (p("cursor", "string", optional=True),))
URI = ({"uri": "test://watched-resource"}, (p("uri", "string"),))
DECLARED: dict[str, Any] = {f"{META}clientCapabilities": {"extensions": {f"{META}tasks": {}}}}
TASK: tuple[dict[str, Any], tuple[Parameter, ...]] = (
    {"taskId": "none", "_meta": DECLARED},
    (p("taskId", "string"),),
)
CASES: dict[str, tuple[dict[str, Any], tuple[Parameter, ...]]] = {
    "initialize": (
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "f", "version": "1"}},
        (p("protocolVersion", "string"), p("capabilities", "object"), p("clientInfo", "object")),
    ),
    "ping": ({}, ()),
    "logging/setLevel": ({"level": "info"}, (p("level", "string"),)),
    "server/discover": ({}, ()),
    "tools/list": LIST,
    "tools/call": (
        {"name": "test_simple_text", "arguments": {}},
        (p("name", "string"), p("arguments", "object", optional=True)),
    ),
    "resources/list": LIST,
    "resources/templates/list": LIST,
    "resources/read": URI,
    "resources/subscribe": URI,
    "resources/unsubscribe": URI,
    "prompts/list": LIST,
    "prompts/get": (
        {"name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "b"}},
        (
            p("name", "string"),
            p("arguments", "object"),
            p("arguments arg1", "string"),
            p("arguments arg2", "string"),
        ),
    ),
    "completion/complete": (
        {
            "ref": REF,
            "argument": {"name": "arg1", "value": "p"},
            "context": {"arguments": {"arg2": "x"}},
        },
        (
            p("ref", "object"),
            p("ref type", "string"),
            p("ref name", "string"),
            p("argument", "object"),
            p("argument name", "string"),
            p("argument value", "string"),
            p("context", "object", optional=True),
            p("context arguments", "object", optional=True),
        ),
    ),
    "subscriptions/listen": (
        {"notifications": {"toolsListChanged": True}},
        (
            p("notifications", "object"),
            p("notifications toolsListChanged", "boolean", optional=True),
            p("notifications promptsListChanged", "boolean", optional=True),
            p("notifications resourcesListChanged", "boolean", optional=True),
            p("notifications resourceSubscriptions", "strings", optional=True),
        ),
    ),
    "tasks/get": TASK,
    "tasks/update": (
        {**TASK[0], "inputResponses": {}},
        (*TASK[1], p("inputResponses", "object")),
    ),
    "tasks/cancel": TASK,
}
EVERY = (p("_meta progressToken", "token", optional=True),)
EVERY_MODERN = (
    *EVERY,
    p(f"_meta {META}clientCapabilities", "object"),
    p(f"_meta {META}clientInfo", "object"),
    p(f"_meta {META}logLevel", "string", optional=True),
)
MANY_ROUNDS = {"tools/call", "prompts/get", "resources/read"}
ERAS = [
    (name, modern)
    for name, method in METHODS.items()
    for modern in (False, True)
    if (method.modern if modern else method.legacy)
]


def test_every_method_is_here() -> None:
    assert CASES.keys() == METHODS.keys()


@pytest.mark.parametrize(
    ("method", "modern"), ERAS, ids=[f"{n} {'modern' if m else 'legacy'}" for n, m in ERAS]
)
def test_each_parameter_is_refused_by_its_name(target: Target, method: str, modern: bool) -> None:
    params, parameters = CASES[method]
    chosen = target if modern or method == "initialize" else target.begun()
    every = EVERY_MODERN if modern else EVERY
    rounds = ROUNDS if modern and method in MANY_ROUNDS else ()
    with chosen.connect() as connection:
        for parameter in (*parameters, *rounds, *every):
            for value in parameter.wrong:
                refused(
                    connection, chosen, method, with_value(params, parameter.path, value), parameter, modern
                )
            if not parameter.optional and parameter.path[0] != "_meta":
                refused(connection, chosen, method, without(params, parameter.path), parameter, modern)


def refused(
    connection: Connection, target: Target, method: str, params: Any, parameter: Parameter, modern: bool
) -> None:
    if modern:
        meta = params.pop("_meta", {})
        request = target.modern(method, params, **meta).but(accept="application/json, text/event-stream")
    else:
        request = target.legacy(method, params)
    answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    shown = (method, parameter.path, params, answer.status, answer.body[:400])
    assert "error" in answer.json, shown
    assert answer.status == (400 if modern else 200), shown
    if parameter.path == (NAMED.get(method),) and modern and answer.error["code"] == -32020:
        # A name that is no string cannot be in the header either.
        return
    assert answer.error["code"] == -32602, shown
    assert parameter.path[-1] in answer.error["message"], shown


def with_value(params: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    inner = params if isinstance(params, dict) else {}
    return {**inner, path[0]: with_value(inner.get(path[0], {}), path[1:], value)}


def without(params: Any, path: tuple[str, ...]) -> Any:
    if len(path) == 1:
        return {name: value for name, value in params.items() if name != path[0]}
    return {**params, path[0]: without(params[path[0]], path[1:])}
