"""Prompts by hand: arguments, and messages with slots, texts and embedded resources among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from core.errors import InvalidInput
from servers.execution.backends.handmade.reading import Faults
from servers.execution.backends.handmade.slots import SLOT_NAME, as_it_is, encoding_for, fill, in_uri
from servers.execution.contract import OfferedPrompt, Operation, Outcome

KIND: Final = "prompt"
MAX_MESSAGES: Final = 50
MAX_ARGUMENTS: Final = 50
ROLES: Final = ("user", "assistant")

_MEMBERS: Final = ("name", "title", "description", "arguments", "messages")
_ARGUMENT: Final = ("name", "title", "description", "required", "enum", "default")
_MESSAGE: Final = ("role", "text", "resource")
_RESOURCE: Final = ("uri", "mime_type", "text", "blob")


def compile_prompt(definition: Mapping[str, Any]) -> OfferedPrompt:
    """A prompt. Raises ``InvalidInput`` with every fault at once, each with its path."""
    faults = Faults()
    faults.check_members(definition, _MEMBERS)
    arguments = _read_arguments(definition.get("arguments"), faults)
    names = [each["name"] for each in arguments]
    messages = _read_messages(definition.get("messages"), names, faults)
    name = faults.text(definition, "name", longest=64, needed=True)
    title = faults.text(definition, "title", longest=200)
    description = faults.text(definition, "description", longest=8_000)
    faults.raise_any()
    return OfferedPrompt(
        name=name,
        title=title,
        description=description,
        arguments=[
            {key: value for key, value in each.items() if key in {"name", "title", "description", "required"}}
            for each in arguments
        ],
        operation=Operation(KIND, {"arguments": arguments, "messages": messages}),
    )


def render_prompt(definition: Mapping[str, Any], given: Mapping[str, Any]) -> Outcome:
    """The messages with the arguments in their slots. Raises ``InvalidInput`` for a value that may not be chosen."""
    values: dict[str, str] = {}
    faults = Faults()
    for argument in definition.get("arguments", ()):
        name = argument["name"]
        value = given.get(name, argument.get("default", ""))
        choices = argument.get("enum")
        if choices and value not in choices and (name in given or argument.get("required")):
            # The choices are the team's own words; what was given is not repeated.
            faults.add(name, f"must be one of: {', '.join(choices)[:500]}")
        values[name] = str(value)
    try:
        faults.raise_any()
    except InvalidInput as fault:
        raise InvalidInput(
            f"The arguments do not fit the prompt: {fault.message}. Mend them and ask again.",
            errors=fault.errors,
            code="arguments_invalid",
        ) from None
    messages = [_rendered(message, values) for message in definition.get("messages", ())]
    return Outcome(None, "", content=messages)


def _rendered(message: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    held = message.get("resource")
    if held is None:
        text = fill(message["text"], values, as_it_is)
        return {"role": message["role"], "content": {"type": "text", "text": text}}
    resource: dict[str, Any] = {"uri": fill(held["uri"], values, in_uri), "mimeType": held["mime_type"]}
    if "blob" in held:
        resource["blob"] = held["blob"]
    else:
        resource["text"] = fill(held["text"], values, encoding_for(held["mime_type"]))
    return {"role": message["role"], "content": {"type": "resource", "resource": resource}}


def _read_arguments(given: Any, faults: Faults) -> list[dict[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MAX_ARGUMENTS:
        faults.add("arguments", f"must be a list of at most {MAX_ARGUMENTS} arguments.")
        return []
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
        arguments.append(_read_argument(each, name, path, faults))
    return arguments


def _read_argument(each: Mapping[str, Any], name: str, path: str, faults: Faults) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    for member in ("title", "description"):
        if text := faults.text(each, member, longest=1_000, path=path):
            found[member] = text
    required = each.get("required", False)
    if not isinstance(required, bool):
        faults.add(f"{path}required", "must be true or false.")
    found["required"] = required is True
    choices = faults.choices(each.get("enum"), f"{path}enum")
    if choices:
        found["enum"] = choices
    default = each.get("default")
    if default is not None:
        text = faults.text(each, "default", longest=2_000, path=path)
        if choices and text not in choices:
            faults.add(f"{path}default", "must be one of the enum.")
        if found["required"]:
            faults.add(f"{path}default", "serves nothing: the argument is required.")
        found["default"] = text
    return found


def _read_messages(given: Any, names: Sequence[str], faults: Faults) -> list[dict[str, Any]]:
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
        messages.append({"role": role, **_read_content(each, names, path, faults)})
    return messages


def _read_content(each: Mapping[str, Any], names: Sequence[str], path: str, faults: Faults) -> dict[str, Any]:
    held = each.get("resource")
    if (held is None) == (each.get("text") is None):
        faults.add(f"{path}text", "give either a text or a resource.")
        return {"text": ""}
    if held is None:
        text = faults.text(each, "text", longest=60_000, path=path, needed=True)
        faults.slots(text, names, f"{path}text")
        return {"text": text}
    path = f"{path}resource."
    if not isinstance(held, Mapping):
        faults.add(path[:-1], "must be an object with a uri, and text or blob.")
        return {"text": ""}
    faults.check_members(held, _RESOURCE, path)
    uri = faults.text(held, "uri", longest=1_024, path=path, needed=True)
    faults.slots(uri, names, f"{path}uri")
    content = faults.content(held, names, path)
    mime_type = faults.mime_type(
        held, "text/plain" if "text" in content else "application/octet-stream", path
    )
    return {"resource": {"uri": uri, "mime_type": mime_type, **content}}
