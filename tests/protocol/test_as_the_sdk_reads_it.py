"""What the endpoint reads itself, beside the SDK: the same names and numbers, and the same verdict on any message."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import mcp_types
import mcp_types.version
import pytest
from hypothesis import given
from hypothesis import strategies as some
from mcp.shared import inbound

from servers.endpoint import eras, mirroring, specification
from servers.endpoint.specification import CLIENT_CAPABILITIES, PROTOCOL_VERSION
from servers.endpoint.wire import RpcError

VERSION = "2026-07-28"
WORDS = some.sampled_from(
    ["", "echo", "tools/call", "tools/list", "resources/read", " x", "=?base64?x?=", "größe"]
)
VERSIONS = some.sampled_from([VERSION, "2025-11-25", "2099-01-01", ""])
ENCODED = some.sampled_from(
    ["echo", "=?base64?ZWNobw==?=", "=?base64?ZWNobx==?=", "=?base64?_?=", "=?base64?/w==?=", ""]
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (specification.HANDSHAKE_VERSIONS, mcp_types.version.HANDSHAKE_PROTOCOL_VERSIONS),
        (specification.MODERN_VERSIONS, mcp_types.version.MODERN_PROTOCOL_VERSIONS),
        (specification.LATEST_HANDSHAKE_VERSION, mcp_types.version.LATEST_HANDSHAKE_VERSION),
        (specification.PROTOCOL_VERSION, mcp_types.PROTOCOL_VERSION_META_KEY),
        (specification.CLIENT_INFO, mcp_types.CLIENT_INFO_META_KEY),
        (specification.CLIENT_CAPABILITIES, mcp_types.CLIENT_CAPABILITIES_META_KEY),
        (specification.SERVER_INFO, mcp_types.SERVER_INFO_META_KEY),
        (specification.LOG_LEVEL, mcp_types.LOG_LEVEL_META_KEY),
        (specification.MIRRORING, inbound.X_MCP_HEADER_KEY),
        (specification.PARSE_ERROR, mcp_types.PARSE_ERROR),
        (specification.INVALID_REQUEST, mcp_types.INVALID_REQUEST),
        (specification.METHOD_NOT_FOUND, mcp_types.METHOD_NOT_FOUND),
        (specification.INVALID_PARAMS, mcp_types.INVALID_PARAMS),
        (specification.INTERNAL_ERROR, mcp_types.INTERNAL_ERROR),
        (specification.HEADER_MISMATCH, mcp_types.HEADER_MISMATCH),
        (specification.MISSING_REQUIRED_CLIENT_CAPABILITY, mcp_types.MISSING_REQUIRED_CLIENT_CAPABILITY),
        (specification.UNSUPPORTED_PROTOCOL_VERSION, mcp_types.UNSUPPORTED_PROTOCOL_VERSION),
        (specification.HTTP_STATUS, dict(inbound.ERROR_CODE_HTTP_STATUS)),
    ],
)
def test_names_and_numbers_are_the_sdks(ours: object, theirs: object) -> None:
    assert ours == theirs


@given(some.sampled_from([*specification.HANDSHAKE_VERSIONS, VERSION, "2099-01-01", "zzz", ""]), some.data())
def test_revisions_compare_as_in_the_sdk(version: str, data: some.DataObject) -> None:
    minimum = data.draw(some.sampled_from([*specification.HANDSHAKE_VERSIONS, VERSION]))
    expected = mcp_types.version.is_version_at_least(version, minimum)
    assert specification.is_at_least(version, minimum) == expected


@given(
    version=some.none() | VERSIONS | some.integers(),
    header=some.none() | VERSIONS,
    method=WORDS,
    repeated=some.none() | WORDS,
    name=some.none() | WORDS | some.integers(),
    named=some.none() | ENCODED,
    shape=some.sampled_from(["whole", "no capabilities", "no version", "no meta", "no params", "list"]),
)
def test_an_envelope_is_judged_as_the_sdk_judges_it(
    version: Any, header: Any, method: str, repeated: Any, name: Any, named: Any, shape: str
) -> None:
    meta: Any = {PROTOCOL_VERSION: version, CLIENT_CAPABILITIES: {}}
    if shape == "no capabilities":
        del meta[CLIENT_CAPABILITIES]
    elif shape == "no version":
        del meta[PROTOCOL_VERSION]
    elif shape == "list":
        meta = [meta]
    params: dict[str, Any] = {"_meta": meta, "name": name, "uri": name}
    if shape == "no meta":
        del params["_meta"]
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    if shape == "no params":
        del message["params"]
    given = {"mcp-protocol-version": header, "mcp-method": repeated, "mcp-name": named}
    # What travels in a header is Latin-1: that a client cannot write the rest there is not the question.
    text = {
        key: value.encode("latin-1", "replace").decode("latin-1")
        for key, value in given.items()
        if value is not None
    }

    verdict = inbound.classify_inbound_request(message, headers=text)
    try:
        ours: int | str = eras.check_modern_request(
            {key.encode(): value.encode("latin-1") for key, value in text.items()}, message
        )
    except RpcError as refusal:
        ours = refusal.code
    theirs = verdict.code if isinstance(verdict, inbound.InboundLadderRejection) else verdict.protocol_version
    if shape != "whole" and header in {"", "2099-01-01"}:
        # Where the envelope is not whole, which version the client may use matters more.
        theirs = specification.UNSUPPORTED_PROTOCOL_VERSION
    assert ours == theirs


SCALARS: some.SearchStrategy[Any] = some.sampled_from(
    [None, "echo", "", "ä", " x ", 0, 7, 7.0, 7.5, True, False, "true", [], {"a": 1}, 10**18]
)
HEADERS = some.sampled_from(
    [
        None,
        "echo",
        "",
        "7",
        "7.0",
        "7.5",
        "07",
        "true",
        "True",
        "=?base64?w6Q=?=",
        "=?base64?IHgg?=",
        "=?base64?!?=",
        "1e0",
    ]
)
TYPES = some.sampled_from(["string", "integer", "boolean", "number", ["string"], None])
TOKENS = some.sampled_from(["Id", "iD", "region", "", "a b", 7, None])


@some.composite
def properties(draw: some.DrawFn) -> dict[str, Any]:
    """A property that may ask to be repeated, rightly or wrongly."""
    made: dict[str, Any] = {}
    for key, values in (("type", TYPES), (specification.MIRRORING, TOKENS)):
        value = draw(values)
        if value is not None:
            made[key] = value
    return made


@some.composite
def schemas(draw: some.DrawFn) -> dict[str, Any]:
    """An input schema with properties at several depths."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"first": draw(properties()), "second": draw(properties())},
    }
    if draw(some.booleans()):
        schema["properties"]["outer"] = {"type": "object", "properties": {"inner": draw(properties())}}
    where = draw(some.sampled_from([None, None, None, "items", "anyOf", "$defs", "default"]))
    if where is not None:
        below = draw(properties())
        schema[where] = [below] if where == "anyOf" else {"x": below} if where == "$defs" else below
    return schema


@given(schemas(), SCALARS, SCALARS, SCALARS, HEADERS, HEADERS)
def test_repeated_parameters_are_judged_as_the_sdk_judges_them(
    schema: dict[str, Any], first: Any, second: Any, inner: Any, by_id: Any, by_region: Any
) -> None:
    arguments = {"first": first, "second": second, "outer": {"inner": inner}}
    text = {
        key: value
        for key, value in (("mcp-param-id", by_id), ("mcp-param-region", by_region))
        if value is not None
    }
    expected = inbound.validate_mcp_param_headers(schema, arguments, text)
    mirrored = mirroring.mirrored_parameters(schema)
    if inbound.find_invalid_x_mcp_header(schema) is not None:
        assert mirrored == ()
    else:
        assert {each.path for each in mirrored} == set(inbound.x_mcp_header_map(schema))
    headers = {key.encode(): value.encode() for key, value in text.items()}
    if expected is None:
        mirroring.check_mirrored(mirrored, arguments, headers)
        return
    with pytest.raises(RpcError) as refusal:
        mirroring.check_mirrored(mirrored, arguments, headers)
    assert refusal.value.code == expected.code


def test_the_endpoint_does_not_load_the_sdk() -> None:
    """It would cost each web process 20 MB."""
    script = (
        "import django; django.setup(); import config.asgi, config.urls, sys\n"
        "print([name for name in ('mcp', 'mcp_types', 'starlette', 'sse_starlette') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
