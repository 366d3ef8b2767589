"""Documents of real APIs become tools: those of GitHub, Figma, Directus, FastAPI and Marina, whole and unmodified."""

from __future__ import annotations

import re

import jsonschema_rs
import orjson
import pytest

from servers.execution.backends.http.definitions import compile_http_tool
from servers.execution.backends.http.openapi.conversion import INPUT_BYTES, OUTPUT_BYTES
from servers.execution.backends.http.requests import build_request
from servers.services.bounds import MAX_DEFINITION_BYTES, MAX_SCHEMA_BYTES
from tenants.services.inputs import check_json, clean_text
from tests.servers.execution.http.openapi.published import DOCUMENTS, imported


@pytest.mark.parametrize(
    ("name", "count", "base_url", "auth"),
    [
        ("github", 1223, "https://api.github.com", {"auth": "none"}),
        ("figma", 54, "https://api.figma.com", {"auth": "api_key", "key_header": "X-Figma-Token"}),
        ("directus", 136, "", {"auth": "bearer"}),
        ("fastapi", 11, "https://yard.example", {"auth": "bearer"}),
        ("marina", None, "https://marina.example", {"auth": "bearer"}),
    ],
)
def test_document_is_read_whole(name: str, count: int | None, base_url: str, auth: dict[str, str]) -> None:
    document = imported(name)
    assert document.base_url == base_url
    assert document.sign_ins[0].settings() == auth
    assert len(document.operations) == count if count else len(document.operations) > 50
    problems = {each.key: each.problem for each in document.operations if each.tool is None}
    # The one that GitHub serves from another host.
    assert len(problems) == (1 if name == "github" else 0), problems
    assert all("a server of its own" in problem for problem in problems.values())


@pytest.mark.parametrize("name", [*DOCUMENTS, "fastapi", "marina"])
def test_every_tool_can_be_stored_as_it_is(name: str) -> None:
    tools = [each.tool for each in imported(name).operations if each.tool is not None]
    assert len({tool.name.lower() for tool in tools}) == len(tools)
    for tool in tools:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", tool.name)
        clean_text(tool.title, "title", longest=200, empty=True)
        clean_text(tool.description, "description", longest=8_000)
        check_json(tool.input_schema, "schema", largest=MAX_SCHEMA_BYTES)
        check_json(tool.output_schema, "schema", largest=MAX_SCHEMA_BYTES)
        check_json(tool.operation.definition, "definition", largest=MAX_DEFINITION_BYTES)
        compile_http_tool(tool.operation.definition)
        assert len(orjson.dumps(tool.input_schema)) < INPUT_BYTES * 1.5
        assert len(orjson.dumps(tool.output_schema)) < OUTPUT_BYTES * 2
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", each) for each in tool.input_schema["properties"])


def test_call_of_github_becomes_the_request_that_github_documents() -> None:
    tools = {each.name: each.tool for each in imported("github").operations}
    tool = tools["issues_create"]
    assert tool is not None
    arguments = {"owner": "octo cat", "repo": "a/b", "body": {"title": "Found a bug", "labels": ["bug"]}}
    assert jsonschema_rs.validator_for(dict(tool.input_schema)).is_valid(arguments)
    assert not jsonschema_rs.validator_for(dict(tool.input_schema)).is_valid(
        {"owner": "o", "repo": "r", "body": {}}
    )
    request = build_request(tool.operation.definition, arguments, "https://api.github.com")
    assert (request.method, request.url) == ("POST", "https://api.github.com/repos/octo%20cat/a%2Fb/issues")
    assert orjson.loads(request.body or b"") == arguments["body"]
    assert tool.output_schema is not None
    assert "html_url" in str(tool.output_schema)


def test_marinas_own_document_makes_tools_that_manage_marina() -> None:
    tools = {each.key: each.tool for each in imported("marina").operations}
    tool = tools["POST /api/v1/tenants/{tenant}/tools"]
    assert tool is not None
    arguments = {
        "tenant": "demo",
        "body": {"name": "t", "source": "s", "kind": "sql", "definition": {"sql": "SELECT 1"}},
    }
    assert jsonschema_rs.validator_for(dict(tool.input_schema)).is_valid(arguments)
    request = build_request(tool.operation.definition, arguments, "https://marina.example")
    assert request.url == "https://marina.example/api/v1/tenants/demo/tools"
