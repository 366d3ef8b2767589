"""Runs the ready-made tools of an HTTP source, and a team's own: makes each request, and a result of its answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import orjson

from core.errors import InvalidInput, MarinaError, SourceError
from servers.execution.backends.http.answers import describe_reply, to_outcome, tool_outcome
from servers.execution.backends.http.connections import Api, describe_stats
from servers.execution.backends.http.definitions import METHODS
from servers.execution.backends.http.exchanges import Reply, exchange, is_below
from servers.execution.backends.http.faults import refuse
from servers.execution.backends.http.offers import MAX_BATCH, MAX_PARAMS
from servers.execution.backends.http.paths import MAX_PATH, PLACEHOLDER, encode, way_out
from servers.execution.backends.http.requests import Prepared, build_request
from servers.execution.backends.http.settings import Endpoint, HttpSettings
from servers.execution.backends.http.styles import plain
from servers.execution.contract import Outcome, Source

MAX_BATCH_BYTES: Final = 4_194_304
"""All results of a batch together; what goes beyond is told in the place of its result."""
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Run:
    """What one call has: the source, what is kept of it, and its seconds."""

    source: Source
    api: Api
    seconds: float


async def list_endpoints(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """What can be asked for by name; as a resource where a ``uri`` is given."""
    settings = run.api.settings
    listed = {
        "api": run.source.name,
        "base_url": settings.base_url,
        "writes_allowed": settings.allow_writes,
        "endpoints": [
            {
                "name": each.name,
                "path": each.path,
                "method": each.method,
                "description": each.description,
                "parameters": PLACEHOLDER.findall(each.path),
            }
            for each in settings.endpoints.values()
        ],
        "note": ""
        if settings.endpoints
        else "This API has no endpoints with names: give a path below the base address as endpoint.",
    }
    if "uri" in arguments:
        text = orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode()
        contents = {"uri": str(arguments["uri"]), "mimeType": "application/json", "text": text}
        return Outcome(None, "", size=len(text), content=[contents])
    return to_outcome(listed, rows=len(settings.endpoints))


async def api_get(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """GET from an endpoint."""
    return _result(run, await _ask(run, {**arguments, "method": "GET"}))


async def api_post(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """POST to an endpoint."""
    request = {**arguments, "method": "POST", "data": arguments.get("body")}
    return _result(run, await _ask(run, request))


async def call_api(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """Any request to an endpoint."""
    named = arguments.get("api")
    if named not in (None, "", run.source.name):
        refuse("api", f"This data source is the API {run.source.name}. Give that name, or none.")
    return _result(run, await _ask(run, arguments))


async def batch_requests(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """Several requests side by side, each with a result of its own."""
    requests = arguments.get("requests")
    if not isinstance(requests, Sequence) or isinstance(requests, str) or not 0 < len(requests) <= MAX_BATCH:
        refuse("requests", f"Give a list of 1 to {MAX_BATCH} requests.")
    started = monotonic()
    results = await asyncio.gather(*(_ask_one(run, index, each) for index, each in enumerate(requests)))
    room = MAX_BATCH_BYTES
    for index, result in enumerate(results):
        room -= len(orjson.dumps(result))
        if room < 0:
            message = f"All results together would be larger than {MAX_BATCH_BYTES} bytes. Ask for it alone."
            results[index] = _failure(index, SourceError(message, code="result_too_large"))
    succeeded = sum(result["success"] for result in results)
    return to_outcome(
        {
            "results": results,
            "succeeded": succeeded,
            "failed": len(results) - succeeded,
            "elapsed_ms": round((monotonic() - started) * 1_000, 3),
        },
        rows=len(results),
    )


async def get_api_stats(run: Run, arguments: Mapping[str, Any]) -> Outcome:
    """What this process has counted."""
    return to_outcome({"api": run.source.name, **describe_stats(run.api)})


async def run_http_tool(run: Run, definition: Mapping[str, Any], arguments: Mapping[str, Any]) -> Outcome:
    """Run a tool whose definition ``compile_http_tool`` accepted."""
    prepared = build_request(definition, arguments, run.api.settings.base_url)
    reply = await exchange(run.api, prepared, seconds=run.seconds)
    return tool_outcome(reply, definition, run.api.signer.secrets)


def _result(run: Run, reply: Reply) -> Outcome:
    return to_outcome(describe_reply(reply, run.api.signer.secrets), failed=reply.status >= 400)


async def _ask(run: Run, request: Mapping[str, Any]) -> Reply:
    prepared = prepare(run.api.settings, request)
    return await exchange(
        run.api, prepared, seconds=run.seconds, use_cache=request.get("use_cache") is not False
    )


async def _ask_one(run: Run, index: int, request: Any) -> dict[str, Any]:
    try:
        if not isinstance(request, Mapping):
            refuse("", "Give an object with an endpoint.")
        reply = await _ask(run, request)
    except MarinaError as fault:
        return _failure(index, fault)
    described = describe_reply(reply, run.api.signer.secrets)
    return {"index": index, "success": reply.status < 400, **described}


def _failure(index: int, fault: MarinaError) -> dict[str, Any]:
    message = fault.message
    if isinstance(fault, InvalidInput) and fault.errors:
        message = " ".join(f"{each['path']}: {each['message']}" for each in fault.errors)
    return {"index": index, "success": False, "error": {"code": fault.code, "message": message}}


def prepare(settings: HttpSettings, request: Mapping[str, Any]) -> Prepared:
    """The request that a ready-made tool's arguments mean. Raises ``InvalidInput`` with the argument as path."""
    endpoint = _find_endpoint(settings, request.get("endpoint"))
    method = request.get("method") or (endpoint.method if endpoint else None) or "GET"
    if method not in METHODS:
        refuse("method", f"It is one of {', '.join(METHODS)}.")
    if endpoint is not None and endpoint.method not in (None, method):
        refuse("endpoint", f"{endpoint.name} is for {endpoint.method} only.")
    params = request.get("params") or {}
    if not isinstance(params, Mapping) or len(params) > MAX_PARAMS:
        refuse("params", f"Give an object of at most {MAX_PARAMS} values.")
    params = dict(params)
    if endpoint is not None:
        path = PLACEHOLDER.sub(lambda found: _fill(found[1], params), endpoint.path)
    else:
        path = _plain_path("endpoint", request.get("endpoint"))
    more = _plain_path("path", request.get("path"))
    url = settings.base_url + (path.rstrip("/") + more if more else path)
    query = "&".join(
        f"{encode(name)}={each}" for name, value in params.items() for each in _values(name, value)
    )
    if query:
        url += f"?{query}"
    if not is_below(url, settings.base_url):
        refuse(
            "path",
            "With it the address would lead elsewhere than below the data source's own, or is too long.",
        )
    data = request.get("data")
    if data is None:
        return Prepared(method, url, (), None)
    if method in ("GET", "HEAD"):
        refuse("data", f"A {method} request has no body.")
    try:
        body = orjson.dumps(data)
    except (orjson.JSONEncodeError, TypeError):
        refuse("data", "It holds something that JSON cannot say, such as a number beyond 64 bits.")
    return Prepared(method, url, (("Content-Type", "application/json"),), body)


def _find_endpoint(settings: HttpSettings, given: Any) -> Endpoint | None:
    if not settings.endpoints:
        return None
    endpoint = settings.endpoints.get(given) if isinstance(given, str) else None
    if endpoint is None:
        names = ", ".join(list(settings.endpoints)[:20])
        refuse("endpoint", f"There is no such endpoint. list_endpoints shows them all; among them: {names}.")
    return endpoint


def _fill(name: str, params: dict[str, Any]) -> str:
    if name not in params:
        refuse(f"params.{name}", "It stands in the endpoint's path, so it is needed.")
    value = params.pop(name)
    if isinstance(value, Mapping | list) or value is None or value == "":
        refuse(f"params.{name}", "It stands in the endpoint's path: give one text or number.")
    text = plain(value)
    if way_out(text):
        refuse(
            f"params.{name}",
            "It would lead out of its place in the path (.., an invisible character). Change it.",
        )
    return _encoded(f"params.{name}", text)


def _plain_path(argument: str, given: Any) -> str:
    """A path that a caller gave as text, encoded, with a slash before it; empty where there is none."""
    if given in (None, ""):
        return ""
    if not isinstance(given, str) or len(given) > MAX_PATH:
        refuse(argument, f"Give a path of at most {MAX_PATH} characters.")
    segments = given.removeprefix("/").split("/")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if way_out(segment):
            refuse(argument, "It would lead out of its place (.., an invisible character). Change it.")
        if not segment and not (last and index):
            refuse(argument, "It has two slashes in a row, or nothing but one.")
        if _ENCODED.search(segment) or any(sign in segment for sign in "\\?#"):
            refuse(
                argument,
                "Give it as plain text, without \\, ? and #, and not percent-encoded: it is encoded for you. What "
                "goes into the query belongs in params.",
            )
    return "".join(f"/{_encoded(argument, segment)}" for segment in segments)


def _values(name: str, value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    texts = []
    for item in items:
        if isinstance(item, Mapping | list | tuple):
            refuse(f"params.{name}", "Give a text, a number, true or false, or a list of them.")
        if item is not None:
            texts.append(_encoded(f"params.{name}", plain(item)))
    return texts


def _encoded(argument: str, text: str) -> str:
    try:
        return encode(text)
    except UnicodeEncodeError:
        refuse(argument, "It is no valid Unicode (a lone surrogate). Leave it out.")
