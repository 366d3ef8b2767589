"""Resources and templates by hand: checked when they are saved, filled in or asked of a tool when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from core.errors import NotFound
from marina.uritemplates import BadTemplate, compile_template
from servers.execution.backends.handmade.completing import Rule, read_completing
from servers.execution.backends.handmade.giving import NothingThere, Placed, give, read_giving
from servers.execution.backends.handmade.reading import Reader, size_of
from servers.execution.backends.handmade.results import content_of
from servers.execution.backends.handmade.slots import encoding_for, fill
from servers.execution.contract import Context, OfferedResource, Operation, Outcome

KIND: Final = "resource"

_MEMBERS: Final = (
    "uri",
    "name",
    "title",
    "description",
    "mime_type",
    "text",
    "blob",
    "result",
    "variables",
    "annotations",
)
_MAX_URI: Final = 1_024
_TYPES: Final[Mapping[str, str]] = {
    "text": "text/plain",
    "blob": "application/octet-stream",
    "result": "application/json",
}
"""What a content is of, where nothing is said."""


def compile_resource(definition: Mapping[str, Any]) -> OfferedResource:
    """A resource, or with braces in its URI a template. Raises ``InvalidInput`` with every fault at once."""
    faults = Reader()
    faults.check_members(definition, _MEMBERS)
    uri = faults.text(definition, "uri", longest=_MAX_URI, needed=True).strip()
    template = "{" in uri or "}" in uri
    names = _check_uri(uri, template, faults)
    variables = _read_variables(definition.get("variables"), names, faults)
    content = _read_content(definition, names if template else None, faults)
    mime_type = faults.mime_type(definition, next(_TYPES[part] for part in (*content, "text")))
    name = faults.text(definition, "name", longest=200).strip() or uri.rstrip("/").rpartition("/")[2] or uri
    title = faults.text(definition, "title", longest=200)
    description = faults.text(definition, "description", longest=8_000)
    annotations = _read_annotations(definition.get("annotations"), faults)
    faults.require_none()
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
        size=None if template or "result" in content else size_of(content),
    )


def givings_of(definition: Mapping[str, Any]) -> Sequence[Placed]:
    """What a tool gives of it."""
    return (
        [("result", definition["result"], definition.get("optional", ()))] if "result" in definition else []
    )


def rules_of(definition: Mapping[str, Any]) -> Mapping[str, Rule]:
    """How each variable of a template is completed."""
    variables = definition.get("variables", {})
    return {name: (f"variables.{name}.", rule) for name, rule in variables.items()}


async def read_resource(
    definition: Mapping[str, Any], arguments: Mapping[str, Any], context: Context
) -> Outcome:
    """What the resource holds, or the tool gives that it names, by the values of a template's variables."""
    values = {name: value for name, value in arguments.items() if isinstance(value, str)}
    uri = values.pop("uri", "")
    mime_type = str(definition.get("mime_type", ""))
    held: dict[str, Any] = {"uri": uri, "mimeType": mime_type}
    if "result" in definition:
        return await _give_resource(definition["result"], values, held, context)
    if "blob" in definition:
        held["blob"] = definition["blob"]
    elif definition.get("template"):
        held["text"] = fill(str(definition.get("text", "")), values, encoding_for(mime_type))
    else:
        held["text"] = definition.get("text", "")
    return Outcome(None, "", size=len(held.get("text", held.get("blob", ""))), content=[held])


async def _give_resource(
    giving: Mapping[str, Any], values: Mapping[str, str], held: dict[str, Any], context: Context
) -> Outcome:
    try:
        value, outcome = await give(giving, values, context, key="result")
    except NothingThere as nothing:
        raise NotFound(f"There is no such resource. {nothing}", code="resource_unknown") from None
    held |= content_of(value, outcome, held["mimeType"], picked="pick" in giving)
    size = len(held.get("text", held.get("blob", "")))
    return Outcome(None, "", rows=outcome.rows, size=size, truncated=outcome.truncated, content=[held])


def _read_content(
    definition: Mapping[str, Any], names: tuple[str, ...] | None, faults: Reader
) -> dict[str, Any]:
    """One of ``text``, ``blob`` and ``result``, and of a result the variables that may have no value."""
    given = definition.get("result")
    if given is None:
        return faults.content(definition, names)
    if any(definition.get(part) is not None for part in ("text", "blob")):
        faults.add("result", "give one of text, blob and result.")
    found: dict[str, Any] = {"result": read_giving(given, "result", names or (), faults)}
    try:
        optional = compile_template(str(definition.get("uri"))).query if names else ()
    except BadTemplate:
        optional = ()
    return {**found, "optional": list(optional)} if optional else found


def _check_uri(uri: str, template: bool, faults: Reader) -> tuple[str, ...]:
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


def _read_variables(given: Any, names: tuple[str, ...], faults: Reader) -> dict[str, Any]:
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
            faults.check_members(rule, ("enum", "complete"), f"{path}.")
            variables[name] = read_completing(rule, f"{path}.", names, faults)
    return variables


def _read_annotations(given: Any, faults: Reader) -> dict[str, Any]:
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
