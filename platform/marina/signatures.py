"""Schemas and readers of arguments and results, made of a function's annotations when it is declared. Runs nothing."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.errors import PydanticSchemaGenerationError

from marina.content import BLOCKS, Result
from marina.context import Context
from marina.errors import ArgumentsUnfit, DeclarationError
from marina.schemawriter import SchemaWriter, faults_of

WRAPPED: Final = "result"
"""The member that holds a structured result which is no object: MCP's are objects before 2026-07-28."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of the function that a caller fills in."""

    name: str
    title: str
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes and gives. ``context`` names the parameter that gets the context, if there is one."""

    model: type[BaseModel]
    arguments: tuple[Argument, ...]
    context: str
    returns: Any

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        schema = self.model.model_json_schema(schema_generator=SchemaWriter)
        schema.pop("title", None)
        schema.setdefault("properties", {})
        return schema

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments for the function. Raises ``ArgumentsUnfit``."""
        try:
            values = self.model.model_validate(given)
        except ValidationError as fault:
            raise ArgumentsUnfit(faults_of(fault)) from None
        return {
            argument.name: getattr(values, f"p{position}") for position, argument in enumerate(self.arguments)
        }

    def with_context(self, arguments: dict[str, Any], context: Context[Any]) -> dict[str, Any]:
        """The keyword arguments with the context, where the function takes it."""
        if self.context:
            arguments[self.context] = context
        return arguments


def is_async(function: object) -> bool:
    """Whether it is declared with ``async def``."""
    return inspect.iscoroutinefunction(function)


def read_signature(function: Callable[..., Awaitable[Any]], *, given: Collection[str] = ()) -> Signature:
    """What the function takes and gives. Parameters named in ``given`` are filled in otherwise than by a caller.

    Raises ``DeclarationError`` that says what to change.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not is_async(function):
        raise DeclarationError(
            f"{name} must be declared with async def: a function that blocks would hold up every call of the "
            "process. Put what blocks in asyncio.to_thread(…)."
        )
    hints = _hints(function, name)
    if "return" not in hints:
        raise DeclarationError(f"{name} does not say what it returns. Annotate it, like -> str.")
    fields: dict[str, Any] = {}
    names: list[str] = []
    context = ""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise DeclarationError(f"{name}: {parameter} has no name for a caller to fill in.")
        if parameter.name not in hints:
            raise DeclarationError(f"{name}: the parameter {parameter.name} has no annotation.")
        annotation = hints[parameter.name]
        if _is_context(annotation):
            context = parameter.name
        elif parameter.name not in given:
            default = ... if parameter.default is parameter.empty else parameter.default
            # Fields by position: a parameter may be called like one of pydantic's own methods (json, copy).
            fields[f"p{len(names)}"] = (Annotated[annotation, Field(alias=parameter.name)], default)
            names.append(parameter.name)
    try:
        model = create_model(
            f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields
        )
        properties = model.model_json_schema(schema_generator=SchemaWriter).get("properties", {})
    except (PydanticSchemaGenerationError, PydanticUserError) as fault:
        raise DeclarationError(f"{name}: a parameter cannot be told as JSON Schema. {fault}") from fault
    if sorted(properties) != sorted(names):
        raise DeclarationError(
            f"{name}: a parameter's Field has an alias. Name the parameter as callers should."
        )
    arguments = tuple(
        Argument(
            each,
            properties[each].get("title", ""),
            properties[each].get("description", ""),
            model.model_fields[f"p{position}"].is_required(),
        )
        for position, each in enumerate(names)
    )
    return Signature(model, arguments, context, hints["return"])


@dataclass(frozen=True, slots=True)
class Output:
    """How a structured result is checked and told."""

    adapter: TypeAdapter[Any]
    schema: Mapping[str, Any]
    wrapped: bool

    def dump(self, value: Any) -> Any:
        """The result as a JSON value. Raises pydantic's ``ValidationError`` when it is not what was announced."""
        dumped = self.adapter.dump_python(self.adapter.validate_python(value), mode="json", by_alias=True)
        return {WRAPPED: dumped} if self.wrapped else dumped


def output_of(returns: Any, name: str) -> Output | None:
    """How results of this annotation are told; ``None`` for text and content blocks, which have no schema."""
    if is_content(returns):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(returns)
        schema = adapter.json_schema(mode="serialization", schema_generator=SchemaWriter)
    except (PydanticSchemaGenerationError, PydanticUserError) as fault:
        raise DeclarationError(f"{name}: what it returns cannot be told as JSON Schema. {fault}") from fault
    root = schema
    while "$ref" in root:
        root = schema["$defs"][root["$ref"].rpartition("/")[2]]
    wrapped = root.get("type") != "object"
    if wrapped:
        defined = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
        schema = {"type": "object", "properties": {WRAPPED: schema}, "required": [WRAPPED], **defined}
    return Output(adapter, {"type": "object", **schema}, wrapped)


def is_content(annotation: Any) -> bool:
    """Whether values of this annotation are text or content blocks, which are shown as they are."""
    if annotation in (str, None, type(None), Any, Result):
        return True
    return _is_blocks(annotation)


def _is_blocks(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BLOCKS):
        return True
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_content(inner[0])
    if origin in (Union, types.UnionType):
        return all(is_content(each) for each in inner)
    if origin in (list, tuple, Sequence):
        flat = [each for part in inner if part is not ... for each in (get_args(part) or (part,))]
        return any(each in BLOCKS for each in flat) and all(each is str or each in BLOCKS for each in flat)
    return False


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as fault:
        raise DeclarationError(
            f"{name}: the annotation {fault.name} is not known where the function is declared. Import it at the "
            "top of the module, and not for type checkers only."
        ) from fault


def _is_context(annotation: Any) -> bool:
    return annotation is Context or get_origin(annotation) is Context
