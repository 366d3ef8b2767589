"""What a plugin is declared with: tools, resources, templates and prompts, as typed async functions.

    from marina.plugin import Context, Plugin

    plugin = Plugin("greetings", title="Greetings")

    @plugin.tool(read_only=True)
    async def greet(name: str) -> str:
        '''Greet somebody.'''
        return f"Hello, {name}!"

A package names its ``Plugin`` in the entry-point group ``marina.plugins``, under the plugin's own name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec

from pydantic import BaseModel
from typing_extensions import TypeVar

from marina.asking import Answer, Elicit, ElicitUrl, Question, Root, Roots, Sample, Sampled
from marina.content import (
    Audio,
    Block,
    Contents,
    EmbeddedResource,
    Icon,
    Image,
    Message,
    ResourceLink,
    Result,
    Suggestions,
    Text,
)
from marina.context import Caller, Channel, Context
from marina.declared import Produced, Prompt, Resource, Runs, Tool
from marina.errors import (
    ArgumentsUnfit,
    AskFailed,
    ClientCannot,
    ClientRefused,
    ClientSilent,
    DeclarationError,
    ResourceNotFound,
    ToolError,
)
from marina.signatures import is_async

__all__ = [
    "Answer",
    "ArgumentsUnfit",
    "AskFailed",
    "Audio",
    "Block",
    "Caller",
    "Channel",
    "ClientCannot",
    "ClientRefused",
    "ClientSilent",
    "Contents",
    "Context",
    "DeclarationError",
    "Elicit",
    "ElicitUrl",
    "EmbeddedResource",
    "Icon",
    "Image",
    "Message",
    "Plugin",
    "Produced",
    "Prompt",
    "Question",
    "Resource",
    "ResourceLink",
    "ResourceNotFound",
    "Result",
    "Root",
    "Roots",
    "Sample",
    "Sampled",
    "Suggestions",
    "Text",
    "Tool",
    "ToolError",
]

P = ParamSpec("P")
R = TypeVar("R")
SettingsT = TypeVar("SettingsT", bound=BaseModel, default=Any)
CheckT = TypeVar("CheckT", bound=Callable[..., Awaitable[None]])

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_OFFERED_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Plugin(Generic[SettingsT]):
    """What a package brings. ``name`` becomes the kind of data source that an admin adds to a team.

    ``settings`` is a pydantic model of what the admin enters there; fields of ``SecretStr`` are sealed and never
    shown again. Functions get them as ``context.settings``.
    """

    def __init__(self, name: str, *, title: str = "", settings: type[SettingsT] | None = None) -> None:
        if _NAME.fullmatch(name) is None:
            raise DeclarationError(
                f"The plugin's name {name!r} must be 1 to 32 lower-case letters, digits and hyphens."
            )
        self.name = name
        self.title = title or name
        self.settings = settings
        self.tools: dict[str, Tool[..., Any]] = {}
        self.resources: dict[str, Resource[..., Any]] = {}
        self.prompts: dict[str, Prompt[..., Any]] = {}
        self.kinds: list[Callable[[], object]] = []
        self.health: Callable[..., Awaitable[None]] | None = None

    def tool(
        self,
        name: str = "",
        *,
        title: str = "",
        description: str | None = None,
        read_only: bool | None = None,
        destructive: bool | None = None,
        idempotent: bool | None = None,
        open_world: bool | None = None,
        icons: Sequence[Icon] = (),
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        runs: Runs = "inline",
        task_only: bool = False,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Tool[P, R]]:
        """Declare a tool. Name and description come of the function's name and docstring unless given.

        ``read_only`` to ``open_world`` are MCP's hints: a tool that changes nothing should say so, since what may
        change something is recorded twice. ``runs`` is ``worker`` for a tool that takes long, and ``begins_inline`` for
        one that says when that begins (``Context.takes_long``). With ``task_only`` clients that speak no tasks are
        refused; others wait for the result. Raises ``DeclarationError``.
        """
        hints = {
            "readOnlyHint": read_only,
            "destructiveHint": destructive,
            "idempotentHint": idempotent,
            "openWorldHint": open_world,
        }

        def declare(function: Callable[P, Coroutine[Any, Any, R]]) -> Tool[P, R]:
            tool = Tool(
                function,
                name=name or function.__name__,
                title=title,
                description=description,
                icons=icons,
                annotations={hint: value for hint, value in hints.items() if value is not None},
                input_schema=input_schema,
                output_schema=output_schema,
                runs=runs,
                task_only=task_only,
            )
            _check_name(tool.name, "tool")
            _add(self.tools, tool.name, tool, "tool")
            return tool

        return declare

    def resource(
        self,
        uri: str,
        *,
        name: str = "",
        title: str = "",
        description: str | None = None,
        mime_type: str = "",
        annotations: Mapping[str, Any] | None = None,
        size: int | None = None,
        icons: Sequence[Icon] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Resource[P, R]]:
        """Declare a resource. ``annotations`` are MCP's: ``audience``, ``priority``, ``lastModified``.

        The function gives text, bytes, ``Contents``, a list of those, or data that is told as JSON.
        """
        return self._resource(uri, False, name, title, description, mime_type, annotations or {}, size, icons)

    def template(
        self,
        uri: str,
        *,
        name: str = "",
        title: str = "",
        description: str | None = None,
        mime_type: str = "",
        annotations: Mapping[str, Any] | None = None,
        icons: Sequence[Icon] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Resource[P, R]]:
        """Declare a resource template (RFC 6570). Its variables are the function's parameters.

        A value that a parameter's annotation does not take is a resource that is not there. A parameter ``uri``
        gets the whole URI.
        """
        return self._resource(uri, True, name, title, description, mime_type, annotations or {}, None, icons)

    def prompt(
        self,
        name: str = "",
        *,
        title: str = "",
        description: str | None = None,
        icons: Sequence[Icon] = (),
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Prompt[P, R]]:
        """Declare a prompt. The function gives a string, a ``Message``, a content block, or a list of those."""

        def declare(function: Callable[P, Coroutine[Any, Any, R]]) -> Prompt[P, R]:
            prompt: Prompt[P, R] = Prompt(
                function,
                name=name or function.__name__,
                title=title,
                description=description,
                icons=icons,
            )
            _check_name(prompt.name, "prompt")
            _add(self.prompts, prompt.name, prompt, "prompt")
            return prompt

        return declare

    def check(self, function: CheckT) -> CheckT:
        """Declare how a source of this plugin is checked: a function of the settings that raises ``ToolError``."""
        if not is_async(function):
            raise DeclarationError("The check of a plugin must be declared with async def.")
        if len(inspect.signature(function).parameters) > 1:
            raise DeclarationError("The check of a plugin takes the settings, or nothing.")
        self.health = function
        return function

    def kind(self, factory: Callable[[], object]) -> Callable[[], object]:
        """Bring a whole kind of data source: ``factory`` makes a ``servers.execution.contract.Backend``."""
        self.kinds.append(factory)
        return factory

    def _resource(
        self,
        uri: str,
        template: bool,
        name: str,
        title: str,
        description: str | None,
        mime_type: str,
        annotations: Mapping[str, Any],
        size: int | None,
        icons: Sequence[Icon],
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Resource[P, R]]:
        def declare(function: Callable[P, Coroutine[Any, Any, R]]) -> Resource[P, R]:
            resource = Resource(
                function,
                uri=uri,
                template=template,
                name=name or function.__name__,
                title=title,
                description=description,
                icons=icons,
                mime_type=mime_type,
                annotations=annotations,
                size=size,
            )
            _add(self.resources, uri, resource, "resource")
            return resource

        return declare


def _check_name(name: str, what: str) -> None:
    if _OFFERED_NAME.fullmatch(name) is None:
        raise DeclarationError(f"The {what}'s name {name!r} must be 1 to 64 of A-Z a-z 0-9 _ . -")


def _add(declared: dict[str, Any], key: str, thing: object, what: str) -> None:
    if key in declared:
        raise DeclarationError(f"There are two {what}s called {key}. Name one of them otherwise.")
    declared[key] = thing
