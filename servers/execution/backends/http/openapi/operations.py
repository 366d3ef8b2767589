"""Makes tools of an OpenAPI document's operations; says of each that cannot be one why. Fetches and stores nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import jsonschema_rs

from core.errors import InvalidInput
from servers.execution.backends.http.definitions import (
    BODY_KINDS,
    KIND,
    MAX_PARAMETERS,
    STYLES,
    compile_http_tool,
    header_fault,
    hints_of,
)
from servers.execution.backends.http.openapi.conversion import (
    INPUT_BYTES,
    Schemas,
    bounded_text,
    output_bytes,
    shrink,
)
from servers.execution.backends.http.openapi.documents import BadReference, Document, pointer, refuse_document
from servers.execution.backends.http.openapi.names import argument_name, tool_name
from servers.execution.backends.http.openapi.needs import first_server
from servers.execution.backends.http.paths import PLACEHOLDER
from servers.execution.backends.http.schemas import MAX_WORK, input_schema, output_schema, wraps
from servers.execution.contract import Offered, Operation

MAX_OPERATIONS: Final = 5_000
"""Of one document; how many of them a source may bring is bounded elsewhere."""

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_MAX_DESCRIPTION: Final = 1_000
_JSON: Final = re.compile(r"application/(?:[a-z0-9.+_-]+\+)?json\b|text/json\b|\*/\*", re.IGNORECASE)
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", re.IGNORECASE)
_SUCCESS: Final = re.compile(r"2(?:[0-9]{2}|XX)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Imported:
    """An operation of a document. ``key`` is its method and path. It has a ``tool``, or a ``problem`` in words.

    ``notes`` say what of it the tool does not do.
    """

    key: str
    name: str
    operation_id: str
    title: str
    tags: tuple[str, ...]
    deprecated: bool
    tool: Offered | None
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """An operation whose schemas are converted, before the definitions that they need are known."""

    key: str
    name: str
    raw: Mapping[str, Any]
    definition: dict[str, Any]
    arguments: dict[str, tuple[Any, bool]]
    answer: Any
    notes: list[str]
    problem: str = ""


def read_operations(document: Document) -> list[Imported]:
    """Every operation of a document, in its order; then the paths that refer out of it, of which none is known."""
    importer = _Importer(document)
    drafts: list[_Draft] = []
    lost: list[Imported] = []
    for path, item in (document.root.get("paths") or {}).items():
        try:
            found, _ = document.follow(item, pointer("paths", path))
        except BadReference as problem:
            lost.append(Imported(path, "", "", path, (), False, None, str(problem)))
            continue
        for method in _METHODS if isinstance(found, Mapping) else ():
            if isinstance(found.get(method), Mapping):
                if len(drafts) == MAX_OPERATIONS:
                    raise refuse_document(
                        f"The document has more than {MAX_OPERATIONS} operations. Split it."
                    )
                drafts.append(importer.draft(path, method, found, found[method]))
    importer.most_answer = output_bytes(len(drafts))
    importer.inputs.settle()
    importer.outputs.settle()
    return [importer.finish(draft) for draft in drafts] + lost


class _Importer:
    def __init__(self, document: Document) -> None:
        self.inputs = Schemas(document, "arguments")
        self.outputs = Schemas(document, "answers")
        self._document = document
        self.most_answer = output_bytes(0)
        self._names: dict[str, int] = {}
        self._server = first_server(document.root.get("servers"))

    def draft(self, path: str, method: str, item: Mapping[str, Any], raw: Mapping[str, Any]) -> _Draft:
        name = tool_name(raw.get("operationId"), method, path, self._names)
        template, fixed = _split_path(path)
        definition: dict[str, Any] = {"method": method.upper(), "path": template}
        if fixed:
            definition["query"] = fixed
        draft = _Draft(f"{method.upper()} {path}", name, raw, definition, {}, None, [])
        server = first_server(raw.get("servers") or item.get("servers")) or self._server
        if server != self._server:
            draft.problem = f"It has a server of its own ({server[:200]}): make a data source for that one."
        place = pointer("paths", path, method)
        try:
            self._take_parameters(draft, item, place)
            self._take_body(draft, place)
            self._take_answer(draft, place)
        except BadReference as problem:
            draft.problem = str(problem)
        return draft

    def finish(self, draft: _Draft) -> Imported:
        raw = draft.raw
        summary = bounded_text(raw.get("summary"), 200)
        deprecated = raw.get("deprecated") is True
        tool = None
        problem = draft.problem or self.inputs.problem(each for each, _ in draft.arguments.values())
        if not problem:
            try:
                tool = self._tool(draft, summary, deprecated=deprecated)
            except InvalidInput as fault:
                first = fault.errors[0] if fault.errors else {"path": "", "message": fault.message}
                problem = f"{first['path']}: {first['message']}"
            except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as invalid:
                problem = f"Its schemas are no valid JSON Schema: {bounded_text(str(invalid), 200)}"
        tags = raw.get("tags")
        return Imported(
            key=draft.key,
            name=draft.name,
            operation_id=bounded_text(raw.get("operationId"), 200),
            title=summary or draft.name,
            tags=tuple(bounded_text(tag, 80) for tag in tags[:20]) if isinstance(tags, list) else (),
            deprecated=deprecated,
            tool=tool,
            problem=problem,
            notes=tuple(draft.notes),
        )

    def _tool(self, draft: _Draft, summary: str, *, deprecated: bool) -> Offered:
        compile_http_tool(draft.definition)
        share = INPUT_BYTES // max(1, len(draft.arguments))
        arguments = {
            name: (shrink(schema, max(share, 2_048)), needed)
            for name, (schema, needed) in draft.arguments.items()
        }
        schemas = [schema for schema, _ in arguments.values()]
        taken = input_schema(arguments, self.inputs.whole(schemas, INPUT_BYTES))
        if any(self.inputs.weigh(schema) > MAX_WORK for schema in schemas):
            raise InvalidInput(
                "Checking its arguments would take too long: its schemas nest too many alternatives."
            )
        _check(taken)
        answered = self._answered(draft)
        text = " ".join(
            part for part in (
                "Deprecated." if deprecated else "",
                summary if not summary or summary[-1] in ".!?…" else f"{summary}.",
                _more_than(summary, bounded_text(draft.raw.get("description"), _MAX_DESCRIPTION)),
            ) if part
        )  # fmt: skip
        return Offered(
            name=draft.name,
            title=f"{summary[:186]} (deprecated)" if deprecated and summary else summary,
            description=text or draft.key,
            input_schema=taken,
            output_schema=answered,
            annotations=hints_of(draft.definition["method"]),
            operation=Operation(KIND, draft.definition),
        )

    def _answered(self, draft: _Draft) -> dict[str, Any] | None:
        """The schema of the answer, or none where it cannot be had: a tool works without one."""
        answer = draft.answer
        if answer is None:
            return None
        problem = self.outputs.problem([answer])
        if problem:
            draft.notes.append(f"What it answers is left open. {problem}")
            return None
        answer = shrink(answer, self.most_answer)
        defs = self.outputs.whole([answer], self.most_answer)
        wrap = wraps(answer, defs, nullable=True)
        draft.definition["answer"]["wrap"] = wrap
        made = output_schema(answer, defs, wrap=wrap)
        try:
            _check(made)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
            draft.notes.append("What it answers is left open: the schema is no valid JSON Schema.")
            return None
        return made if self.outputs.weigh(answer) <= MAX_WORK else None

    def _find_parameters(
        self, draft: _Draft, item: Mapping[str, Any], place: str
    ) -> dict[tuple[str, str], tuple[Mapping[str, Any], str]]:
        """Parameters by place and name, each with where it stands in the document: the path's, and the operation's."""
        found: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
        for owner, at in ((item, place.rpartition("/")[0]), (draft.raw, place)):
            listed = owner.get("parameters")
            for index, each in enumerate(listed if isinstance(listed, list) else ()):
                parameter, where = self._document.follow(each, f"{at}/parameters/{index}")
                if isinstance(parameter, Mapping) and isinstance(parameter.get("name"), str):
                    found[str(parameter.get("in")), parameter["name"]] = (parameter, where)
        if len(found) > MAX_PARAMETERS:
            raise BadReference(f"It has {len(found)} parameters; at most {MAX_PARAMETERS} are taken.")
        return found

    def _take_parameters(self, draft: _Draft, item: Mapping[str, Any], place: str) -> None:
        found = self._find_parameters(draft, item, place)
        placeholders = PLACEHOLDER.findall(draft.definition["path"])
        for name in placeholders:
            found.setdefault(("path", name), ({"schema": {"type": "string"}}, place))
        parameters: dict[str, Any] = {}
        taken: dict[str, int] = {}
        for (where, wire), (parameter, at) in sorted(
            found.items(), key=lambda each: _PLACES.get(each[0][0], 9)
        ):
            if where not in _PLACES or (where == "path" and wire not in placeholders):
                continue
            if where == "header" and (header_fault(wire) or wire.lower() in _IGNORED_HEADERS):
                continue
            argument = argument_name(wire, where, taken)
            parameters[argument] = _written(parameter, argument, where, wire)
            schema, media_type = _schema_of(parameter)
            if media_type:
                parameters[argument]["style"] = "json"
            made = self.inputs.convert(
                schema, f"{at}/content/{media_type}/schema" if media_type else f"{at}/schema"
            )
            description = bounded_text(parameter.get("description"), 500)
            if description and isinstance(made, dict):
                made = {**made, "description": description}
            if parameter.get("deprecated") is True and isinstance(made, dict):
                made["deprecated"] = True
            draft.arguments[argument] = (made, where == "path" or parameter.get("required") is True)
        if parameters:
            draft.definition["parameters"] = parameters

    def _take_body(self, draft: _Draft, place: str) -> None:
        if "requestBody" not in draft.raw:
            return
        body, at = self._document.follow(draft.raw["requestBody"], f"{place}/requestBody")
        content = body.get("content") if isinstance(body, Mapping) else None
        chosen = _choose_body(content)
        if chosen is None or not isinstance(content, Mapping):
            return
        if draft.definition["method"] in ("GET", "HEAD"):
            draft.notes.append("It names a body, which requests of this method have none of: it is left out.")
            return
        kind, media_type = chosen
        media = content[media_type] if isinstance(content[media_type], Mapping) else {}
        taken = {name.lower(): 1 for name in draft.arguments}
        argument = argument_name("body", "request", taken)
        required = body.get("required") is True
        written: dict[str, Any] = {"kind": kind, "required": required}
        if argument != "body":
            written["argument"] = argument
        if media_type != BODY_KINDS[kind] and _MEDIA_TYPE.fullmatch(media_type):
            written["media_type"] = media_type
        fields = _fields(media.get("encoding")) if kind in ("form", "multipart") else {}
        if fields:
            written["fields"] = fields
        if kind == "binary":
            made: Any = {"type": "string", "contentEncoding": "base64"}
        elif kind == "text":
            made = {"type": "string"}
        else:
            schema_place = f"{at}/content/{media_type}/schema"
            made = self.inputs.convert(media.get("schema", {}), schema_place, files=kind == "multipart")
        description = bounded_text(body.get("description"), 500)
        if description and isinstance(made, dict):
            made = {**made, "description": description}
        draft.definition["body"] = written
        draft.arguments[argument] = (made, required)

    def _take_answer(self, draft: _Draft, place: str) -> None:
        responses = draft.raw.get("responses")
        if not isinstance(responses, Mapping):
            return
        for status in sorted(each for each in responses if _SUCCESS.fullmatch(str(each))):
            response, at = self._document.follow(responses[status], f"{place}/responses/{status}")
            content = response.get("content") if isinstance(response, Mapping) else None
            if not isinstance(content, Mapping) or not content:
                continue
            media_type = next((each for each in content if _JSON.match(each)), next(iter(content)))
            answer: dict[str, Any] = {}
            if _MEDIA_TYPE.fullmatch(media_type) and media_type != "*/*":
                answer["media_type"] = media_type
            draft.definition["answer"] = answer
            media = content[media_type]
            if (
                _JSON.match(media_type)
                and isinstance(media, Mapping)
                and isinstance(media.get("schema"), Mapping)
            ):
                draft.answer = self.outputs.convert(media["schema"], f"{at}/content/{media_type}/schema")
            return


_PLACES: Final = {"path": 0, "query": 1, "header": 2, "cookie": 3}
_IGNORED_HEADERS: Final = ("accept", "content-type", "authorization")
"""Parameters of these names are ignored (3.1.1, "Parameter Object", name)."""


def _written(parameter: Mapping[str, Any], argument: str, where: str, wire: str) -> dict[str, Any]:
    """A parameter as the definition has it: where it goes, and how it is written there."""
    spec: dict[str, Any] = {"in": where}
    if wire != argument:
        spec["name"] = wire
    style = parameter.get("style")
    if style in STYLES[where] and style != STYLES[where][0]:
        spec["style"] = style
    if isinstance(parameter.get("explode"), bool):
        spec["explode"] = parameter["explode"]
    if where == "query" and parameter.get("allowReserved") is True:
        spec["reserved"] = True
    return spec


def _schema_of(parameter: Mapping[str, Any]) -> tuple[Any, str]:
    """The schema of a parameter, and the media type of JSON that it is written in, if it is."""
    content = parameter.get("content")
    if isinstance(content, Mapping) and content:
        media_type = next(iter(content))
        media = content[media_type]
        schema = media.get("schema", {}) if isinstance(media, Mapping) else {}
        return schema, media_type if _JSON.match(str(media_type)) else ""
    return parameter.get("schema", {}), ""


def _choose_body(content: Any) -> tuple[str, str] | None:
    """The kind and media type in which a body is sent: JSON where that is offered."""
    if not isinstance(content, Mapping):
        return None
    kinds = {str(media_type): _body_kind(str(media_type)) for media_type in content}
    for kind in BODY_KINDS:
        for media_type, found in kinds.items():
            if found == kind:
                return kind, media_type
    return None


def _body_kind(media_type: str) -> str:
    plain = media_type.partition(";")[0].strip().lower()
    if _JSON.match(plain):
        return "json"
    if plain == "application/x-www-form-urlencoded":
        return "form"
    if plain.startswith("multipart/"):
        return "multipart"
    return "text" if plain.startswith("text/") or plain.endswith(("xml", "yaml")) else "binary"


def _fields(encoding: Any) -> dict[str, dict[str, Any]]:
    fields: dict[str, dict[str, Any]] = {}
    for name, each in encoding.items() if isinstance(encoding, Mapping) else ():
        if not isinstance(each, Mapping):
            continue
        field: dict[str, Any] = {}
        if each.get("style") in STYLES["query"]:
            field["style"] = each["style"]
        if isinstance(each.get("explode"), bool):
            field["explode"] = each["explode"]
        media_type = each.get("contentType")
        if isinstance(media_type, str) and _MEDIA_TYPE.fullmatch(media_type):
            field["media_type"] = media_type
        if field:
            fields[str(name)] = field
    return fields


def _split_path(path: str) -> tuple[str, dict[str, str]]:
    """A path as definitions have it, and the query that some documents write into it to tell operations apart."""
    plain, _, query = path.partition("#")[0].partition("?")
    pieces = re.split(r"(\{[^{}]*\})", plain)
    encoded = "".join(
        piece if piece.startswith("{") else quote(piece, safe="/-._~!$&'()*+,;=:@%") for piece in pieces
    )
    return encoded, dict(parse_qsl(query)) if "{" not in query else {}


def _more_than(summary: str, description: str) -> str:
    return "" if description.rstrip(".") == summary.rstrip(".") else description


def _check(schema: Mapping[str, Any]) -> None:
    jsonschema_rs.validator_for(dict(schema), pattern_options=jsonschema_rs.RegexOptions(), offline=True)
