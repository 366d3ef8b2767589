"""The form of a tool whose definition is written as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms

from core.strictjson import BadJson, read_json
from frontend.forms.base import ServiceForm, mono


class DefinitionForm(ServiceForm):
    """A tool's name, words and definition. ``fixed``: one that there is keeps its name and source for life."""

    name = forms.CharField(
        max_length=64,
        help_text="What models call it by: letters, digits, dots, hyphens, underscores.",
        widget=forms.TextInput(attrs=mono(placeholder="daily_report")),
    )
    source = forms.ChoiceField(label="Data source")
    title = forms.CharField(required=False, max_length=200, help_text="For people.")
    description = forms.CharField(
        required=False,
        max_length=8000,
        help_text="For models: what it gives, and when to use it.",
        widget=forms.Textarea(attrs={"rows": "3"}),
    )
    definition = forms.CharField(
        max_length=128 * 1024,
        strip=False,
        help_text="JSON. What is wrong is shown below, each with its place.",
        widget=forms.Textarea(attrs=mono(rows="22")),
    )

    def __init__(self, *args: Any, sources: list[str], fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["source"]
        assert isinstance(choice, forms.ChoiceField)  # noqa: S101 - declared above
        choice.choices = [(name, name) for name in sources]
        if fixed:
            del self.fields["name"], self.fields["source"]

    def clean_definition(self) -> Mapping[str, Any]:
        """The definition as an object."""
        try:
            value = read_json(self.cleaned_data["definition"].encode("utf-8", "surrogatepass") or b"{}")
        except BadJson as fault:
            raise forms.ValidationError(f"It is not JSON: {fault}.") from None
        if not isinstance(value, dict):
            raise forms.ValidationError('It must be a JSON object, like {"steps": […]}.')
        return value


def written(definition: Mapping[str, Any]) -> str:
    """A definition as the editor shows it."""
    return json.dumps(definition, indent=2, ensure_ascii=False)
