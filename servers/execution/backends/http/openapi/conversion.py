"""Makes JSON Schema 2020-12 of an OpenAPI document's schemas: those of arguments, and those of answers.

Each schema that is referred to is converted once a document and direction, and kept as a local definition; circles are
kept where checking by them stays cheap, and cut otherwise. Schemas of arguments say what the document says.

Those of answers are looser, since a result that does not fit its schema is withheld, and servers often differ from
their documents: everything may be missing or null, and only types and properties are said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import jsonschema_rs
import orjson

from servers.execution.backends.http.bodies import FILE_SCHEMA
from servers.execution.backends.http.openapi.documents import BadReference, Document, steps_of
from servers.execution.backends.http.schemas import (
    LOCAL,
    MAX_WORK,
    names_in,
    order_definitions,
    subschemas,
    target_of,
    weigh,
    winds,
)

Direction = Literal["arguments", "answers"]

MAX_LEVELS: Final = 20
"""Levels of objects within objects of one schema; what lies deeper is left open."""

INPUT_BYTES: Final = 24 * 1024
OUTPUT_BYTES: Final = 6 * 1024
"""Schemas travel to each client and each model with every list: what is far from the root is left open."""

_OUTPUT_OF_MANY: Final = ((250, OUTPUT_BYTES), (750, OUTPUT_BYTES // 2), (math.inf, OUTPUT_BYTES // 4))
"""Bytes of an answer's schema in documents of at most so many operations: all of them are held in memory."""

_MOST_TEXT: Final[Mapping[Direction, int]] = {"arguments": 500, "answers": 160}
_MOST_VALUE: Final = 200
_MOST_NEEDED: Final = 400
"""Definitions that are looked at for one tool: more do not fit, however small they are."""
_MOST_CHOICES: Final = 200
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS: Final = ("minimum", "maximum", "multipleOf")
_SIGNED: Final = ("minimum", "maximum", "maxLength", "maxItems", "maxProperties")
_LISTS: Final = ("allOf", "anyOf", "oneOf")
_STRICT: Final = ("not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems")
_SAME_VALUE: Final = frozenset({*_LISTS, "not", "if", "then", "else", "dependentSchemas"})
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas", "$defs")
_REPEATS: Final = re.compile(r"\{(?:[0-9]*,)?([0-9]*)\}")
_LONGEST_PATTERN: Final = 1_000
_MOST_REPEATS: Final = 256
_MOST_PATTERNS: Final = 500
_MOST_PROPERTIES: Final = 1_000
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_OPEN: Final = "Left open here: "


def output_bytes(operations: int) -> int:
    """How large the schema of an answer may be in a document of so many operations."""
    return next(most for count, most in _OUTPUT_OF_MANY if operations <= count)


class Schemas:
    """The definitions of one document in one direction. ``convert`` what is needed, then ``settle``, then ``whole``."""

    def __init__(self, document: Document, direction: Direction) -> None:
        self.defs: dict[str, Any] = {}
        self._document = document
        self._direction: Direction = direction
        self._answers = direction == "answers"
        self._names: dict[str, str] = {}
        self._taken: dict[str, int] = {}
        self._waiting: list[tuple[str, str]] = []
        self._problems: dict[str, str] = {}
        self._extended: set[str] = set()
        self._patterns = 0
        self._sizes: dict[str, int] = {}
        self._needs: dict[str, list[str]] = {}
        self._weights: dict[str, int] = {}

    def convert(self, schema: Any, place: str, *, files: bool = False) -> Any:
        """The schema at a place of the document, referring to ``defs``. ``files``: binary properties are files.

        Raises ``BadReference``.
        """
        if files:
            schema, place = self._document.follow(schema, place)
        return self._converted(schema, place, MAX_LEVELS, files=files)

    def settle(self) -> None:
        """Convert all that was referred to meanwhile, and cut the circles that cannot be kept."""
        while self._waiting:
            reference, name = self._waiting.pop()
            try:
                found = self._document.find(reference, reference)
                self.defs[name] = self._converted(found, reference, MAX_LEVELS)
            except BadReference as problem:
                self.defs[name] = {}
                self._problems[name] = str(problem)
        for name in self._extended:
            # Together with another schema it would allow nothing at all.
            if isinstance(self.defs[name], dict) and self.defs[name].get("additionalProperties") is False:
                del self.defs[name]["additionalProperties"]
        self._cut_circles()
        self._sizes = {name: len(orjson.dumps(each)) + len(name) + 4 for name, each in self.defs.items()}
        self._needs = {name: sorted(names_in(each)) for name, each in self.defs.items()}

    def problem(self, schemas: Iterable[Any]) -> str:
        """Why what these schemas need cannot be had; empty where it can."""
        if not self._problems:
            return ""
        reached = self._reached(schemas)
        return next((self._problems[name] for name in reached if name in self._problems), "")

    def whole(self, schemas: Iterable[Any], most_bytes: int) -> dict[str, Any]:
        """The definitions that schemas need, the nearest first; what goes beyond ``most_bytes`` is left open."""
        given = list(schemas)
        left = most_bytes - sum(len(orjson.dumps(each)) for each in given)
        taken: dict[str, Any] = {}
        for name in self._reached(given):
            if self._sizes[name] <= left and self._weights.get(name, 0) <= MAX_WORK:
                taken[name] = self.defs[name]
                left -= self._sizes[name]
            elif left > 0:
                taken[name] = outline(self.defs[name])
                left -= len(orjson.dumps(taken[name])) + len(name)
        # What is left out and yet referred to.
        for name in {need for each in (*given, *taken.values()) for need in names_in(each)} - taken.keys():
            taken[name] = _left_open(self.defs[name], "the schema is too large.")
        return taken

    def weigh(self, schema: Any) -> int:
        """See ``http.schemas.weigh``."""
        return weigh(schema, self._weights)

    def _reached(self, schemas: Iterable[Any]) -> list[str]:
        """The definitions that schemas lead to, the nearest first."""
        reached: dict[str, None] = {}
        level = sorted({name for each in schemas for name in names_in(each)})
        while level and len(reached) < _MOST_NEEDED:
            reached.update(dict.fromkeys(level))
            level = sorted({need for name in level for need in self._needs[name]} - reached.keys())
        return list(reached)

    def _cut_circles(self) -> None:
        for circle in order_definitions(self.defs):
            names = frozenset(circle)
            if any(winds(self.defs[name], names) for name in circle):
                self._cut(names, in_place=False)
            self._weights.update({name: weigh(self.defs[name], self._weights) for name in circle})

    def _cut(self, circle: frozenset[str], *, in_place: bool) -> None:
        """Open a circle: first where it goes on to values within a value; where that does not help, altogether."""
        for name in circle:
            self.defs[name] = _cut_back(self.defs[name], circle, at_value=True, in_place=in_place)
        if in_place:
            return
        for rest in order_definitions({name: self.defs[name] for name in circle}):
            names = frozenset(rest)
            if len(rest) > 1 or names & names_in(self.defs[rest[0]]):
                self._cut(names, in_place=True)

    def _refer(self, reference: str, place: str) -> str:
        name = self._names.get(reference)
        if name is None:
            self._document.find(reference, place)
            last = list(steps_of(reference))[-1:] or ["document"]
            plain = _NOT_IN_NAMES.sub("_", last[0]).strip("_")[:64] or "schema"
            name = plain
            while name.lower() in self._taken:
                self._taken[plain.lower()] += 1
                name = f"{plain}_{self._taken[plain.lower()]}"
            self._names[reference] = name
            self._taken[name.lower()] = 1
            self._waiting.append((reference, name))
        return name

    def _converted(
        self, schema: Any, place: str, left: int, *, files: bool = False, extending: bool = False
    ) -> Any:
        if not isinstance(schema, Mapping):
            return schema if isinstance(schema, bool) and not self._answers else {}
        if left == 0:
            return _left_open({}, "it nests too deeply.")
        made: dict[str, Any] = {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = self._refer(reference, place)
            if extending:
                self._extended.add(name)
            made["$ref"] = LOCAL + name
            if self._document.version == "3.0":
                # What stands beside a reference counts for nothing in 3.0, but explains it.
                self._describe(schema, made)
                return made
        self._describe(schema, made)
        self._type(schema, made)
        if not self._answers:
            self._limit(schema, made)
        self._compose(schema, made, place, left)
        self._contain(schema, made, place, left, files=files, extending=extending)
        return self._nullable(schema, made)

    def _describe(self, schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        for key in ("title", "description"):
            if key == "title" and self._answers:
                continue
            text = bounded_text(schema.get(key), _MOST_TEXT[self._direction])
            if text:
                made[key] = text
        if schema.get("deprecated") is True:
            made["deprecated"] = True

    def _type(self, schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        given = schema.get("type")
        types = [each for each in (given if isinstance(given, list) else [given]) if _is_type(each)]
        if types:
            made["type"] = types[0] if len(types) == 1 else types
        form = schema.get("format")
        if form == "byte":
            made["contentEncoding"] = "base64"
        elif isinstance(form, str) and form != "binary" and form.isprintable() and len(form) <= 40:
            made["format"] = form
        for key in ("contentEncoding", "contentMediaType"):
            if isinstance(schema.get(key), str):
                made[key] = schema[key][:80]

    def _limit(self, schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        for key in (*_COUNTS, *_BOUNDS):
            if _is_number(schema.get(key)) and (key in _SIGNED or schema[key] > 0):
                made[key] = schema[key]
        for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            # A flag in 3.0, the bound itself in 3.1.
            if schema.get(key) is True and bound in made:
                made[key] = made.pop(bound)
            elif _is_number(schema.get(key)):
                made[key] = schema[key]
        if schema.get("uniqueItems") is True:
            made["uniqueItems"] = True
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and self._patterns < _MOST_PATTERNS:
            self._patterns += 1
            if is_pattern(pattern):
                made["pattern"] = pattern
        choices = schema.get("enum")
        if isinstance(choices, list) and 0 < len(choices) <= _MOST_CHOICES and _is_small(choices, 8_192):
            made["enum"] = choices
        for key in ("const", "default"):
            if key in schema and _is_small(schema[key], _MOST_VALUE):
                made[key] = schema[key]
        self._exemplify(schema, made)

    def _exemplify(self, schema: Mapping[str, Any], made: dict[str, Any]) -> None:
        examples = schema.get("examples")
        examples = (
            examples if isinstance(examples, list) else [schema["example"]] if "example" in schema else []
        )
        small = [each for each in examples[:2] if _is_small(each, _MOST_VALUE)]
        if small and "enum" not in made:
            made["examples"] = small

    def _compose(self, schema: Mapping[str, Any], made: dict[str, Any], place: str, left: int) -> None:
        for key in _LISTS:
            parts = schema.get(key)
            if isinstance(parts, list) and parts:
                extending = key == "allOf"
                # Loosened, more than one alternative may fit.
                target = "anyOf" if self._answers and key == "oneOf" else key
                made[target] = made.get(target, []) + [
                    self._converted(each, f"{place}/{key}/{index}", left - 1, extending=extending)
                    for index, each in enumerate(parts[:_MOST_CHOICES])
                ]
        if self._answers:
            return
        for key in _STRICT:
            if isinstance(schema.get(key), Mapping | bool):
                made[key] = self._converted(schema[key], f"{place}/{key}", left - 1)

    def _contain(
        self,
        schema: Mapping[str, Any],
        made: dict[str, Any],
        place: str,
        left: int,
        *,
        files: bool,
        extending: bool,
    ) -> None:
        properties = schema.get("properties")
        hidden: set[str] = set()
        if isinstance(properties, Mapping):
            hide = "writeOnly" if self._answers else "readOnly"
            hidden = {
                name
                for name, each in properties.items()
                if isinstance(each, Mapping) and each.get(hide) is True
            }
            made["properties"] = {
                name: self._property(each, f"{place}/properties/{name}", left - 1, files=files)
                for name, each in list(properties.items())[:_MOST_PROPERTIES]
                if name not in hidden
            }
        items = schema.get("items")
        for key in ("prefixItems", "items"):
            listed = schema.get(key)
            if isinstance(listed, list):
                made["prefixItems"] = [
                    self._converted(one, f"{place}/{key}/{index}", left - 1)
                    for index, one in enumerate(listed)
                ]
        if isinstance(items, Mapping):
            made["items"] = self._property(items, f"{place}/items", left - 1, files=files)
        patterned = schema.get("patternProperties")
        if isinstance(patterned, Mapping) and not self._answers:
            made["patternProperties"] = {
                pattern: self._converted(each, f"{place}/patternProperties/{pattern}", left - 1)
                for pattern, each in list(patterned.items())[:20]
                if is_pattern(pattern)
            }
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            made["additionalProperties"] = self._converted(others, f"{place}/additionalProperties", left - 1)
        elif others is False and not self._answers and not extending:
            made["additionalProperties"] = False
        required = schema.get("required")
        if isinstance(required, list) and not self._answers:
            named = [name for name in required if isinstance(name, str) and name not in hidden]
            if named:
                made["required"] = list(dict.fromkeys(named))

    def _property(self, schema: Any, place: str, left: int, *, files: bool) -> Any:
        if files and _is_binary(schema):
            described: dict[str, Any] = {}
            self._describe(schema, described)
            return {**FILE_SCHEMA, **described}
        # Only lists of files are files, too: what is within an object is sent as JSON.
        deeper = files and isinstance(schema, Mapping) and schema.get("type") == "array"
        return self._converted(schema, place, left, files=deeper)

    def _nullable(self, schema: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        if self._answers:
            if isinstance(made.get("type"), str) and made["type"] != "null":
                made["type"] = [made["type"], "null"]
            return made
        if schema.get("nullable") is not True:
            return made
        types = made.get("type")
        if types is not None:
            listed = types if isinstance(types, list) else [types]
            made["type"] = [*listed, "null"] if "null" not in listed else listed
            if "enum" in made and None not in made["enum"]:
                made["enum"] = [*made["enum"], None]
            if "allOf" not in made:
                return made
            made["type"] = listed
        outside = ("title", "description", "deprecated", "default")
        notes: dict[str, Any] = {key: made.pop(key) for key in outside if key in made}
        return {"anyOf": [made, {"type": "null"}], **notes}


def outline(schema: Any) -> dict[str, Any]:
    """An object's properties by name and type alone; of anything else, the type."""
    made = _left_open(schema, "the schema is too large.")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if isinstance(properties, Mapping):
        made["properties"] = {
            name: {"type": each["type"]} if isinstance(each, Mapping) and _is_type(each.get("type")) else {}
            for name, each in list(properties.items())[:_MOST_CHOICES]
        }
    return made


def shrink(schema: Any, most_bytes: int) -> Any:
    """The schema, with less and less of what lies deep in it until it is of at most so many bytes."""
    for levels in (MAX_LEVELS, 4, 3, 2, 1):
        if len(orjson.dumps(schema)) <= most_bytes:
            return schema
        schema = _opened_below(schema, levels)
    return (
        schema if len(orjson.dumps(schema)) <= most_bytes else _left_open(schema, "the schema is too large.")
    )


def _opened_below(schema: Any, left: int) -> Any:
    if not isinstance(schema, dict):
        return schema
    if left == 0:
        return {"type": schema["type"]} if "type" in schema else {}
    made = {key: value for key, value in schema.items() if key not in ("examples", "title")}
    if left < MAX_LEVELS:
        made["description"] = bounded_text(schema.get("description"), 80)
    return _changed_below(made, lambda _, below: _opened_below(below, left - 1))


def _changed_below(schema: dict[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The schema with each schema directly within it changed, by the keyword that it stands under."""
    made = dict(schema)
    for key in {step.partition(".")[0] for step, _ in subschemas(schema)}:
        value = schema[key]
        if isinstance(value, list):
            made[key] = [change(key, each) for each in value]
        elif key in _NAMED:
            made[key] = {name: change(key, each) for name, each in value.items()}
        else:
            made[key] = change(key, value)
    return made


def bounded_text(text: Any, most: int) -> str:
    """A text without what is invisible, of at most so many characters; empty for what is no text."""
    if not isinstance(text, str):
        return ""
    plain = " ".join(text[: most * 4].split())
    if not plain.isprintable():
        plain = "".join(" " if c.isspace() else c for c in plain if c.isprintable() or c.isspace())
    return plain if len(plain) <= most else f"{plain[: most - 1].rstrip()}…"


@lru_cache(4_096)
def is_pattern(pattern: str) -> bool:
    """Whether arguments can be matched against it in linear time. What needs looking around or back cannot.

    What repeats much, and repetitions within repetitions, would take long to compile.
    """
    times = math.prod(int(most[:9] or 1) or 1 for most in _REPEATS.findall(pattern))
    if len(pattern) > _LONGEST_PATTERN or times > _MOST_REPEATS:
        return False
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True


def _cut_back(schema: Any, circle: frozenset[str], *, at_value: bool, in_place: bool) -> Any:
    """The schema without its references to the circle, those to the very same value only with ``in_place``."""
    if not isinstance(schema, dict):
        return schema
    if target_of(schema) in circle and (in_place or not at_value):
        return _left_open(schema, f"it leads back to {target_of(schema)}.")
    return _changed_below(
        schema,
        lambda key, below: _cut_back(
            below, circle, at_value=at_value and key in _SAME_VALUE, in_place=in_place
        ),
    )


def _left_open(schema: Any, why: str) -> dict[str, Any]:
    """What stands in place of a schema: its type, and that it was left out."""
    made: dict[str, Any] = {"description": _OPEN + why}
    if isinstance(schema, Mapping) and _is_type(schema.get("type")):
        made["type"] = schema["type"]
    return made


def _is_type(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_type(each) for each in value)
    return isinstance(value, str) and value in _TYPES


def _is_small(value: Any, most: int) -> bool:
    """Whether a value is short as JSON, and not deep."""
    text = orjson.dumps(value)
    depth = 0
    for each in text if len(text) <= most else ():
        depth += (each in b"[{") - (each in b"]}")
        if depth > 6:
            return False
    return len(text) <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_binary(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    media_type = schema.get("contentMediaType")
    return schema.get("format") == "binary" or (
        isinstance(media_type, str) and "contentEncoding" not in schema and not media_type.startswith("text/")
    )
