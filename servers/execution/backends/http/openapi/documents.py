"""Reads an OpenAPI document, JSON or YAML, within bounds, and follows references inside it. Fetches nothing.

YAML is read from its events by the rules of YAML 1.2's core schema, which OpenAPI asks for: no tag makes an object of
any other kind, ``no`` is a text, and an alias (of which a few lines make billions of values) is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import orjson
import yaml

from core.errors import InvalidInput

MAX_JSON_BYTES: Final = 24 * 1024 * 1024
MAX_YAML_BYTES: Final = 6 * 1024 * 1024
"""YAML takes about twenty times as long to read as JSON."""

MAX_DEPTH: Final = 200
MAX_VALUES: Final = 3_000_000
MAX_HOPS: Final = 20
"""References that lead from one to the next before the value itself is there."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STR: Final = "tag:yaml.org,2002:str"


class BadReference(ValueError):
    """A part of the document cannot be had: it leads nowhere, or out of it. The message is a sentence that names it."""


def refuse_document(message: str, place: str = "openapi") -> InvalidInput:
    """The error of a document that cannot be used at all."""
    return InvalidInput(message, errors=[{"path": place, "message": message}], code="openapi_invalid")


@dataclass(frozen=True, slots=True)
class Document:
    """An OpenAPI document as it was read. ``version`` is ``3.0`` or ``3.1``."""

    root: Mapping[str, Any]
    version: str

    def follow(self, value: Any, place: str) -> tuple[Any, str]:
        """What a value refers to, or the value itself, with its place. Raises ``BadReference``."""
        for _ in range(MAX_HOPS):
            if not isinstance(value, Mapping) or not isinstance(value.get("$ref"), str):
                return value, place
            reference = value["$ref"]
            value, place = self.find(reference, place), reference
        raise BadReference(f"The references at {place[:200]} lead on without end.")

    def find(self, reference: str, place: str) -> Any:
        """The value at a reference (RFC 6901 in a fragment). Raises ``BadReference``."""
        if not reference.startswith("#"):
            raise BadReference(
                f"{place[:200]} refers to {reference[:200]}, outside the document. Nothing is fetched from there: "
                "put all into one document first."
            )
        value: Any = self.root
        for step in steps_of(reference):
            if isinstance(value, Mapping) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and len(step) < 9 and int(step) < len(value):
                value = value[int(step)]
            else:
                raise BadReference(
                    f"{place[:200]} refers to {reference[:200]}, which is not in the document."
                )
        return value


def read_document(given: str | bytes | Mapping[str, Any]) -> Document:
    """Read a document from its text, or take one that was read. Raises ``InvalidInput`` (``openapi_invalid``)."""
    root = given if isinstance(given, Mapping) else _parse(given)
    if not isinstance(root, Mapping):
        raise refuse_document("This is no OpenAPI document: it is no object.")
    version = root.get("openapi")
    if not isinstance(version, str):
        raise refuse_document(
            "This is a Swagger 2.0 document. Convert it to OpenAPI 3 first, as most of its tools do."
            if "swagger" in root
            else "This is no OpenAPI document: it has no openapi: 3.…"
        )
    if not re.match(r"3\.[01]\b", version):
        raise refuse_document(
            f"OpenAPI {version[:20]} is not supported. Give a document of OpenAPI 3.0 or 3.1."
        )
    if not isinstance(root.get("paths", {}), Mapping):
        raise refuse_document("The paths of the document are no object.", "openapi.paths")
    _check_bounds(root)
    return Document(root, version[:3])


def steps_of(reference: str) -> Iterator[str]:
    """The steps of a local reference, decoded."""
    for step in reference[1:].split("/")[1:]:
        yield unquote(step).replace("~1", "/").replace("~0", "~")


def pointer(*steps: str) -> str:
    """A local reference of these steps."""
    return "#/" + "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)


def _parse(given: str | bytes) -> Any:
    text = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else given
    text = text.removeprefix(b"\xef\xbb\xbf")
    if len(text) > MAX_JSON_BYTES:
        raise refuse_document(f"The document has {len(text)} bytes; at most {MAX_JSON_BYTES} are read.")
    if text.lstrip()[:1] in (b"{", b"["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as fault:
            flow = _read_yaml_or_none(text)
            if flow is not None:
                return flow
            raise refuse_document(
                f"The document is no JSON: {fault.msg} (line {fault.lineno}, column {fault.colno})."
            ) from None
    if len(text) > MAX_YAML_BYTES:
        raise refuse_document(
            f"The document has {len(text)} bytes; of YAML at most {MAX_YAML_BYTES} are read. Give it as JSON."
        )
    return _read_yaml(text)


def _read_yaml_or_none(text: bytes) -> Any:
    """YAML may begin with a brace, too."""
    try:
        return _read_yaml(text) if len(text) <= MAX_YAML_BYTES else None
    except InvalidInput:
        return None


def _read_yaml(text: bytes) -> Any:
    try:
        return _Builder().build(yaml.parse(text.decode(), Loader=yaml.CSafeLoader))
    except UnicodeDecodeError:
        raise refuse_document("The document is no UTF-8.") from None
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise refuse_document(f"The document is no YAML: {str(fault.problem)[:200]}{where}.") from None
    except yaml.YAMLError:
        raise refuse_document(
            "The document is no YAML: it holds characters that YAML does not allow."
        ) from None


class _Builder:
    """Values of the events of one YAML document, without recursion."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, list[str]]] = []
        self._root: Any = None
        self._count = 0

    def build(self, events: Iterator[Any]) -> Any:
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._add(_scalar(event))
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._begin({} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._open.pop()
            elif isinstance(event, yaml.AliasEvent):
                line = "" if event.start_mark is None else f", line {event.start_mark.line + 1}"
                anchor = str(event.anchor)[:40]
                raise refuse_document(f"The document has a YAML alias (*{anchor}{line}). Use $ref.")
            elif isinstance(event, yaml.DocumentEndEvent):
                break
        return self._root

    def _begin(self, container: Any) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise refuse_document(f"The document nests deeper than {MAX_DEPTH} levels.")
        self._add(container)
        self._open.append((container, []))

    def _add(self, value: Any) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise refuse_document(f"The document holds more than {MAX_VALUES} values.")
        if not self._open:
            self._root = value
            return
        container, key = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif key:
            container[key.pop()] = value
        elif isinstance(value, dict | list):
            raise refuse_document("The document has an object or a list as a key.")
        else:
            key.append(value if isinstance(value, str) else orjson.dumps(value).decode())


def _scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0] or event.tag == _STR:
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) < 64:
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _check_bounds(root: Mapping[str, Any]) -> None:
    """Raise unless the document is of bounded depth and number of values. Without recursion."""
    level: list[Any] = [root]
    count = 0
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for each in level:
            items = each.values() if isinstance(each, Mapping) else each
            count += len(items)
            below.extend(item for item in items if isinstance(item, dict | list))
        if count > MAX_VALUES:
            raise refuse_document(f"The document holds more than {MAX_VALUES} values.")
        if not below:
            return
        level = below
    raise refuse_document(f"The document nests deeper than {MAX_DEPTH} levels.")
