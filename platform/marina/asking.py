"""Questions to the client and its answers: elicitation, sampling, roots. Sends nothing: a context does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, cast
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from marina.content import Message
from marina.forms import check_form, form_schema
from marina.schemawriter import faults_of

AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

Action = Literal["accept", "decline", "cancel"]
_ACTIONS: Final = ("accept", "decline", "cancel")

DEFAULT_MAX_TOKENS: Final = 1_000


class Unfit(Exception):
    """An answer that is not what was asked for. Its text says why, without what was answered."""


Method = Literal["elicitation/create", "sampling/createMessage", "roots/list"]


@dataclass(frozen=True, slots=True)
class Question:
    """One of MCP's server→client requests."""

    method: Method
    params: Mapping[str, Any]


class Asked(Protocol[AnswerT_co]):
    """A question that knows how its answer is read."""

    def question(self, complaint: str = "") -> Question:
        """What is sent. ``complaint`` says why the answer before was not taken."""
        ...

    def read(self, result: Mapping[str, Any]) -> AnswerT_co:
        """The answer. Raises ``Unfit``."""
        ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[AnswerT]):
    """What a person did with a form: only with ``accept`` there is content."""

    action: Action
    content: AnswerT | None = None

    @property
    def accepted(self) -> bool:
        return self.action == "accept"


@dataclass(frozen=True, slots=True)
class Elicit(Generic[AnswerT]):
    """A form for the person at the client. ``schema`` is a flat pydantic model, or the form's JSON Schema."""

    message: str
    schema: type[AnswerT] | Mapping[str, Any]

    def question(self, complaint: str = "") -> Question:
        message = f"{self.message}\n\n{complaint}" if complaint else self.message
        return Question(
            "elicitation/create", {"message": message, "requestedSchema": _requested(self.schema)}
        )

    def read(self, result: Mapping[str, Any]) -> Answer[AnswerT]:
        action = _action(result)
        if action != "accept":
            return Answer(action)
        content = result.get("content")
        if not isinstance(content, Mapping):
            raise Unfit("The answer holds no content.")
        if isinstance(self.schema, Mapping):
            fault = check_form(self.schema, content)
            if fault:
                raise Unfit(fault)
            return Answer(action, cast("AnswerT", dict(content)))
        model = cast("type[BaseModel]", self.schema)
        try:
            return Answer(action, cast("AnswerT", model.model_validate(dict(content))))
        except ValidationError as faults:
            raise Unfit("; ".join(f"{path}: {told}" for path, told in faults_of(faults))) from None


@dataclass(frozen=True, slots=True)
class ElicitUrl:
    """A page for the person to visit, for what must not pass through the client: passwords, payments, consent."""

    message: str
    url: str

    def question(self, complaint: str = "") -> Question:
        # elicitationId: 2025-11-25 requires it, and 2026-07-28 has it no more.
        return Question(
            "elicitation/create",
            {"mode": "url", "message": self.message, "url": self.url, "elicitationId": uuid4().hex},
        )

    def read(self, result: Mapping[str, Any]) -> Answer[None]:
        return Answer(_action(result))


@dataclass(frozen=True, slots=True)
class Sampled:
    """What the client's model answered. ``content`` are MCP's content blocks as they came."""

    model: str
    stop_reason: str
    content: Sequence[Mapping[str, Any]]

    @property
    def text(self) -> str:
        """The text of it, without pictures and sounds."""
        return "\n".join(str(block.get("text", "")) for block in self.content if block.get("type") == "text")


@dataclass(frozen=True, slots=True)
class Sample:
    """A question to the client's model. ``extra`` are further params of ``sampling/createMessage``."""

    messages: str | Message | Sequence[str | Message]
    max_tokens: int = DEFAULT_MAX_TOKENS
    system_prompt: str = ""
    temperature: float | None = None
    stop_sequences: Sequence[str] = ()
    model_preferences: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def question(self, complaint: str = "") -> Question:
        given = [self.messages] if isinstance(self.messages, str | Message) else self.messages
        params: dict[str, Any] = {
            "messages": [(Message(each) if isinstance(each, str) else each).as_dict() for each in given],
            "maxTokens": self.max_tokens,
        }
        if self.system_prompt:
            params["systemPrompt"] = self.system_prompt
        if self.temperature is not None:
            params["temperature"] = self.temperature
        if self.stop_sequences:
            params["stopSequences"] = list(self.stop_sequences)
        if self.model_preferences is not None:
            params["modelPreferences"] = dict(self.model_preferences)
        return Question("sampling/createMessage", {**params, **self.extra})

    def read(self, result: Mapping[str, Any]) -> Sampled:
        content = result.get("content")
        # One block until 2025-06-18, one or several since.
        blocks = [content] if isinstance(content, Mapping) else content
        if not isinstance(blocks, list) or not all(isinstance(block, Mapping) for block in blocks):
            raise Unfit("The answer holds no content.")
        return Sampled(str(result.get("model", "")), str(result.get("stopReason", "")), tuple(blocks))


@dataclass(frozen=True, slots=True)
class Root:
    """A place that the client lets servers work in."""

    uri: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Roots:
    """Asks for the client's roots."""

    def question(self, complaint: str = "") -> Question:
        return Question("roots/list", {})

    def read(self, result: Mapping[str, Any]) -> tuple[Root, ...]:
        roots = result.get("roots")
        if not isinstance(roots, list):
            raise Unfit("The answer holds no roots.")
        if not all(isinstance(root, Mapping) and isinstance(root.get("uri"), str) for root in roots):
            raise Unfit("A root has no URI.")
        return tuple(Root(root["uri"], str(root.get("name", ""))) for root in roots)


def _action(result: Mapping[str, Any]) -> Action:
    action = result.get("action")
    if action not in _ACTIONS:
        raise Unfit("The answer's action is none of accept, decline and cancel.")
    return cast("Action", action)


def _requested(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else _form_of(schema)


@cache
def _form_of(model: type[BaseModel]) -> Mapping[str, Any]:
    return form_schema(model)
