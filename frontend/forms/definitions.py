"""The form of a tool whose definition is written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms

from frontend.forms.base import ObjectField, mono
from frontend.forms.tools import ToolFields


class DefinitionForm(ToolFields):
    """A tool whose definition is JSON. ``text`` is the member of it that is written by itself, if there is one."""

    definition = ObjectField(
        max_length=128 * 1024,
        help_text="JSON. What is wrong is shown below, each with its place.",
        example='{"steps": […]}',
        rows=22,
    )

    def __init__(self, *args: Any, text: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.text = text
        if text:
            self.fields[text] = forms.CharField(
                max_length=64 * 1024,
                strip=False,
                required=False,
                widget=forms.Textarea(attrs=mono(rows="18")),
            )
            self.fields["definition"].label = "The rest of its definition"
            self.fields["definition"].widget.attrs["rows"] = "12"

    @property
    def text_field(self) -> Any:
        """The field of the member that is written by itself; ``None`` where there is none."""
        return self[self.text] if self.text else None

    def _add_fault(self, path: str, message: str) -> None:
        if self.text and path == f"definition.{self.text}":
            self.add_error(self.text, message)
        else:
            super()._add_fault(path, message)

    def whole(self) -> dict[str, Any]:
        """The definition, with the member that is written by itself in it."""
        definition = dict(self.cleaned_data["definition"])
        if self.text:
            definition[self.text] = self.cleaned_data[self.text].replace("\r\n", "\n")
        return definition


def written(definition: Mapping[str, Any], text: str = "") -> dict[str, str]:
    """A definition as the editor shows it, by field; ``text`` as of the form."""
    rest = {name: value for name, value in definition.items() if name != text}
    shown = {"definition": json.dumps(rest, indent=2, ensure_ascii=False)}
    return {**shown, text: str(definition.get(text, ""))} if text else shown
