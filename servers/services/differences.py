"""Says in words how tools, and versions of one, differ from those before. Pure: compares what it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final, Literal

import orjson

from servers.execution.contract import Offered

MAX_WORDS: Final = 20
"""Differences named of one tool."""

Kind = Literal["added", "removed", "renamed", "changed"]

Words = Mapping[str, Mapping[str, Any]]
"""Resources by URI, or prompts by name: each with its fields as they are stored."""

_ORDER: Final[Mapping[Kind, int]] = {"removed": 0, "renamed": 1, "changed": 2, "added": 3}
_FIELDS: Final[Mapping[str, str]] = {
    "title": "the title",
    "description": "the description",
    "name": "the name",
    "arguments": "the arguments",
    "mime_type": "the media type",
    "annotations": "the annotations",
    "icons": "the icons",
    "size": "the size",
    "definition": "how it is asked for",
    "kind": "what it does",
    "template": "whether it is a template",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of one tool. ``breaking``: who called it as before may be refused, or read something else.

    ``ends`` are sentences on the versions of it that servers pin, offer beside or try, and that go with it.
    """

    kind: Kind
    tool: str
    words: Sequence[str]
    breaking: bool = False
    ends: Sequence[str] = ()


def fingerprint_of(told: Iterable[Any]) -> str:
    """The same for the same differences, or changes of a plan: says which ones somebody was shown."""
    values = [astuple(each) for each in told]
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def diff_tools(before: Iterable[Offered], after: Iterable[Offered]) -> list[Difference]:
    """What was added, removed, renamed (the same method and path) and changed, each by name."""
    old = {each.name: each for each in before}
    new = {each.name: each for each in after}
    moved = {_place(each): name for name, each in new.items() if name not in old}
    found = []
    for name, was in old.items():
        if name not in new:
            other = moved.pop(_place(was), None)
            if other is None:
                found.append(Difference("removed", name, [f"{_place(was)} is gone."], breaking=True))
            else:
                words = [f"It is called {other} now.", *_changes(was, new[other])[0]]
                found.append(Difference("renamed", name, words[:MAX_WORDS], breaking=True))
            continue
        changes, breaking = _changes(was, new[name])
        if changes:
            found.append(Difference("changed", name, changes[:MAX_WORDS], breaking))
    found += [Difference("added", name, [f"{place} is new."]) for place, name in moved.items()]
    return sorted(found, key=lambda each: (_ORDER[each.kind], not each.breaking, each.tool))


def diff_words(before: Mapping[str, Words], after: Mapping[str, Words]) -> list[Difference]:
    """What was added, removed and changed of each ``resource`` and each ``prompt``."""
    found = []
    for what, new in after.items():
        old = before[what]
        gone = sorted(old.keys() - new.keys())
        found += [Difference("removed", name, [f"The {what} is gone."], breaking=True) for name in gone]
        for name in sorted(new.keys() & old.keys()):
            changed = [field for field, value in new[name].items() if old[name].get(field) != value]
            if changed:
                words = [f"Of the {what}, {_FIELDS.get(field, field)} changed." for field in changed]
                found.append(Difference("changed", name, words))
        found += [
            Difference("added", name, [f"The {what} is new."]) for name in sorted(new.keys() - old.keys())
        ]
    return sorted(found, key=lambda each: _ORDER[each.kind])


def _place(offered: Offered) -> str:
    """What a tool does, apart from its name: of an HTTP tool its method and path."""
    definition = offered.operation.definition
    if "method" in definition and "path" in definition:
        return f"{definition['method']} {definition['path']}"
    return offered.name


def _changes(before: Offered, after: Offered) -> tuple[list[str], bool]:
    """The differences in words, those that break first, and whether any does."""
    breaking: list[str] = []
    harmless: list[str] = []
    if _place(before) != _place(after):
        breaking.append(f"{_place(before)} became {_place(after)}.")
    for word, breaks in _argument_changes(before.input_schema, after.input_schema):
        (breaking if breaks else harmless).append(word)
    if before.output_schema != after.output_schema:
        harmless.append(_answer_change(before.output_schema, after.output_schema))
    for key, what in (("title", "The title"), ("description", "The description")):
        if getattr(before, key) != getattr(after, key):
            harmless.append(f"{what} changed.")
    if _wire(before) != _wire(after) and not breaking:
        sent = "method" in after.operation.definition
        harmless.append("How it is sent changed." if sent else "What it does changed.")
    for name, was, is_now in _hint_changes(before, after):
        harmless.append(f"It said {name}: {was}, and says {is_now}.")
    return [*breaking, *harmless], bool(breaking)


def _hint_changes(before: Offered, after: Offered) -> Iterator[tuple[str, str, str]]:
    """What a tool says of its own effects, such as that it only reads."""
    for name in sorted(before.annotations.keys() | after.annotations.keys()):
        old, new = (str(each.annotations.get(name, "nothing"))[:80] for each in (before, after))
        if old != new:
            yield name, old.lower(), new.lower()


def _wire(offered: Offered) -> Any:
    return {
        key: value for key, value in offered.operation.definition.items() if key not in ("method", "path")
    }


def _argument_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    old, new = _flat(before), _flat(after)
    for name in sorted(old.keys() - new.keys()):
        yield f"The argument {name} is gone.", True
    for name in sorted(new.keys() - old.keys()):
        required = new[name][1]
        yield f"The argument {name} was added{', and is required' if required else ''}.", required
    for name in sorted(old.keys() & new.keys()):
        (schema, required), (new_schema, new_required) = old[name], new[name]
        if required != new_required:
            yield f"The argument {name} became {'required' if new_required else 'optional'}.", new_required
        yield from _schema_changes(name, schema, new_schema)
        # What models read and no call breaks by; of an object's parts with the object.
        if "." not in name and _texts(schema) != _texts(new_schema):
            yield f"What is said of the argument {name} changed.", False


def _texts(schema: Any) -> list[Any]:
    """The descriptions and titles in a schema, at any depth."""
    if isinstance(schema, list):
        return [text for each in schema for text in _texts(each)]
    if not isinstance(schema, Mapping):
        return []
    said = [schema.get(name) for name in ("title", "description") if isinstance(schema.get(name), str)]
    return said + [text for name in sorted(schema) for text in _texts(schema[name])]


def _flat(schema: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], bool]]:
    """Arguments, and the properties of those that are objects: what a caller fills in."""
    found: dict[str, tuple[Mapping[str, Any], bool]] = {}
    for name, each, required in _properties(schema, schema):
        found[name] = (each, required)
        for inner, below, needed in _properties(each, schema):
            found[f"{name}.{inner}"] = (below, required and needed)
    return found


def _properties(
    schema: Mapping[str, Any], root: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required") or ()
    for name, each in (schema.get("properties") or {}).items():
        yield name, _followed(each, root), name in required


def _followed(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with what it refers to, one step."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = (root.get("$defs") or {}).get(reference.removeprefix("#/$defs/"))
        if isinstance(target, Mapping):
            return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _schema_changes(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, bool]]:
    if before.get("type") != after.get("type"):
        yield f"The argument {name} was {_type(before)} and is {_type(after)}.", True
        return
    old, new = before.get("enum"), after.get("enum")
    if isinstance(old, list) and isinstance(new, list):
        gone = [str(each) for each in old if each not in new]
        added = [str(each) for each in new if each not in old]
        if gone:
            yield f"The argument {name} may no longer be {', '.join(gone[:5])[:200]}.", True
        if added:
            yield f"The argument {name} may also be {', '.join(added[:5])[:200]}.", False
    elif new is not None and old is None:
        yield f"The argument {name} is one of a list of values now.", True
    elif old is not None and new is None:
        yield f"The argument {name} may be any value now.", False
    elif not _alike(before, after):
        yield f"What the argument {name} may be changed.", False


def _alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    quiet = ("description", "title", "examples", "properties", "required", "deprecated")
    return {key: value for key, value in before.items() if key not in quiet} == {
        key: value for key, value in after.items() if key not in quiet
    }


def _type(schema: Mapping[str, Any]) -> str:
    given = schema.get("type", "of any type")
    return " or ".join(map(str, given)) if isinstance(given, list) else str(given)


def _answer_change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    if before is None or after is None:
        return "What it answers is known now." if before is None else "What it answers is not known any more."
    old, new = set(before.get("properties") or ()), set(after.get("properties") or ())
    parts = [
        f"{verb} {', '.join(sorted(names)[:8])[:200]}"
        for verb, names in (("without", old - new), ("with", new - old))
        if names
    ]
    return f"What it answers changed{': ' + '; '.join(parts) if parts else ''}."
