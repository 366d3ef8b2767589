"""Resources and templates by hand: checked when they are saved, and filled in when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from marina.uritemplates import BadTemplate, compile_template
from servers.execution.backends.handmade.reading import Faults, size_of
from servers.execution.backends.handmade.slots import encoding_for, fill
from servers.execution.contract import OfferedResource, Operation, Outcome

KIND: Final = "resource"

_MEMBERS: Final = (
    "uri",
    "name",
    "title",
    "description",
    "mime_type",
    "text",
    "blob",
    "variables",
    "annotations",
)
_MAX_URI: Final = 1_024


def compile_resource(definition: Mapping[str, Any]) -> OfferedResource:
    """A resource, or with braces in its URI a template. Raises ``InvalidInput`` with every fault at once."""
    faults = Faults()
    faults.check_members(definition, _MEMBERS)
    uri = faults.text(definition, "uri", longest=_MAX_URI, needed=True).strip()
    template = "{" in uri or "}" in uri
    names = _check_uri(uri, template, faults)
    variables = _read_variables(definition.get("variables"), names, faults)
    content = faults.content(definition, names if template else None)
    mime_type = faults.mime_type(
        definition, "text/plain" if "text" in content else "application/octet-stream"
    )
    name = faults.text(definition, "name", longest=200).strip() or uri.rstrip("/").rpartition("/")[2] or uri
    title = faults.text(definition, "title", longest=200)
    description = faults.text(definition, "description", longest=8_000)
    annotations = _read_annotations(definition.get("annotations"), faults)
    faults.raise_any()
    return OfferedResource(
        uri=uri,
        name=name[:200],
        title=title,
        description=description,
        mime_type=mime_type,
        operation=Operation(
            KIND, {**content, "mime_type": mime_type, "template": template, "variables": variables}
        ),
        template=template,
        annotations=annotations,
        size=None if template else size_of(content),
    )


def read_resource(definition: Mapping[str, Any], arguments: Mapping[str, Any]) -> Outcome:
    """What the resource holds, with a template's values in their slots."""
    values = {name: value for name, value in arguments.items() if isinstance(value, str)}
    uri = values.pop("uri", "")
    mime_type = str(definition.get("mime_type", ""))
    held: dict[str, Any] = {"uri": uri, "mimeType": mime_type}
    if "blob" in definition:
        held["blob"] = definition["blob"]
    elif definition.get("template"):
        held["text"] = fill(str(definition.get("text", "")), values, encoding_for(mime_type))
    else:
        held["text"] = definition.get("text", "")
    return Outcome(None, "", size=len(held.get("text", held.get("blob", ""))), content=[held])


def _check_uri(uri: str, template: bool, faults: Faults) -> tuple[str, ...]:
    """The names of the variables of a template."""
    if not uri:
        return ()
    if not template:
        try:
            scheme = urlsplit(uri).scheme
        except ValueError:
            scheme = ""
        if not scheme or any(ord(each) < 0x21 or ord(each) == 0x7F for each in uri):
            faults.add("uri", "must be a URI with a scheme and without spaces, such as notes://team/welcome.")
        return ()
    try:
        return compile_template(uri).names
    except BadTemplate as fault:
        faults.add("uri", f"is not a URI template that Marina can match. {fault}")
        return ()


def _read_variables(given: Any, names: tuple[str, ...], faults: Faults) -> dict[str, Any]:
    """What is known of a template's variables: the values to choose from."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        faults.add("variables", "must be an object: each variable's name with its enum.")
        return {}
    variables = {}
    for name, rule in given.items():
        path = f"variables.{name[:64]}"
        if name not in names:
            faults.add(path, "the URI has no such variable.")
        elif not isinstance(rule, Mapping):
            faults.add(path, 'must be an object, such as {"enum": ["en", "de"]}.')
        else:
            faults.check_members(rule, ("enum",), f"{path}.")
            variables[name] = {"enum": faults.choices(rule.get("enum"), f"{path}.enum")}
    return variables


def _read_annotations(given: Any, faults: Faults) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        faults.add("annotations", "must be an object.")
        return {}
    faults.check_members(given, ("audience", "priority"), "annotations.")
    found: dict[str, Any] = {}
    audience, priority = given.get("audience"), given.get("priority")
    if audience is not None:
        if not isinstance(audience, list) or any(each not in ("user", "assistant") for each in audience):
            faults.add("annotations.audience", "must be a list of user and assistant.")
        found["audience"] = audience
    if priority is not None:
        if isinstance(priority, bool) or not isinstance(priority, int | float) or not 0 <= priority <= 1:
            faults.add("annotations.priority", "must be a number from 0 to 1.")
        found["priority"] = priority
    return found
