"""Who may do what with what a server offers. Runs nothing, records nothing, knows no wire.

``servers.services.calls`` asks it and records the answer. Policy rules and limits join here, after scope, when
they come. ``tool:<name>`` narrows tools alone; what a credential may read of resources and prompts depends on
``resources:read``, ``prompts:read`` and ``server:<slug>``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from jsonschema_rs import Validator

from core.errors import Forbidden, InvalidInput, NotFound, SourceError
from servers.execution.contract import Source
from servers.services.quarantine import refusal_of
from servers.services.redaction import mask_text
from servers.services.surfaces import Surface, SurfacePrompt, SurfaceResource, SurfaceTool
from servers.services.validators import VALIDATORS
from servers.services.visibility import require_server, require_tool, scopes_of_tool, tools_left
from tenants.access import Caller
from tenants.roles import Action

_NEAREST: Final = 12
_SHOWN_CHARACTERS: Final = 200


Check = Callable[[Caller, Surface, str], None]
"""One rule about a call of a tool by name: raises ``Forbidden`` or ``NotFound`` where it refuses."""


def _require_scope(caller: Caller, surface: Surface, tool_name: str) -> None:
    try:
        caller.require(Action.TOOLS_CALL)
    except Forbidden as refusal:
        _name_all_needed(refusal, caller, tool_name)
        raise


def _require_server(caller: Caller, surface: Surface, tool_name: str) -> None:
    require_server(caller, surface.slug)


def _require_tool(caller: Caller, surface: Surface, tool_name: str) -> None:
    require_tool(caller, tool_name)


def _require_offered(caller: Caller, surface: Surface, tool_name: str) -> None:
    if tool_name not in surface.by_name:
        raise _unknown_tool(caller, surface, tool_name)


def _require_no_quarantine(caller: Caller, surface: Surface, tool_name: str) -> None:
    tool = surface.by_name.get(tool_name)
    if tool is not None and tool.quarantine:
        raise refusal_of("tool", tool_name, tool.quarantine)


CHECKS: Final[dict[str, Check]] = {
    "scope": _require_scope,
    "server": _require_server,
    "tool": _require_tool,
    "offered": _require_offered,
    "quarantine": _require_no_quarantine,
}
"""The rules in their order. The decision and its explanation (``explaining``) both go by them."""

_IN_ORDER: Final = tuple(CHECKS.values())


def decide(caller: Caller, surface: Surface, tool_name: str) -> SurfaceTool:
    """The tool, when the caller may call it here. Raises ``Forbidden`` or ``NotFound``."""
    for check in _IN_ORDER:
        check(caller, surface, tool_name)
    return surface.by_name[tool_name]


def require_usable(tool: SurfaceTool) -> tuple[Source, Validator]:
    """What a call of the tool needs. Raises ``SourceError`` where the tool cannot be run, whoever asks."""
    if tool.source is None:
        raise SourceError(tool.fault, code="tool_unusable")
    validator = tool.validator
    return tool.source, VALIDATORS.compile(tool) if validator is None else validator


def require_result_validator(tool: SurfaceTool) -> Validator:
    """What judges the results of a tool that has an output schema. Raises ``SourceError``."""
    if tool.output_validator is None:
        # Other tools, called while this one ran, took the room of what was compiled before it.
        VALIDATORS.compile(tool)
    if tool.output_validator is None:
        raise AssertionError("a tool without an output schema was asked for what judges its results")
    return tool.output_validator


def decide_resource(caller: Caller, surface: Surface, uri: str) -> tuple[SurfaceResource, Mapping[str, str]]:
    """The resource of this URI, when the caller may read it here, and the values of its template's variables.

    Subscribing asks the same. Raises ``Forbidden`` or ``NotFound`` (``resource_unknown``).
    """
    require_list(caller, surface, Action.RESOURCES_READ)
    found = surface.find_resource(uri)
    if found is None:
        raise NotFound(
            f"Unknown resource: {_shown(uri)}. The server {surface.slug} does not offer it. List its resources and "
            "resource templates to see what it offers.",
            code="resource_unknown",
            data={"uri": _shown(uri)},
        )
    if found[0].quarantine:
        raise refusal_of("resource", _shown(uri), found[0].quarantine)
    return found


def decide_prompt(caller: Caller, surface: Surface, name: str) -> SurfacePrompt:
    """The prompt, when the caller may get it here. Raises ``Forbidden`` or ``NotFound`` (``prompt_unknown``)."""
    require_list(caller, surface, Action.PROMPTS_READ)
    prompt = surface.find_prompt(name)
    if prompt is None:
        step = _offers([prompt.name for prompt in surface.prompts], "List the prompts to see what it offers.")
        raise NotFound(
            f"Unknown prompt: {_shown(name)}. The server {surface.slug} does not offer it. {step}",
            code="prompt_unknown",
        )
    if prompt.quarantine:
        raise refusal_of("prompt", prompt.name, prompt.quarantine)
    return prompt


def decide_completion(
    caller: Caller, surface: Surface, *, prompt: str | None, uri: str | None, argument: str
) -> SurfacePrompt | SurfaceResource:
    """What has the argument, when the caller may complete it: the prompt, or the template with this URI template.

    Raises as ``decide_prompt`` and ``decide_resource`` do, and ``InvalidInput`` for an argument that it has not.
    """
    if (prompt is None) == (uri is None):
        message = "Name either a prompt or a resource template whose argument is to be completed."
        raise InvalidInput(message, errors=[{"path": "ref", "message": message}], code="reference_invalid")
    offered: SurfacePrompt | SurfaceResource
    if uri is None:
        offered = decide_prompt(caller, surface, prompt or "")
        names = [str(each["name"]) for each in offered.arguments]
    else:
        require_list(caller, surface, Action.RESOURCES_READ)
        offered = surface.find_template(uri) or decide_resource(caller, surface, uri)[0]
        if offered.quarantine:
            raise refusal_of("resource", _shown(uri), offered.quarantine)
        names = list(surface.variables_of(offered))
    if argument not in names:
        has = f"It has: {', '.join(names)}." if names else "It has none."
        message = f"There is no argument {_shown(argument)} to complete here. {has}"
        raise InvalidInput(
            message, errors=[{"path": "argument.name", "message": message}], code="argument_unknown"
        )
    return offered


def names_to_list(caller: Caller, surface: Surface) -> frozenset[str] | None:
    """The names that the caller's list of tools is narrowed to; ``None`` for all. Raises ``Forbidden``."""
    require_list(caller, surface, Action.TOOLS_READ)
    return tools_left(caller)


def require_list(caller: Caller, surface: Surface, action: Action) -> None:
    """Raise ``Forbidden`` unless the caller may do ``action`` (``RESOURCES_READ``, ``PROMPTS_READ`` …) here."""
    caller.require(action)
    require_server(caller, surface.slug)


def _name_all_needed(refusal: Forbidden, caller: Caller, tool_name: str) -> None:
    """Who lacks the scope for calling and the tool's own too learns of both at once (MCP authorization, step-up)."""
    left = tools_left(caller)
    if left is not None and tool_name not in left and "needed_scopes" in refusal.data:
        refusal.data["needed_scopes"] = [*refusal.data["needed_scopes"], *scopes_of_tool(tool_name)]


def _unknown_tool(caller: Caller, surface: Surface, tool_name: str) -> NotFound:
    names: Iterable[str] = ()
    if caller.may(Action.TOOLS_READ):
        left = tools_left(caller)
        names = (tool.name for tool in surface.tools if left is None or tool.name in left)
    step = _offers(list(names), "List the tools to see what it offers.")
    return NotFound(
        f"Unknown tool: {_shown(tool_name)}. The server {surface.slug} does not offer it. {step}",
        code="tool_unknown",
    )


def _offers(names: list[str], otherwise: str) -> str:
    if not names:
        return otherwise
    return f"It offers: {', '.join(names[:_NEAREST])}{' …' if len(names) > _NEAREST else ''}."


def _shown(text: str) -> str:
    """What a client made up, as a message may repeat it."""
    return mask_text(text)[:_SHOWN_CHARACTERS]
