"""Tools, resources and prompts as a plugin declared them, and how each is run. Knows no wire and no host."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar

from pydantic_core import to_jsonable_python

from marina.content import BLOCKS, Contents, Icon, Message, Result, Suggestions, as_block
from marina.context import Context
from marina.errors import ArgumentsUnfit, DeclarationError, ResourceNotFound
from marina.signatures import Output, is_async, output_of, read_signature
from marina.uritemplates import BadTemplate, compile_template

P = ParamSpec("P")
R = TypeVar("R")
CompleterT = TypeVar("CompleterT", bound=Callable[..., Awaitable[Sequence[str] | Suggestions]])

Runs = Literal["inline", "worker", "begins_inline"]

_COMPLETING: Final = {"value", "given", "settings"}


@dataclass(frozen=True, slots=True)
class Produced:
    """What a function gave, as plain data. ``content`` are MCP's blocks, contents or messages, as the thing has it."""

    text: str
    structured: Any = None
    content: Sequence[Mapping[str, Any]] | None = None
    failed: bool = False


class Declared(Generic[P, R]):
    """What tools, resources and prompts have in common. Still callable, as the function that it is."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        *,
        name: str,
        title: str,
        description: str | None,
        icons: Sequence[Icon],
        given: Collection[str] = (),
    ) -> None:
        self.function = function
        self.name = name
        self.title = title
        self.description = (inspect.getdoc(function) or "") if description is None else description
        self.icons = tuple(icon.as_dict() for icon in icons)
        self.signature = read_signature(function, given=given)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return self.function(*args, **kwargs)


class Tool(Declared[P, R]):
    """A tool. With a raw ``input_schema`` the function takes the arguments whole, as its one parameter."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        *,
        name: str,
        title: str,
        description: str | None,
        icons: Sequence[Icon],
        annotations: Mapping[str, Any],
        input_schema: Mapping[str, Any] | None,
        output_schema: Mapping[str, Any] | None,
        runs: Runs,
        task_only: bool,
    ) -> None:
        super().__init__(function, name=name, title=title, description=description, icons=icons)
        signature = self.signature
        self.runs = runs
        self.task_only = task_only
        self.annotations = dict(annotations)
        self._whole = ""
        self._output: Output | None = output_of(signature.returns, name)
        announced = None if self._output is None else self._output.schema
        self.output_schema = announced if output_schema is None else dict(output_schema)
        if input_schema is None:
            self.input_schema: Mapping[str, Any] = signature.schema()
            return
        if len(signature.arguments) != 1:
            raise DeclarationError(
                f"{name}: with input_schema, the function takes one parameter: the arguments."
            )
        if input_schema.get("type") != "object":
            raise DeclarationError(f'{name}: the input_schema must have "type": "object".')
        self.input_schema = dict(input_schema)
        self._whole = signature.arguments[0].name

    async def run(self, arguments: Mapping[str, Any], context: Context[Any]) -> Produced:
        """Run with JSON arguments. Raises ``ArgumentsUnfit`` and what the function raises."""
        given = {self._whole: arguments} if self._whole else arguments
        values = self.signature.with_context(self.signature.read(given), context)
        value: Any = await self.function(**values)  # type: ignore[call-arg]
        if self._output is None:
            return _shown(value)
        structured = self._output.dump(value)
        told = structured[next(iter(structured))] if self._output.wrapped else structured
        return Produced(_json(told), structured)


class Completable(Declared[P, R]):
    """Whose arguments can be completed while they are typed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._completers: dict[str, tuple[Callable[..., Awaitable[Any]], frozenset[str]]] = {}

    def complete(self, argument: str) -> Callable[[CompleterT], CompleterT]:
        """Declare how values of an argument are completed.

        The function takes any of ``value`` (what is typed so far), ``given`` (the arguments filled in already) and
        ``settings``, and gives the values that fit, the best first.
        """
        if argument not in self._names():
            message = f"{self.name} has no argument {argument}. It has: {', '.join(self._names()) or 'none'}."
            raise DeclarationError(message)

        def declare(function: CompleterT) -> CompleterT:
            if not is_async(function):
                raise DeclarationError(f"The completion of {argument} must be declared with async def.")
            takes = frozenset(inspect.signature(function).parameters)
            if not takes <= _COMPLETING:
                raise DeclarationError(
                    f"The completion of {argument} may take value, given and settings only."
                )
            self._completers[argument] = (function, takes)
            return function

        return declare

    async def suggest(
        self, argument: str, value: str, given: Mapping[str, str], settings: Any
    ) -> Suggestions:
        """Values for an argument; none where nobody declared how."""
        if argument not in self._completers:
            return Suggestions(())
        function, takes = self._completers[argument]
        offered = {"value": value, "given": given, "settings": settings}
        found: Any = await function(**{name: offered[name] for name in takes})
        if not isinstance(found, Suggestions):
            found = Suggestions(tuple(found), total=len(found))
        return Suggestions(tuple(str(each) for each in found.values), found.total, found.has_more)

    def _names(self) -> Sequence[str]:
        return [argument.name for argument in self.signature.arguments]


class Resource(Completable[P, R]):
    """A resource, or a template: then the variables of its URI are the function's parameters."""

    def __init__(
        self,
        function: Callable[P, Coroutine[Any, Any, R]],
        *,
        uri: str,
        template: bool,
        name: str,
        title: str,
        description: str | None,
        icons: Sequence[Icon],
        mime_type: str,
        annotations: Mapping[str, Any],
        size: int | None,
    ) -> None:
        variables = _variables(uri) if template else ()
        takes_uri = template and "uri" in inspect.signature(function).parameters
        given = ("uri",) if takes_uri else ()
        super().__init__(function, name=name, title=title, description=description, icons=icons, given=given)
        signature = self.signature
        self.uri = uri
        self.template = template
        self.mime_type = mime_type or _mime_type(signature.returns)
        self.annotations = dict(annotations)
        self.size = size
        self._takes_uri = takes_uri
        named = {argument.name for argument in signature.arguments}
        needed = {argument.name for argument in signature.arguments if argument.required}
        if "uri" in variables:
            raise DeclarationError(f"{uri}: call the variable otherwise; uri stands for the whole URI.")
        if not needed <= set(variables) or not set(variables) <= named:
            raise DeclarationError(
                f"{uri}: its variables ({', '.join(variables) or 'none'}) and the function's parameters "
                f"({', '.join(sorted(named)) or 'none'}) must be the same."
            )

    async def run(self, uri: str, variables: Mapping[str, Any], context: Context[Any]) -> Produced:
        """Read the resource. Raises ``ResourceNotFound`` and what the function raises."""
        try:
            values = self.signature.read(variables)
        except ArgumentsUnfit:
            # greet://{number} and greet://seven: there is no such resource.
            raise ResourceNotFound(uri) from None
        if self._takes_uri:
            values["uri"] = uri
        value: Any = await self.function(**self.signature.with_context(values, context))  # type: ignore[call-arg]
        parts = value if isinstance(value, list) and _all(value, Contents) else [value]
        return Produced("", content=[_contents(part).as_dict(uri, self.mime_type) for part in parts])


class Prompt(Completable[P, R]):
    """A prompt. Its arguments are strings on the wire, and become what the function's parameters say."""

    @property
    def arguments(self) -> list[dict[str, Any]]:
        """MCP's ``PromptArgument``."""
        return [
            {
                "name": each.name,
                **({"title": each.title} if each.title else {}),
                **({"description": each.description} if each.description else {}),
                "required": each.required,
            }
            for each in self.signature.arguments
        ]

    async def run(self, arguments: Mapping[str, Any], context: Context[Any]) -> Produced:
        """The messages. Raises ``ArgumentsUnfit`` and what the function raises."""
        values = self.signature.with_context(self.signature.read(arguments), context)
        value: Any = await self.function(**values)  # type: ignore[call-arg]
        parts = value if isinstance(value, list | tuple) else [value]
        messages = [part if isinstance(part, Message) else Message(part) for part in parts]
        return Produced(self.description, content=[message.as_dict() for message in messages])


def _shown(value: Any) -> Produced:
    """A value of a function that announced no data: text, or blocks as they are."""
    if value is None:
        return Produced("")
    if isinstance(value, str):
        return Produced(value)
    if isinstance(value, Result):
        shown = _blocks(value.content)
        return Produced(shown.text, to_jsonable_python(value.structured), shown.content, value.failed)
    if isinstance(value, BLOCKS):
        return _blocks([value])
    if isinstance(value, list | tuple) and all(isinstance(each, (str, *BLOCKS)) for each in value):
        return _blocks(value)
    return Produced(_json(to_jsonable_python(value)))


def _blocks(content: Sequence[Any]) -> Produced:
    blocks = [as_block(each).block() for each in content]
    text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    return Produced(text, content=blocks)


def _contents(value: Any) -> Contents:
    if isinstance(value, Contents):
        return value
    if isinstance(value, str | bytes):
        return Contents(value)
    return Contents(_json(to_jsonable_python(value, by_alias=True)))


def _mime_type(returns: Any) -> str:
    if returns is str:
        return "text/plain"
    if returns is bytes:
        return "application/octet-stream"
    return "" if returns in (Contents, list[Contents]) else "application/json"


def _variables(template: str) -> tuple[str, ...]:
    """The variables of a URI template. Raises ``DeclarationError`` where no URI could be matched against it."""
    if "{" not in template:
        raise DeclarationError(f"{template} has no variables. Declare it with resource.")
    try:
        return compile_template(template).names
    except BadTemplate as fault:
        raise DeclarationError(f"{template} is not a URI template that Marina can match. {fault}") from None


def _all(values: Sequence[Any], kind: type) -> bool:
    return bool(values) and all(isinstance(value, kind) for value in values)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
