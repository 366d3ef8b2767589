"""No name of the corpus becomes the name of anything: each is refused in a few plain words, over REST and on pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pytest

from tests.corpora.names import CASES, HIDDEN, LOOKALIKES, NOWHERE, is_plain
from tests.factories import Team, make_team
from tests.rest import Rest

MOST_WORDS = 2_000
"""Characters of any text in an answer."""
MOST_BYTES = 16_000
"""Of a whole answer."""


@pytest.fixture(scope="module")
def team(database: None) -> Team:
    team = make_team()
    rest = Rest.admin(team)
    for body in (
        {"name": "http", "kind": "http", "settings": {"base_url": "https://api.example.com"}},
        {"name": "code", "kind": "code", "settings": {}},
        {"name": "flows", "kind": "flows", "settings": {}},
        {"name": "toolkit", "kind": "toolkit", "settings": {}},
        {"name": "notes", "kind": "handmade", "settings": {}},
    ):
        assert rest.post(f"/tenants/{team.slug}/data-sources", body).status == 201
    return team


@pytest.fixture(scope="module")
def rest(team: Team) -> Rest:
    return Rest.admin(team)


Body = tuple[str, dict[str, Any]]
"""Where it is posted, and what."""


def source(**given: Any) -> Body:
    return "data-sources", {"name": "plain", "kind": "toolkit", "settings": {}, **given}


def api(**settings: Any) -> Body:
    return source(kind="http", settings={"base_url": "https://api.example.com", **settings})


def tool(**given: Any) -> Body:
    return "tools", {
        "name": "plain",
        "source": "code",
        "kind": "python",
        "definition": {"code": "1"},
        **given,
    }


def python(**more: Any) -> Body:
    return tool(definition={"code": "1", **more})


def http(**more: Any) -> Body:
    return tool(source="http", kind="http", definition={"method": "GET", "path": "/a", **more})


def pipeline(parameters: Mapping[str, Any] | None = None, **more: Any) -> Body:
    step = {"tool": "calculate", "args": {"expression": "1"}, **more}
    return tool(source="flows", kind="pipeline", definition={"parameters": parameters or {}, "steps": [step]})


def prompt(**given: Any) -> Body:
    return "prompts", {"name": "plain", "messages": [{"text": "Hello"}], **given}


def result(tool: str) -> dict[str, Any]:
    return {"tool": tool, "arguments": {"expression": "1"}}


def resource(uri: str, **given: Any) -> Body:
    return "resources", {"uri": uri, **(given or {"text": "x"})}


def file(**sections: Any) -> Body:
    return "configuration/plan", {"configuration": json.dumps({"marina": 1, **sections})}


ROUTES: Mapping[str, tuple[Callable[[str], Body], str]] = {
    "a source": (lambda name: source(name=name), "fine"),
    "a source's kind": (lambda name: source(kind=name), "toolkit"),
    "a source's setting": (lambda name: api(**{name: 5}), "timeout"),
    "a tool": (lambda name: tool(name=name), "fine"),
    "a tool's source": (lambda name: tool(source=name), "code"),
    "a tool's kind": (lambda name: tool(kind=name), "python"),
    "a member of a definition": (lambda name: python(**{name: "x"}), "title"),
    "a parameter of Python": (lambda name: python(parameters={name: {"type": "string"}}), "fine"),
    "a tool that Python calls": (lambda name: python(tools=[name]), "calculate"),
    "a parameter of HTTP": (lambda name: http(parameters={name: {"type": "string"}}), "fine"),
    "a header of HTTP": (lambda name: http(headers={name: "1"}), "X-Fine"),
    "a parameter of a pipeline": (lambda name: pipeline({name: {"type": "string"}}), "fine"),
    "a variable of a pipeline": (lambda name: pipeline(output=name), "fine"),
    "a tool of a pipeline": (lambda name: pipeline(tool=name), "calculate"),
    "an argument of a pipeline": (lambda name: pipeline(args={name: "1"}), "expression"),
    "a server": (lambda name: ("servers", {"slug": name, "title": "Plain"}), "fine"),
    "a server's source": (
        lambda name: ("servers", {"slug": "plain", "title": "Plain", "sources": [name]}),
        "http",
    ),
    "a prompt": (lambda name: prompt(name=name), "fine"),
    "a prompt's argument": (lambda name: prompt(arguments=[{"name": name}]), "fine"),
    "a prompt's tool": (
        lambda name: prompt(results={"x": result(name)}, messages=[{"text": "${x}"}]),
        "calculate",
    ),
    "a prompt's result": (
        lambda name: prompt(results={name: result("calculate")}, messages=[{"text": f"${{{name}}}"}]),
        "fine",
    ),
    "a resource": (resource, "notes://fine"),
    "a resource's scheme": (lambda name: resource(f"{name}://x"), "fine"),
    "a resource's variable": (lambda name: resource(f"notes://a/{{{name}}}"), "fine"),
    "a resource's tool": (lambda name: resource("notes://b/{a}", result=result(name)), "calculate"),
    "a secret": (lambda name: ("secrets", {"name": name, "value": "hush"}), "fine"),
    "a scope of a key": (lambda name: ("api-keys", {"name": "plain", "scopes": [name]}), "tools:read"),
    "a section of a file": (lambda name: file(**{name: {}}), "sources"),
    "a source of a file": (lambda name: file(sources={name: {"kind": "toolkit"}}), "more"),
    "a tool of a file": (
        lambda name: file(tools={name: {"source": "code", "kind": "python", "definition": {"code": "1"}}}),
        "more",
    ),
    "a server of a file": (lambda name: file(servers={name: {"title": "x"}}), "more"),
    "a prompt of a file": (
        lambda name: file(prompts={name: {"source": "notes", "messages": [{"text": "x"}]}}),
        "more",
    ),
    "a resource of a file": (
        lambda name: file(resources={name: {"source": "notes", "text": "x"}}),
        "notes://more",
    ),
}
"""What has a name, or names something: how it is made, and a name that is taken."""


def body_of(value: Any) -> bytes:
    """As JSON, half of a surrogate pair too."""
    return json.dumps(value).encode()


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)


def test_the_corpus_has_more_than_fifty_names() -> None:
    assert len(CASES) == len(set(CASES.values())) >= 50


def post(rest: Rest, team: Team, made: Body) -> Any:
    path, body = made
    return rest.client.post(
        f"/api/v1/tenants/{team.slug}/{path}",
        body_of(body),
        content_type="application/json",
        headers=rest.headers,
    )


def faults_of(answer: bytes) -> str:
    """What is wrong with the words of an answer."""
    texts = list(texts_in(orjson.loads(answer)))
    if len(answer) > MOST_BYTES or any(len(text) > MOST_WORDS for text in texts):
        return "long"
    return "" if all(map(is_plain, texts)) else "hidden"


@pytest.mark.parametrize("route", ROUTES)
def test_a_name_is_refused_in_few_and_plain_words(rest: Rest, team: Team, route: str) -> None:
    make, _ = ROUTES[route]
    wrong = []
    for title, name in CASES.items():
        answer = post(rest, team, make(name))
        if answer.status_code != 400 or faults_of(answer.content):
            wrong.append((title, answer.status_code, faults_of(answer.content), ascii(answer.content[:300])))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("route", ROUTES)
def test_a_plain_name_is_taken(rest: Rest, team: Team, route: str) -> None:
    make, name = ROUTES[route]
    path, body = make(name)
    body = orjson.loads(body_of(body).replace(b'"plain"', f'"plain-{[*ROUTES].index(route)}"'.encode()))
    answer = post(rest, team, (path, body))
    assert answer.status_code in (200, 201), answer.content


TITLES: Mapping[str, Callable[[str], Body]] = {
    "a server's title": lambda title: ("servers", {"slug": "plain", "title": title}),
    "a server's instructions": lambda title: (
        "servers",
        {"slug": "plain", "title": "Plain", "instructions": title},
    ),
    "a tool's title": lambda title: tool(title=title),
    "a tool's description": lambda title: tool(description=title),
    "a definition's title": lambda title: python(title=title),
    "a definition's description": lambda title: http(description=title),
    "a prompt's title": lambda title: prompt(title=title),
    "a prompt's description": lambda title: prompt(description=title),
    "an argument's description": lambda title: prompt(arguments=[{"name": "a", "description": title}]),
    "a resource's title": lambda title: resource("notes://t", text="x", title=title),
    "a resource's description": lambda title: resource("notes://t", text="x", description=title),
    "a key's name": lambda title: ("api-keys", {"name": title, "scopes": ["tools:read"]}),
}
"""Texts in any script."""


@pytest.mark.parametrize("route", TITLES)
def test_a_title_holds_nothing_hidden(rest: Rest, team: Team, route: str) -> None:
    wrong = []
    for case in (*NOWHERE, "ten thousand hidden characters"):
        answer = post(rest, team, TITLES[route](CASES[case]))
        if answer.status_code != 400 or faults_of(answer.content):
            wrong.append((case, answer.status_code, ascii(answer.content[:300])))
    assert not wrong, "\n".join(map(str, wrong))


def test_a_list_of_servers_elsewhere_names_them_in_plain_words(rest: Rest, team: Team) -> None:
    names = {*LOOKALIKES.values(), *HIDDEN.values()} - {HIDDEN["half a pair"]}
    escaped = ("".join(f"\\U{ord(letter):08x}" for letter in name) for name in names)
    text = "\n".join(["mcpServers:", *(f'  "{name}": {{}}' for name in escaped)])
    answer = post(rest, team, ("configuration/plan", {"configuration": text}))
    assert answer.status_code == 200, answer.content
    notes = answer.json()["notes"]
    assert len(notes) >= 50
    assert all(len(note) < 300 and is_plain(note) for note in notes)
