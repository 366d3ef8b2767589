"""Forms of what a team writes itself: resources with a text or a file, and prompts with their messages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.http import QueryDict

from frontend.forms.base import ObjectField, ServiceForm, mono

MAX_FILE: Final = 1024 * 1024
"""Bytes of a file that are looked at; what a resource may hold, its service decides."""
BLANK_ARGUMENTS: Final = 2
BLANK_MESSAGES: Final = 2


class WritingForm(ServiceForm):
    """A form that makes a definition; ``stored`` is the one that it changes."""

    def __init__(self, *args: Any, stored: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: Mapping[str, Any] = stored or {}

    def definition(self) -> dict[str, Any]:
        """The definition as its service takes it; of a change, ``None`` takes something away."""
        raise NotImplementedError


class ResourceForm(WritingForm):
    """A resource or a template. A file takes the place of the text; bytes that are stored stay without either."""

    field_of_path = {"blob": "file", "variables": "choices"}
    name_field = "uri"

    uri = forms.CharField(
        label="URI",
        max_length=1024,
        help_text="With a scheme of your own. Braces make it a template: greetings://{lang}/{name}",
        widget=forms.TextInput(attrs=mono(placeholder="notes://team/welcome")),
    )
    title = forms.CharField(required=False, max_length=200, help_text="For people.")
    description = forms.CharField(
        required=False,
        max_length=8000,
        help_text="For models: what it holds, and when to read it.",
        widget=forms.Textarea(attrs={"rows": "2"}),
    )
    mime_type = forms.CharField(
        label="Type",
        required=False,
        max_length=200,
        help_text="A media type. Empty: plain text, of a file what the browser says, of a tool JSON.",
        widget=forms.TextInput(attrs=mono(placeholder="text/markdown")),
    )
    text = forms.CharField(
        required=False,
        max_length=100_000,
        strip=False,
        help_text="In a template, ${name} stands for the variable of that name in the URI.",
        widget=forms.Textarea(attrs=mono(rows="12")),
    )
    file = forms.FileField(
        required=False, allow_empty_file=True, help_text="In place of a text: at most 96 KiB."
    )
    result = ObjectField(
        label="Filled by a tool",
        required=False,
        max_length=20_000,
        help_text='In place of a text: {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}',
        example='{"tool": "get_order"}',
        rows=7,
    )
    choices = forms.CharField(
        required=False,
        max_length=20_000,
        help_text="Of a template: values to choose from, a line for each variable, like lang: de, en, nl",
        widget=forms.Textarea(attrs=mono(rows="2")),
    )
    completions = ObjectField(
        label="Completed by tools",
        required=False,
        max_length=20_000,
        help_text='Of a template: {"id": {"tool": "find_orders", "arguments": {"prefix": "${id}"}, "pick": "/rows", '
        '"member": "id"}}',
        example='{"id": {"tool": "find_orders"}}',
        rows=5,
    )

    def __init__(self, *args: Any, stored: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if stored is not None:
            kwargs["initial"] = {
                **{
                    name: stored.get(name, "")
                    for name in ("uri", "title", "description", "mime_type", "text")
                },
                "result": stored.get("result", {}),
                "choices": _written_choices(stored.get("variables", {})),
                "completions": _completions(stored.get("variables", {}).items()),
            }
        super().__init__(*args, stored=stored, **kwargs)

    @property
    def binary(self) -> bool:
        """Whether what is stored is bytes, for which the form has no control."""
        return "blob" in self.stored

    def definition(self) -> dict[str, Any]:
        """The resource as its service takes it; of a change, ``None`` takes something away."""
        data = self.cleaned_data
        found: dict[str, Any] = {name: data[name] for name in ("uri", "title", "description")}
        found["mime_type"] = data["mime_type"] or None
        # A browser ends lines as HTTP does.
        text, file = data["text"].replace("\r\n", "\n"), data["file"]
        found["result"] = data["result"] or None
        if file is not None:
            found["blob"] = base64.b64encode(file.read(MAX_FILE)).decode()
            found["mime_type"] = data["mime_type"] or file.content_type
        elif text or not (self.binary or data["result"]):
            found["text"] = text
        variables = _read_choices(data["choices"])
        for name, rule in data["completions"].items():
            variables[name] = {**variables.get(name, {}), "complete": rule}
        found["variables"] = variables or None
        return found

    def _add_fault(self, path: str, message: str) -> None:
        first, _, rest = path.partition(".")
        name, _, below = rest.partition(".")
        if first == "variables" and below.partition(".")[0] == "complete":
            self.add_error("completions", f"{name}{below.removeprefix('complete')}: {message}")
        else:
            super()._add_fault(path, message)


@dataclass(frozen=True, slots=True)
class ArgumentRow:
    """One row of a prompt's arguments, as typed. ``choices`` are separated by commas."""

    name: str = ""
    description: str = ""
    need: str = "optional"
    choices: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One row of a prompt's messages, as typed. With a ``uri`` its text is embedded as a resource.

    ``kept`` is the place of a stored message that the form has no control for: it stays as it is.
    """

    role: str = "user"
    text: str = ""
    uri: str = ""
    mime_type: str = ""
    kept: str = ""


class PromptForm(WritingForm):
    """A prompt. Its arguments and messages are rows beside the form's fields; rows left empty are left out."""

    name = forms.CharField(
        max_length=64,
        help_text="What people choose it by: letters, digits, dots, hyphens, underscores.",
        widget=forms.TextInput(attrs=mono(placeholder="review")),
    )
    title = forms.CharField(required=False, max_length=200, help_text="For people.")
    description = forms.CharField(required=False, max_length=8000, widget=forms.Textarea(attrs={"rows": "2"}))
    results = ObjectField(
        label="Results of tools",
        required=False,
        max_length=40_000,
        help_text='By the name of the slot: {"order": {"tool": "get_order", "arguments": {"order_id": "${number}"}, '
        '"pick": "/rows/0"}}',
        example='{"order": {"tool": "get_order"}}',
        rows=7,
    )
    completions = ObjectField(
        label="Arguments completed by tools",
        required=False,
        max_length=20_000,
        help_text='{"number": {"tool": "find_orders", "arguments": {"prefix": "${number}"}, "pick": "/rows", "member": '
        '"id"}}',
        example='{"number": {"tool": "find_orders"}}',
        rows=5,
    )

    def __init__(self, *args: Any, stored: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if stored is not None:
            kwargs["initial"] = {
                **{name: stored.get(name, "") for name in ("name", "title", "description")},
                "results": stored.get("results", {}),
                "completions": _completions((each["name"], each) for each in stored.get("arguments", ())),
            }
        super().__init__(*args, stored=stored, **kwargs)
        if isinstance(self.data, QueryDict):
            self.arguments = [ArgumentRow(*parts) for parts in self._rows("argument", ArgumentRow.__slots__)]
            self.messages = [MessageRow(*parts) for parts in self._rows("message", MessageRow.__slots__)]
        else:
            self.arguments = [_argument_row(each) for each in self.stored.get("arguments", ())]
            self.messages = [
                _message_row(each, place) for place, each in enumerate(self.stored.get("messages", ()))
            ]

    @property
    def argument_rows(self) -> list[ArgumentRow]:
        """The rows to show, with empty ones to fill in."""
        return [*self.arguments, *[ArgumentRow()] * BLANK_ARGUMENTS]

    @property
    def message_rows(self) -> list[MessageRow]:
        """The rows to show, with empty ones to fill in."""
        return [*self.messages, *[MessageRow()] * BLANK_MESSAGES]

    def clean_completions(self) -> dict[str, Any]:
        """How arguments are completed; each is there."""
        completions: dict[str, Any] = self.cleaned_data["completions"]
        names = [row.name.strip() for row in self.arguments]
        for name in completions:
            if name not in names:
                raise forms.ValidationError(f"There is no argument called {name[:64]}.")
        return completions

    def definition(self) -> dict[str, Any]:
        """The prompt as its service takes it."""
        data = self.cleaned_data
        return {
            **{name: data[name] for name in ("name", "title", "description")},
            "arguments": [_argument(row, data["completions"]) for row in self.arguments],
            "results": data["results"] or None,
            "messages": [self._message(row) for row in self.messages],
        }

    def _rows(self, what: str, parts: Sequence[str]) -> list[tuple[str, ...]]:
        given = self.data
        columns = [given.getlist(f"{what}-{part}") for part in parts] if isinstance(given, QueryDict) else []
        filled = [part not in {"role", "need", "mime_type"} for part in parts]
        return [
            tuple(row)
            for row in zip(*columns, strict=False)
            if any(value.strip() for value, counts in zip(row, filled, strict=True) if counts)
        ]

    def _message(self, row: MessageRow) -> dict[str, Any]:
        stored = self.stored.get("messages", ())
        if row.kept.isascii() and row.kept.isdigit() and int(row.kept[:3]) < len(stored):
            return {**stored[int(row.kept[:3])], "role": row.role}
        text = row.text.replace("\r\n", "\n")
        if not row.uri.strip():
            return {"role": row.role, "text": text}
        resource = {"uri": row.uri.strip(), "text": text}
        if row.mime_type.strip():
            resource["mime_type"] = row.mime_type.strip()
        return {"role": row.role, "resource": resource}

    def _add_fault(self, path: str, message: str) -> None:
        first, _, rest = path.partition(".")
        place, _, below = rest.partition(".")
        if first == "arguments" and below.partition(".")[0] == "complete":
            name = self.arguments[int(place)].name
            self.add_error("completions", f"{name}{below.removeprefix('complete')}: {message}")
        elif first in {"arguments", "messages"} and place.isdigit():
            what = "Argument" if first == "arguments" else "Message"
            self.add_error(None, f"{what} {int(place) + 1}{', ' + below if below else ''}: {message}")
        else:
            super()._add_fault(path, message)


def _argument(row: ArgumentRow, completions: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name.strip(), "required": row.need == "required"}
    if row.description.strip():
        found["description"] = row.description.strip()
    if choices := _separated(row.choices):
        found["enum"] = choices
    if row.default:
        found["default"] = row.default
    if row.name.strip() in completions:
        found["complete"] = completions[row.name.strip()]
    return found


def _argument_row(stored: Mapping[str, Any]) -> ArgumentRow:
    return ArgumentRow(
        name=stored["name"],
        description=stored.get("description", ""),
        need="required" if stored.get("required") else "optional",
        choices=", ".join(stored.get("enum", ())),
        default=stored.get("default", ""),
    )


def _message_row(stored: Mapping[str, Any], place: int) -> MessageRow:
    held = stored.get("resource")
    if held is None:
        return MessageRow(stored["role"], stored["text"])
    if "blob" in held:
        return MessageRow(stored["role"], "", held["uri"], held["mime_type"], str(place))
    return MessageRow(stored["role"], held["text"], held["uri"], held["mime_type"])


def _separated(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _read_choices(text: str) -> dict[str, Any]:
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    return {name.strip(): {"enum": _separated(choices)} for name, _, choices in lines}


def _written_choices(variables: Mapping[str, Any]) -> str:
    listed = {name: rule["enum"] for name, rule in variables.items() if rule.get("enum")}
    return "\n".join(f"{name}: {', '.join(choices)}" for name, choices in listed.items())


def _completions(rules: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """What is completed by a tool, by name."""
    return {name: rule["complete"] for name, rule in rules if "complete" in rule}
