"""The definition of an HTTP tool: what it must hold, and the schemas and hints that follow from it. Sends nothing.

    {"method": "GET", "path": "/users/{id}/orders", "title": "…", "description": "…",
     "parameters": {"id": {"type": "integer", "description": "…"},
                    "status": {"in": "query", "type": "array", "items": {"type": "string"}, "required": false}},
     "body": {"kind": "json", "schema": {"type": "object", …}},
     "headers": {"X-Version": "2"}, "query": {"format": "json"},
     "answer": {"schema": {…}}, "annotations": {"readOnlyHint": true}, "$defs": {…}}

A parameter is named by the argument that callers give. ``in`` is ``path`` where the path names it, else ``query``;
``header``, ``cookie`` and ``body`` (a property of the body) are the others. ``name`` is its name on the wire, where
that is another one. ``style`` and ``explode`` are OpenAPI's; ``style`` may be ``json`` too. Its schema stands in
``schema``, or beside these keys where it is short. A body is one argument, ``body`` unless ``argument`` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.http.paths import PLACEHOLDER, path_faults
from servers.execution.backends.http.schemas import (
    MAX_WORK,
    find_faults,
    input_schema,
    order_definitions,
    output_schema,
    weigh,
    weigh_definitions,
    winds,
    wraps,
)
from servers.execution.contract import Offered, Operation
from servers.execution.hints import HINTS
from servers.execution.parameters import Faults, read_text

KIND: Final = "http"
"""The kind of operation, and of a team's own tools, that such a definition is of."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READS: Final = frozenset({"GET", "HEAD"})
"""What is sent where a source allows no writes."""

STYLES: Final[Mapping[str, tuple[str, ...]]] = {
    "path": ("simple", "label", "matrix", "json"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject", "json"),
    "header": ("simple", "json"),
    "cookie": ("form", "json"),
    "body": (),
}
"""Where parameters go, and in which styles; the first of each is the default (OpenAPI 3.1.1, "Style Values")."""

BODY_KINDS: Final[Mapping[str, str]] = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "text": "text/plain; charset=utf-8",
    "binary": "application/octet-stream",
}
"""The kinds of body, with the media type that each is sent as unless the definition says another."""

MAX_PARAMETERS: Final = 200
MAX_DEFINITIONS: Final = 500
_KEYS: Final = frozenset(
    {"method", "path", "title", "description", "parameters", "body", "headers", "query", "answer"}
    | {"annotations", "$defs"}
)
_PARAMETER_KEYS: Final = frozenset(
    {"in", "name", "description", "required", "style", "explode", "reserved", "schema"}
)
_INLINE: Final = frozenset(
    {"type", "enum", "const", "default", "items", "format", "pattern", "minimum", "maximum", "examples"}
    | {"exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"}
    | {"uniqueItems", "properties", "additionalProperties", "anyOf", "oneOf", "allOf", "$ref", "title"}
)
_BODY_KEYS: Final = frozenset(
    {"kind", "media_type", "schema", "required", "argument", "description", "fields"}
)
_FIELD_KEYS: Final = frozenset({"style", "explode", "media_type"})
_ANSWER_KEYS: Final = frozenset({"schema", "media_type", "wrap"})
_ARGUMENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_MEDIA_TYPE: Final = re.compile(
    r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+*-]+(; ?[a-z0-9_-]+=[A-Za-z0-9_.+-]+)*", re.IGNORECASE
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CLOSED_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"}
    | {"expect", "proxy-authorization", "proxy-authenticate", "proxy-connection", "content-encoding"}
    | {"content-type", "cookie", "authorization", "accept-encoding"}
)
"""Headers that frame a message, or that Marina writes: an argument in one of them could say what another says."""


def compile_http_tool(definition: Mapping[str, Any]) -> Offered:
    """Check a definition and derive its schemas. Raises ``InvalidInput`` with every fault at once."""
    faults: Faults = [
        {"path": str(key)[:80], "message": "There is no such key in the definition of an HTTP tool."}
        for key in definition.keys() - _KEYS
    ]
    method = definition.get("method")
    if method not in METHODS:
        faults.append({"path": "method", "message": f"The method must be one of {', '.join(METHODS)}."})
    title = read_text(definition, "title", 200, faults)
    description = read_text(definition, "description", 8_000, faults)
    path = definition.get("path")
    faults += path_faults(path)
    defs = _gather_definitions(definition, faults)
    arguments = _read_parameters(definition, path if isinstance(path, str) else "", defs, faults)
    body = _read_body(definition, method, arguments, faults)
    _read_fixed(definition, faults)
    answer = _read_answer(definition, faults)
    _read_annotations(definition, faults)
    for at, schema in _schemas_of(definition):
        faults += find_faults(schema, defs, at)
    if not faults:
        _check_work(definition, defs, faults)
    if faults:
        raise InvalidInput("The definition of the tool is not valid.", errors=faults[:50])
    if body is not None:
        arguments[body[0]] = body[1]
    return Offered(
        name="",
        title=title,
        description=description,
        input_schema=input_schema(arguments, defs),
        output_schema=None if answer is None else output_schema(answer, defs),
        annotations={**hints_of(str(method)), **(definition.get("annotations") or {})},
        operation=Operation(KIND, dict(definition)),
    )


def answer_is_wrapped(definition: Mapping[str, Any]) -> bool | None:
    """Whether the JSON answer stands in ``WRAP`` of the structured result; ``None``: where it is no object."""
    answer = definition.get("answer") or {}
    if "wrap" in answer:
        return bool(answer["wrap"])
    if "schema" not in answer:
        return None
    return wraps(answer["schema"], _gather_definitions(definition, []))


def hints_of(method: str) -> dict[str, bool]:
    """MCP's hints by what RFC 9110, section 9.2, says of a method. Whether a POST destroys is not known: it may."""
    safe = method in ("GET", "HEAD", "OPTIONS")
    return {
        "readOnlyHint": safe,
        "destructiveHint": not safe,
        "idempotentHint": safe or method in ("PUT", "DELETE"),
        "openWorldHint": True,
    }


def header_fault(name: Any) -> str:
    """Why this may not be a header's name in a definition; empty where it may."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        return "A header's name has letters, digits and hyphens."
    if name.lower() == "authorization":
        return "How Marina signs in is a setting of the data source."
    if name.lower() in _CLOSED_HEADERS or name.lower().startswith("proxy-"):
        return "Marina writes this header itself."
    return ""


def _read_parameters(
    definition: Mapping[str, Any], path: str, defs: Mapping[str, Any], faults: Faults
) -> dict[str, tuple[Any, bool]]:
    """The arguments that parameters make. Every placeholder of the path must be one, and no other."""
    given = definition.get("parameters") or {}
    if not isinstance(given, Mapping) or len(given) > MAX_PARAMETERS:
        faults.append({"path": "parameters", "message": f"Give an object of at most {MAX_PARAMETERS}."})
        return {}
    placeholders = PLACEHOLDER.findall(path)
    arguments: dict[str, tuple[Any, bool]] = {}
    taken: dict[tuple[str, str], str] = {}
    for name, spec in given.items():
        at = f"parameters.{str(name)[:80]}"
        if not isinstance(name, str) or not _ARGUMENT.fullmatch(name):
            faults.append({"path": at, "message": "A name has 1 to 64 letters, digits, dots, - and _."})
            continue
        if not isinstance(spec, Mapping):
            faults.append({"path": at, "message": "Give an object, at least with a type."})
            continue
        where, wire = place_of(name, spec, placeholders)
        other = taken.setdefault((where, wire.lower() if where == "header" else wire), name)
        if other != name:
            faults.append(
                {"path": at, "message": f"{other} goes to the same place. Give one of them a name."}
            )
        _check_parameter(at, where, wire, spec, placeholders, faults)
        arguments[name] = (_schema_of(spec), needed(where, spec))
    for each in placeholders:
        if ("path", each) not in taken:
            message = f"The path has {{{each}}}, but no parameter says what it is."
            faults.append({"path": f"parameters.{each[:80]}", "message": message})
    return arguments


def place_of(argument: str, spec: Mapping[str, Any], placeholders: Any) -> tuple[str, str]:
    """Where a parameter goes, and its name there."""
    wire = str(spec.get("name", argument))
    return str(spec.get("in") or ("path" if wire in placeholders else "query")), wire


def default_of(spec: Mapping[str, Any]) -> Any:
    """What is sent where a parameter is not given; ``None``: nothing."""
    if "default" in spec:
        return spec["default"]
    schema = spec.get("schema")
    return schema.get("default") if isinstance(schema, Mapping) else None


def needed(where: str, spec: Mapping[str, Any]) -> bool:
    """Whether a parameter is required: it is in a path; elsewhere unless it says otherwise or has a default."""
    return where == "path" or bool(spec.get("required", default_of(spec) is None))


def _check_parameter(
    at: str, where: str, wire: str, spec: Mapping[str, Any], placeholders: Any, faults: Faults
) -> None:
    def refuse(key: str, message: str) -> None:
        faults.append({"path": f"{at}.{key}", "message": message})

    inline = spec.keys() & _INLINE
    for key in spec.keys() - _PARAMETER_KEYS - _INLINE:
        refuse(str(key)[:80], "There is no such key.")
    if where not in STYLES:
        refuse("in", f"It goes in one of {', '.join(STYLES)}.")
        return
    if "schema" in spec and inline:
        refuse("schema", f"Put {', '.join(sorted(inline))} into the schema.")
    if "style" in spec and spec["style"] not in STYLES[where]:
        refuse("style", f"In {where} the styles are: {', '.join(STYLES[where]) or 'none'}.")
    for key in ("explode", "reserved", "required"):
        if key in spec and not isinstance(spec[key], bool):
            refuse(key, "Give true or false.")
    if spec.get("reserved") and where != "query":
        refuse("reserved", "Only in a query may reserved characters stay as they are.")
    fault = _wire_fault(where, wire, placeholders)
    if fault or not isinstance(spec.get("name", wire), str):
        refuse("in" if where == "path" else "name", fault or "Give a text.")
    if where == "path" and spec.get("required") is False:
        refuse("required", "What is in the path is always required.")
    read_text(spec, "description", 4_000, faults, prefix=f"{at}.")


def _wire_fault(where: str, wire: str, placeholders: Any) -> str:
    if not wire or len(wire) > 256 or _CONTROL.search(wire):
        return "A name on the wire has 1 to 256 characters, and none that is invisible."
    if where == "header":
        return header_fault(wire)
    if where == "cookie" and not _TOKEN.fullmatch(wire):
        return "A cookie's name has letters, digits and hyphens."
    return f"The path has no {{{wire[:80]}}}." if where == "path" and wire not in placeholders else ""


def _schema_of(spec: Mapping[str, Any]) -> Any:
    """The schema of an argument as callers see it, with the parameter's description where it has none of its own."""
    schema = spec.get("schema", {key: value for key, value in spec.items() if key in _INLINE})
    description = spec.get("description")
    if description and isinstance(schema, Mapping):
        schema = {**schema, "description": description}
    return _without_definitions(schema)


def _read_body(
    definition: Mapping[str, Any], method: Any, arguments: dict[str, tuple[Any, bool]], faults: Faults
) -> tuple[str, tuple[Any, bool]] | None:
    """The argument that the body is; none where there is none, or where parameters make it up."""
    made_up = [name for name, spec in _parameters(definition) if spec.get("in") == "body"]
    if definition.get("body") is None:
        if made_up:
            faults.append(
                {"path": f"parameters.{made_up[0]}.in", "message": "Say in body which kind it is of."}
            )
        return None
    body = definition["body"]
    if not isinstance(body, Mapping):
        faults.append({"path": "body", "message": "Give an object with its kind."})
        return None
    if method in ("GET", "HEAD"):
        faults.append({"path": "body", "message": f"A {method} request has no body."})
    for key in body.keys() - _BODY_KEYS:
        faults.append({"path": f"body.{str(key)[:80]}", "message": "There is no such key."})
    kind = body.get("kind")
    if kind not in BODY_KINDS:
        faults.append({"path": "body.kind", "message": f"It is one of {', '.join(BODY_KINDS)}."})
    _check_media_type(body.get("media_type"), "body.media_type", faults)
    _check_fields(body, kind, faults)
    description = read_text(body, "description", 4_000, faults, prefix="body.")
    required = body.get("required", True)
    if not isinstance(required, bool):
        faults.append({"path": "body.required", "message": "Give true or false."})
    if made_up:
        if kind in ("text", "binary") or "schema" in body or "argument" in body:
            message = (
                f"The parameter {made_up[0]} is part of the body: it has no schema or argument of its own."
            )
            faults.append({"path": "body", "message": message})
        return None
    argument = body.get("argument", "body")
    if not isinstance(argument, str) or not _ARGUMENT.fullmatch(argument) or argument in arguments:
        faults.append({"path": "body.argument", "message": "Give a name that no parameter has."})
        return None
    schema = _without_definitions(body.get("schema", _BODY_SCHEMAS.get(str(kind), {})))
    if description and isinstance(schema, Mapping):
        schema = {**schema, "description": description}
    return argument, (schema, bool(required))


_BODY_SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "form": {"type": "object"},
    "multipart": {"type": "object"},
    "text": {"type": "string"},
    "binary": {"type": "string", "contentEncoding": "base64"},
}


def _check_fields(body: Mapping[str, Any], kind: Any, faults: Faults) -> None:
    fields = body.get("fields") or {}
    if not isinstance(fields, Mapping) or (fields and kind not in ("form", "multipart")):
        faults.append(
            {"path": "body.fields", "message": "Give an object, for a body of the kind form or multipart."}
        )
        return
    for name, field in fields.items():
        at = f"body.fields.{str(name)[:80]}"
        if not isinstance(field, Mapping) or field.keys() - _FIELD_KEYS:
            faults.append({"path": at, "message": f"A field has {', '.join(sorted(_FIELD_KEYS))}."})
            continue
        _check_media_type(field.get("media_type"), f"{at}.media_type", faults)
        if field.get("style", "form") not in STYLES["query"]:
            faults.append(
                {"path": f"{at}.style", "message": f"The styles are: {', '.join(STYLES['query'])}."}
            )
        if not isinstance(field.get("explode", True), bool):
            faults.append({"path": f"{at}.explode", "message": "Give true or false."})


def _read_fixed(definition: Mapping[str, Any], faults: Faults) -> None:
    """Headers and query parameters that are the same in each request."""
    for key in ("headers", "query"):
        fixed = definition.get(key) or {}
        if not isinstance(fixed, Mapping) or len(fixed) > MAX_PARAMETERS:
            faults.append({"path": key, "message": "Give an object of texts."})
            continue
        for name, value in fixed.items():
            at = f"{key}.{str(name)[:80]}"
            if not isinstance(value, str) or len(value) > 4_096 or _CONTROL.search(value) or not name:
                faults.append({"path": at, "message": "Give a text without line breaks."})
            elif key == "headers" and (header_fault(name) or not value.isascii()):
                faults.append({"path": at, "message": header_fault(name) or "A header is plain ASCII."})


def _read_answer(definition: Mapping[str, Any], faults: Faults) -> Any:
    """The schema of the answer; ``None`` where none is known."""
    answer = definition.get("answer")
    if answer is None:
        return None
    if not isinstance(answer, Mapping) or answer.keys() - _ANSWER_KEYS:
        message = f"Give an object of {', '.join(sorted(_ANSWER_KEYS))}."
        faults.append({"path": "answer", "message": message})
        return None
    _check_media_type(answer.get("media_type"), "answer.media_type", faults)
    if not isinstance(answer.get("wrap", True), bool):
        faults.append({"path": "answer.wrap", "message": "Give true or false."})
    elif "wrap" in answer and "schema" in answer:
        faults.append({"path": "answer.wrap", "message": "The schema says so already: leave it out."})
    return _without_definitions(answer["schema"]) if isinstance(answer.get("schema"), Mapping) else None


def _read_annotations(definition: Mapping[str, Any], faults: Faults) -> None:
    given = definition.get("annotations") or {}
    if (
        not isinstance(given, Mapping)
        or given.keys() - set(HINTS)
        or not all(isinstance(value, bool) for value in given.values())
    ):
        faults.append({"path": "annotations", "message": f"Give true or false of {', '.join(HINTS)}."})


def _parameters(definition: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    given = definition.get("parameters")
    items = given.items() if isinstance(given, Mapping) else ()
    return [(str(name), spec) for name, spec in items if isinstance(spec, Mapping)]


def _schemas_of(definition: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Every schema that the definition holds, with its path."""
    found = [(f"parameters.{name[:80]}", _schema_of(spec)) for name, spec in _parameters(definition)]
    for key in ("body", "answer"):
        part = definition.get(key)
        if isinstance(part, Mapping) and "schema" in part:
            found.append((f"{key}.schema", _without_definitions(part["schema"])))
    found += [(f"$defs.{name[:80]}", schema) for name, schema in _gather_definitions(definition, []).items()]
    return found


def _gather_definitions(definition: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """All ``$defs`` of the definition: its own, and those that stand in its schemas, as references mean them."""
    sources = [("$defs", definition.get("$defs"))]
    for name, spec in _parameters(definition):
        sources.append((f"parameters.{name[:80]}.schema.$defs", _definitions_in(spec.get("schema"))))
    for key in ("body", "answer"):
        part = definition.get(key)
        schema = part.get("schema") if isinstance(part, Mapping) else None
        sources.append((f"{key}.schema.$defs", _definitions_in(schema)))
    gathered: dict[str, Any] = {}
    for at, defs in sources:
        if defs is None:
            continue
        if not isinstance(defs, Mapping) or len(defs) > MAX_DEFINITIONS:
            faults.append({"path": at, "message": f"Give an object of at most {MAX_DEFINITIONS} schemas."})
            continue
        for name, schema in defs.items():
            if gathered.setdefault(str(name), schema) != schema:
                faults.append({"path": f"{at}.{str(name)[:80]}", "message": "Another one has this name."})
    return gathered


def _check_work(definition: Mapping[str, Any], defs: Mapping[str, Any], faults: Faults) -> None:
    for circle in order_definitions(defs):
        names = frozenset(circle)
        if any(winds(defs[name], names) for name in circle):
            message = "It leads back to itself more than once for one value, or without end: checking would not end."
            faults.append({"path": f"$defs.{circle[0][:80]}", "message": message})
    weights = weigh_definitions(defs)
    for at, schema in _schemas_of(definition):
        if weigh(schema, weights) > MAX_WORK:
            faults.append(
                {"path": at, "message": "Checking one value by it would take too long: simplify it."}
            )


def _definitions_in(schema: Any) -> Any:
    return schema.get("$defs") if isinstance(schema, Mapping) else None


def _without_definitions(schema: Any) -> Any:
    if isinstance(schema, Mapping) and ("$defs" in schema or "$schema" in schema):
        return {key: value for key, value in schema.items() if key not in ("$defs", "$schema")}
    return schema


def _check_media_type(value: Any, path: str, faults: Faults) -> None:
    if value is not None and (
        not isinstance(value, str) or len(value) > 200 or not _MEDIA_TYPE.fullmatch(value)
    ):
        faults.append({"path": path, "message": "Give a media type such as application/json."})
