"""Forms that a client shows to a person: flat JSON Schemas made of models, and what does not fit them. No I/O.

MCP allows fields of one level only: text, numbers, yes or no, a choice, a list of choices (2025-11-25
client/elicitation, "Requested Schema").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from marina.errors import DeclarationError
from marina.schemawriter import SchemaWriter

_PLAIN: Final = ("string", "number", "integer", "boolean")
_FORMATS: Final = ("email", "uri", "date", "date-time")
_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "string": ("minLength", "maxLength", "pattern", "enum", "enumNames", "oneOf"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "boolean": (),
    "array": ("minItems", "maxItems"),
}
_ALWAYS: Final = ("type", "title", "description", "default")


def form_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a form with the model's fields. Raises ``DeclarationError`` for a field no form can have."""
    schema = model.model_json_schema(schema_generator=SchemaWriter)
    defined = schema.get("$defs", {})
    fields = {
        name: _field(f"{model.__name__}.{name}", field, defined)
        for name, field in schema.get("properties", {}).items()
    }
    return {"type": "object", "properties": fields, "required": list(schema.get("required", []))}


def check_form(schema: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Empty, or what in the content does not fit the schema, without its values."""
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(
        dict(schema), pattern_options=jsonschema_rs.RegexOptions(), mask="the value", offline=True
    )
    faults = [
        f"{'.'.join(str(step) for step in fault.instance_path) or 'The answer'}: {fault.message[:200]}"
        for fault in validator.iter_errors(dict(content))
    ]
    return "; ".join(faults[:10])


def _field(name: str, field: Mapping[str, Any], defined: Mapping[str, Any]) -> dict[str, Any]:
    resolved = _resolve(field, defined)
    kind = resolved.get("type")
    if "const" in resolved and isinstance(resolved["const"], str):
        resolved, kind = {**resolved, "enum": [resolved["const"]]}, "string"
    if kind == "array":
        items = _resolve(resolved.get("items", {}), defined)
        if "enum" in items or "anyOf" in items:
            choices = {key: items[key] for key in ("type", "enum", "anyOf") if key in items}
            return {**_kept(resolved, "array"), "items": choices}
    elif kind in _PLAIN:
        return _kept(resolved, str(kind))
    raise DeclarationError(
        f"{name} cannot be a form's field. A form has text, numbers, yes or no, a choice (Literal or Enum of "
        "strings) and lists of choices."
    )


def _resolve(field: Mapping[str, Any], defined: Mapping[str, Any]) -> dict[str, Any]:
    """The field itself: references followed, and ``X | None`` taken for an X that may be left out."""
    found = dict(field)
    options = [option for option in found.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1 and len(options) < len(found["anyOf"]):
        del found["anyOf"]
        found = {**options[0], **found}
        if found.get("default", "") is None:
            del found["default"]
    while "$ref" in found:
        target = defined[str(found.pop("$ref")).rpartition("/")[2]]
        found = {**target, **found}
    return found


def _kept(field: Mapping[str, Any], kind: str) -> dict[str, Any]:
    kept = {key: field[key] for key in (*_ALWAYS, *_KEYWORDS[kind]) if key in field}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if kind == "integer" and exclusive in field:
            kept[bound] = field[exclusive] + (1 if bound == "minimum" else -1)
    if kind == "string" and field.get("format") in _FORMATS:
        kept["format"] = field["format"]
    return kept
