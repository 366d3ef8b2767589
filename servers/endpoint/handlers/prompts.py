"""``prompts/list``, ``prompts/get`` and ``completion/complete``."""

from __future__ import annotations

from typing import Any

from core.errors import Forbidden, NotFound, SourceError
from servers.endpoint.context import CallContext
from servers.endpoint.handlers.answers import (
    client_in,
    complete,
    cursor_of,
    invalid,
    lacks_capability,
    record_refusal,
    text_of,
    unknown,
)
from servers.endpoint.incoming import Incoming
from servers.endpoint.lists import shape_of
from servers.execution.contract import InputRequired
from servers.services.calls import complete_argument, get_prompt
from servers.services.decisions import require_list
from tenants.roles import Action


async def list_prompts(incoming: Incoming) -> bytes:
    """A page of the prompts."""
    cursor = cursor_of(incoming)
    try:
        require_list(incoming.caller, incoming.surface, Action.PROMPTS_READ)
    except Forbidden as refusal:
        await record_refusal(incoming, refusal)
        raise
    return incoming.view.prompts.page(shape_of(incoming.version), cursor, None)


async def get(incoming: Incoming) -> bytes:
    """A prompt's messages."""
    name = text_of(incoming, "name")
    arguments = _texts(incoming.params.get("arguments"), "params.arguments")
    context = CallContext(incoming, name, arguments)
    try:
        outcome = await get_prompt(
            caller=incoming.caller,
            surface=incoming.surface,
            name=name,
            arguments=arguments,
            client=client_in(incoming),
            request_id=incoming.request_id,
            timeout=incoming.seconds,
            context=context,
        )
    except InputRequired as required:
        return context.input_required(required, name, arguments)
    except NotFound as error:
        raise unknown(error) from None
    except SourceError as error:
        if error.code == "client_cannot" and incoming.modern:
            raise lacks_capability(error) from None
        raise
    members: dict[str, Any] = {"messages": list(outcome.content or ())}
    if outcome.text:
        members = {"description": outcome.text, **members}
    return complete(incoming, members, outcome.meta)


async def complete_value(incoming: Incoming) -> bytes:
    """Values for an argument that somebody is typing."""
    params = incoming.params
    ref, argument = params.get("ref"), params.get("argument")
    if not isinstance(ref, dict) or not isinstance(argument, dict):
        raise invalid("params.ref and params.argument must be objects.")
    name, value = argument.get("name"), argument.get("value")
    if not isinstance(name, str) or not isinstance(value, str):
        raise invalid("params.argument.name and params.argument.value must be strings.")
    given = params.get("context")
    if not isinstance(given, dict | None):
        raise invalid("params.context must be an object.")
    prompt, uri = _referred(ref)
    try:
        found = await complete_argument(
            caller=incoming.caller,
            surface=incoming.surface,
            prompt=prompt,
            uri=uri,
            argument=name,
            value=value,
            given=_texts((given or {}).get("arguments"), "params.context.arguments"),
            client=client_in(incoming),
            request_id=incoming.request_id,
        )
    except NotFound as error:
        raise unknown(error) from None
    completion: dict[str, Any] = {"values": list(found.values)}
    if found.total is not None:
        completion["total"] = found.total
    completion["hasMore"] = found.has_more
    return complete(incoming, {"completion": completion})


def _referred(ref: dict[str, Any]) -> tuple[str | None, str | None]:
    kind = ref.get("type")
    named = ref.get("name") if kind == "ref/prompt" else ref.get("uri")
    # A tuple: a client may send what cannot be looked up in a set.
    if kind not in ("ref/prompt", "ref/resource") or not isinstance(named, str):
        raise invalid(
            "params.ref must have the type ref/prompt and a name, or the type ref/resource and a uri."
        )
    return (named, None) if kind == "ref/prompt" else (None, named)


def _texts(value: object, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"{path} must be an object of strings.")
    for name, each in value.items():
        if not isinstance(each, str):
            raise invalid(f"{path}.{name[:80]} must be a string.")
    return value
