"""The tools and the resource that come with every HTTP source, with the schemas that callers see. Runs none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from servers.execution.backends.http.answers import RESULT_PROPERTIES
from servers.execution.backends.http.definitions import METHODS
from servers.execution.backends.http.schemas import DIALECT
from servers.execution.backends.http.settings import HttpSettings
from servers.execution.contract import Offered, OfferedResource, Offering, Operation

MAX_BATCH: Final = 20
MAX_PARAMS: Final = 100

_READS: Final[Mapping[str, Any]] = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": True,
}
_LOOKS: Final[Mapping[str, Any]] = {**_READS, "openWorldHint": False}
_MAY_WRITE: Final[Mapping[str, Any]] = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}
"""Whether it writes is up to the call and to settings that may change: it is never taken for one that only reads."""

_SCALARS: Final = ["string", "number", "boolean", "null"]
_PARAMS: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "Values for {parameters} of the endpoint's path; the others go into the query.",
    "maxProperties": MAX_PARAMS,
    "additionalProperties": {
        "anyOf": [
            {"type": _SCALARS},
            {"type": "array", "maxItems": 100, "items": {"type": _SCALARS}},
        ]
    },
}
_PATH: Final[Mapping[str, Any]] = {
    "type": "string",
    "maxLength": 2_048,
    "description": "More of the path, below the endpoint: 42/items. Plain text; it is encoded for you.",
}
_USE_CACHE: Final[Mapping[str, Any]] = {
    "type": "boolean",
    "default": True,
    "description": "Whether an answer that was kept, and is still good, will do.",
}
_DATA: Final[Mapping[str, Any]] = {"description": "What is sent as JSON."}


def offer_operations(settings: HttpSettings) -> Offering:
    """What a source with these settings brings."""
    return Offering(
        tools=[
            _offer_list(settings),
            _offer_get(settings),
            _offer_post(settings),
            _offer_call(settings),
            _offer_batch(settings),
            _offer_stats(),
        ],
        resources=[
            OfferedResource(
                uri="api://endpoints",
                named_uri="api://{source}/endpoints",
                name="endpoints",
                title="Endpoints of the API",
                description="What can be asked for by name: the same as list_endpoints gives.",
                mime_type="application/json",
                operation=Operation("list_endpoints", {}),
            )
        ],
    )


def _offer_list(settings: HttpSettings) -> Offered:
    return Offered(
        name="list_endpoints",
        title="List endpoints",
        description=f"The endpoints of the API at {settings.base_url} that can be asked for by name, with their paths, "
        "methods and parameters, and whether writes are allowed.",
        input_schema=_object({}),
        output_schema=_answer(
            ["api", "base_url", "writes_allowed", "endpoints", "note"],
            {
                "api": {"type": "string"},
                "base_url": {"type": "string"},
                "writes_allowed": {"type": "boolean"},
                "note": {"type": "string"},
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "path", "method", "description", "parameters"],
                        "properties": {
                            "name": {"type": "string"},
                            "path": {"type": "string"},
                            "method": {"type": ["string", "null"]},
                            "description": {"type": "string"},
                            "parameters": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                },
            },
        ),
        annotations=_LOOKS,
        operation=Operation("list_endpoints", {}),
    )


def _offer_get(settings: HttpSettings) -> Offered:
    return Offered(
        name="api_get",
        title="Get from the API",
        description=f"GET from the API at {settings.base_url}.{_named(settings)} Gives the status, a few headers and "
        f"the body, at most {settings.max_bytes} bytes of it.",
        input_schema=_object(
            {"endpoint": _endpoint(settings), "path": _PATH, "params": _PARAMS, "use_cache": _USE_CACHE},
            _needed(settings),
        ),
        output_schema=_result(),
        annotations=_READS,
        operation=Operation("api_get", {}),
    )


def _offer_post(settings: HttpSettings) -> Offered:
    return Offered(
        name="api_post",
        title="Post to the API",
        description=f"POST JSON to the API at {settings.base_url}.{_named(settings)} Refused where the data source "
        "allows no writes: list_endpoints says whether it does.",
        input_schema=_object(
            {"endpoint": _endpoint(settings), "path": _PATH, "body": _DATA, "params": _PARAMS},
            _needed(settings),
        ),
        output_schema=_result(),
        annotations=_MAY_WRITE,
        operation=Operation("api_post", {}),
    )


def _offer_call(settings: HttpSettings) -> Offered:
    return Offered(
        name="call_api",
        title="Call the API",
        description=f"Any request to the API at {settings.base_url}.{_named(settings)} Anything but GET and HEAD is "
        "refused where the data source allows no writes.",
        input_schema=_object(
            {
                "api": {
                    "type": "string",
                    "maxLength": 64,
                    "description": "The API's name, as list_endpoints gives it. It may be left out.",
                },
                **_request(settings),
            },
            _needed(settings),
        ),
        output_schema=_result(),
        annotations=_MAY_WRITE,
        operation=Operation("call_api", {}),
    )


def _offer_batch(settings: HttpSettings) -> Offered:
    return Offered(
        name="batch_requests",
        title="Several requests at once",
        description=f"Up to {MAX_BATCH} requests to the API at {settings.base_url}, side by side. Each has a result of "
        "its own: one that fails does not keep the others from succeeding.",
        input_schema=_object(
            {
                "requests": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": _request(settings),
                        "required": _needed(settings),
                    },
                }
            },
            ["requests"],
        ),
        output_schema=_answer(
            ["results", "succeeded", "failed", "elapsed_ms"],
            {
                "results": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["index", "success"],
                        "properties": {
                            "index": {"type": "integer"},
                            "success": {"type": "boolean"},
                            **RESULT_PROPERTIES,
                            "error": {
                                "type": "object",
                                "required": ["code", "message"],
                                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                            },
                        },
                    },
                },
                "succeeded": {"type": "integer"},
                "failed": {"type": "integer"},
                "elapsed_ms": {"type": "number"},
            },
        ),
        annotations=_MAY_WRITE,
        operation=Operation("batch_requests", {}),
    )


def _offer_stats() -> Offered:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    return Offered(
        name="get_api_stats",
        title="Statistics of the API",
        description="How often the API was asked, how it answered and how fast, what the cache saved, and how many "
        "requests are left in this minute. As one process of Marina has counted since it began or the "
        "settings changed.",
        input_schema=_object({}),
        output_schema=_answer(
            ["api", "since", "requests", "answers", "failures", "cache"],
            {
                "api": {"type": "string"},
                "since": {"type": "string"},
                "requests": {"type": "integer"},
                "answers": counts,
                "failures": counts,
                "average_ms": {"type": ["number", "null"]},
                "received_bytes": {"type": "integer"},
                "cache": counts,
                "requests_left": {"type": "integer"},
                "requests_per_minute": {"type": "integer"},
            },
        ),
        annotations=_LOOKS,
        operation=Operation("get_api_stats", {}),
    )


def _object(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "additionalProperties": False,
        "properties": dict(properties),
    }
    return {**schema, "required": required} if required else schema


def _answer(required: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what a tool gives; more may be in it."""
    return {"$schema": DIALECT, "type": "object", "required": required, "properties": properties}


def _result() -> dict[str, Any]:
    """The schema of one reply."""
    return _answer(["status", "content_type", "headers", "body", "cached", "elapsed_ms"], RESULT_PROPERTIES)


def _request(settings: HttpSettings) -> dict[str, Any]:
    return {
        "endpoint": _endpoint(settings),
        "path": _PATH,
        "method": {
            "enum": list(METHODS),
            "description": "The endpoint's own where none is given, or GET.",
        },
        "params": _PARAMS,
        "data": _DATA,
        "use_cache": _USE_CACHE,
    }


def _needed(settings: HttpSettings) -> list[str]:
    """Without endpoints, the base address itself may be asked for."""
    return ["endpoint"] if settings.endpoints else []


def _endpoint(settings: HttpSettings) -> dict[str, Any]:
    if settings.endpoints:
        return {"enum": list(settings.endpoints), "description": "The endpoint's name."}
    return {
        "type": "string",
        "maxLength": 2_048,
        "description": "A path below the base address: users. Plain text; it is encoded for you.",
    }


def _named(settings: HttpSettings) -> str:
    if not settings.endpoints:
        return ""
    first = ", ".join(list(settings.endpoints)[:10])
    more = len(settings.endpoints) - 10
    return f" Endpoints: {first}{f' and {more} more' if more > 0 else ''}."
