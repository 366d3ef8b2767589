"""Prompts by hand: arguments, what tools give, and messages with slots for both, embedded resources among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from core.readable import told_hidden
from servers.execution.backends.handmade.completing import Rule, read_completing
from servers.execution.backends.handmade.giving import NothingThere, Placed, give, read_giving
from servers.execution.backends.handmade.reading import Reader
from servers.execution.backends.handmade.results import text_of
from servers.execution.backends.handmade.slots import (
    SLOT_NAME,
    as_it_is,
    encoding_for,
    fill,
    holds,
    in_uri,
    only_slot,
)
from servers.execution.contract import Context, OfferedPrompt, Operation, Outcome

KIND: Final = "prompt"
MAX_MESSAGES: Final = 50
MAX_ARGUMENTS: Final = 50
MAX_RESULTS: Final = 10
ROLES: Final = ("user", "assistant")

_MEMBERS: Final = ("name", "title", "description", "arguments", "results", "messages")
_ARGUMENT: Final = ("name", "title", "description", "required", "enum", "complete", "default")
_MESSAGE: Final = ("role", "text", "resource")
_RESOURCE: Final = ("uri", "mime_type", "text", "blob")


def compile_prompt(definition: Mapping[str, Any]) -> OfferedPrompt:
    """A prompt. Raises ``InvalidInput`` with every fault at once, each with its path."""
    faults = Reader()
    faults.check_members(definition, _MEMBERS)
    arguments = _read_arguments(definition.get("arguments"), faults)
    names = [each["name"] for each in arguments]
    results = _read_results(definition.get("results"), names, faults)
    messages = _read_messages(definition.get("messages"), names, [*names, *results], faults)
    _check_used(results, messages, faults)
    name = faults.text(definition, "name", longest=64, needed=True)
    title = faults.text(definition, "title", longest=200)
    description = faults.text(definition, "description", longest=8_000)
    faults.require_none()
    return OfferedPrompt(
        name=name,
        title=title,
        description=description,
        arguments=[
            {key: value for key, value in each.items() if key in {"name", "title", "description", "required"}}
            for each in arguments
        ],
        operation=Operation(
            KIND, {"arguments": arguments, "messages": messages, **({"results": results} if results else {})}
        ),
    )


def givings_of(definition: Mapping[str, Any]) -> Sequence[Placed]:
    """What tools give of it. An argument that is not required and has no default may have no value."""
    unsure = [
        each["name"]
        for each in definition.get("arguments", ())
        if not each.get("required") and "default" not in each
    ]
    return [(f"results.{name}", giving, unsure) for name, giving in definition.get("results", {}).items()]


def rules_of(definition: Mapping[str, Any]) -> Mapping[str, Rule]:
    """How each argument is completed."""
    arguments = definition.get("arguments", ())
    return {each["name"]: (f"arguments.{place}.", each) for place, each in enumerate(arguments)}


async def render_prompt(definition: Mapping[str, Any], given: Mapping[str, Any], context: Context) -> Outcome:
    """The messages with the arguments, and what tools give for them, in their slots.

    Raises ``InvalidInput`` for a value that may not be chosen, and what keeps a tool from giving something.
    """
    values = _values_of(definition, given)
    known = {name: value for name, value in values.items() if value is not None}
    texts = {name: value or "" for name, value in values.items()}
    results: dict[str, str] = {}
    rows: int | None = None
    truncated = False
    # One after another: each leaves its record before the next is asked for.
    for name, giving in definition.get("results", {}).items():
        try:
            value, outcome = await give(giving, known, context, key=name)
        except NothingThere as nothing:
            raise SourceError(f"The prompt cannot be rendered. {nothing}", code="result_missing") from None
        results[name] = text_of(value, outcome, picked="pick" in giving)
        rows = rows if outcome.rows is None else (rows or 0) + outcome.rows
        truncated = truncated or outcome.truncated
    messages = [_rendered(message, texts, results) for message in definition.get("messages", ())]
    return Outcome(None, "", rows=rows, truncated=truncated, content=messages)


def _values_of(definition: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str | None]:
    """The value of each argument: as it was given, else its default. Raises ``InvalidInput``."""
    values: dict[str, str | None] = {}
    faults = Reader()
    for argument in definition.get("arguments", ()):
        name = argument["name"]
        value = given.get(name, argument.get("default"))
        choices = argument.get("enum")
        if choices and value not in choices and (name in given or argument.get("required")):
            # The choices are the team's own words; what was given is not repeated.
            faults.add(name, f"must be one of: {', '.join(choices)[:500]}")
        values[name] = None if value is None else str(value)
    try:
        faults.require_none()
    except InvalidInput as fault:
        raise InvalidInput(
            f"The arguments do not fit the prompt: {fault.message}. Mend them and ask again.",
            errors=fault.errors,
            code="arguments_invalid",
        ) from None
    return values


def _rendered(
    message: Mapping[str, Any], values: Mapping[str, str], results: Mapping[str, str]
) -> dict[str, Any]:
    held = message.get("resource")
    everything = {**values, **results}
    if held is None:
        text = fill(message["text"], everything, as_it_is)
        return {"role": message["role"], "content": {"type": "text", "text": text}}
    resource: dict[str, Any] = {"uri": fill(held["uri"], values, in_uri), "mimeType": held["mime_type"]}
    if "blob" in held:
        resource["blob"] = held["blob"]
    else:
        # A text that is a result and nothing else is that result: JSON stays JSON.
        alone = results.get(only_slot(held["text"]) or "")
        encode = encoding_for(held["mime_type"])
        resource["text"] = fill(held["text"], everything, encode) if alone is None else alone
    return {"role": message["role"], "content": {"type": "resource", "resource": resource}}


def _read_arguments(given: Any, faults: Reader) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MAX_ARGUMENTS:
        faults.add("arguments", f"must be a list of at most {MAX_ARGUMENTS} arguments.")
        return []
    names = [
        each["name"] for each in given if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    ]
    arguments: list[dict[str, Any]] = []
    for place, each in enumerate(given):
        path = f"arguments.{place}."
        if not isinstance(each, Mapping):
            faults.add(path[:-1], "must be an object with a name.")
            continue
        faults.check_members(each, _ARGUMENT, path)
        name = faults.text(each, "name", longest=64, path=path, needed=True)
        if name and not SLOT_NAME.fullmatch(name):
            faults.add(f"{path}name", "must begin with a letter, and hold letters, digits, _ . and - only.")
        if any(other["name"] == name for other in arguments):
            faults.add(f"{path}name", f"there is another argument called {name[:64]}.")
        arguments.append(_read_argument(each, name, names, path, faults))
    return arguments


def _read_argument(
    each: Mapping[str, Any], name: str, names: Sequence[str], path: str, faults: Reader
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    for member in ("title", "description"):
        if text := faults.text(each, member, longest=1_000, path=path):
            if hidden := told_hidden(text, lines=True):
                faults.add(f"{path}{member}", hidden)
            found[member] = text
    required = each.get("required", False)
    if not isinstance(required, bool):
        faults.add(f"{path}required", "must be true or false.")
    found["required"] = required is True
    found |= read_completing(each, path, names, faults)
    choices = found.get("enum")
    default = each.get("default")
    if default is not None:
        text = faults.text(each, "default", longest=2_000, path=path)
        if choices and text not in choices:
            faults.add(f"{path}default", "must be one of the enum.")
        if found["required"]:
            faults.add(f"{path}default", "serves nothing: the argument is required.")
        found["default"] = text
    return found


def _read_results(given: Any, names: Sequence[str], faults: Reader) -> dict[str, Any]:
    """What tools give for the messages, by the name of its slot."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > MAX_RESULTS:
        faults.add("results", f"must be an object of at most {MAX_RESULTS}: each slot's name with its tool.")
        return {}
    results = {}
    for name, each in given.items():
        path = f"results.{name[:64]}"
        if not SLOT_NAME.fullmatch(name):
            faults.add(path, "its name must begin with a letter, and hold letters, digits, _ . and - only.")
        elif name in names:
            faults.add(path, "there is an argument of that name.")
        else:
            results[name] = read_giving(each, path, names, faults)
    return results


def _check_used(results: Collection[str], messages: Sequence[Mapping[str, Any]], faults: Reader) -> None:
    """Add each result that no message holds: its tool would be called for nothing."""
    texts = [
        text
        for message in messages
        for text in (message.get("text"), message.get("resource", {}).get("text"))
        if text
    ]
    for name in results:
        if not any(holds(text, name) for text in texts):
            faults.add(
                f"results.{name[:64]}", f"no message holds it: write ${{{name}}} where it shall stand."
            )


def _read_messages(
    given: Any, names: Sequence[str], known: Sequence[str], faults: Reader
) -> list[dict[str, Any]]:
    """``names`` are the arguments', ``known`` those of results beside."""
    if not isinstance(given, list) or not 0 < len(given) <= MAX_MESSAGES:
        faults.add("messages", f"must be a list of 1 to {MAX_MESSAGES} messages.")
        return []
    messages = []
    for place, each in enumerate(given):
        path = f"messages.{place}."
        if not isinstance(each, Mapping):
            faults.add(path[:-1], "must be an object with a role, and text or a resource.")
            continue
        faults.check_members(each, _MESSAGE, path)
        role = each.get("role", "user")
        if role not in ROLES:
            faults.add(f"{path}role", "must be user or assistant.")
        messages.append({"role": role, **_read_content(each, names, known, path, faults)})
    return messages


def _read_content(
    each: Mapping[str, Any], names: Sequence[str], known: Sequence[str], path: str, faults: Reader
) -> dict[str, Any]:
    held = each.get("resource")
    if (held is None) == (each.get("text") is None):
        faults.add(f"{path}text", "give either a text or a resource.")
        return {"text": ""}
    if held is None:
        text = faults.text(each, "text", longest=60_000, path=path, needed=True)
        faults.slots(text, known, f"{path}text")
        return {"text": text}
    path = f"{path}resource."
    if not isinstance(held, Mapping):
        faults.add(path[:-1], "must be an object with a uri, and text or blob.")
        return {"text": ""}
    faults.check_members(held, _RESOURCE, path)
    uri = faults.text(held, "uri", longest=1_024, path=path, needed=True)
    faults.slots(uri, names, f"{path}uri")
    content = faults.content(held, known, path)
    mime_type = faults.mime_type(
        held, "text/plain" if "text" in content else "application/octet-stream", path
    )
    return {"resource": {"uri": uri, "mime_type": mime_type, **content}}
