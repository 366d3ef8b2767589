"""What the forms of all tools that a team makes have in common. Knows no definition."""

from __future__ import annotations

from typing import Any

from django import forms

from frontend.forms.base import ServiceForm, mono


class ToolFields(ServiceForm):
    """A tool's name, data source and words. ``fixed``: a tool that there is keeps its name and source for life."""

    name = forms.CharField(
        max_length=64,
        help_text="What models call it by: letters, digits, dots, hyphens, underscores.",
        widget=forms.TextInput(attrs=mono(placeholder="orders_of_customer")),
    )
    source = forms.ChoiceField(label="Data source")
    title = forms.CharField(required=False, max_length=200, help_text="For people.")
    description = forms.CharField(
        required=False,
        max_length=8000,
        help_text="For models: what it gives, and when to use it.",
        widget=forms.Textarea(attrs={"rows": "3"}),
    )

    def __init__(self, *args: Any, sources: list[str], fixed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["source"]
        assert isinstance(choice, forms.ChoiceField)  # noqa: S101 - declared above
        choice.choices = [(name, name) for name in sources]
        if fixed:
            # Versions change the rest.
            del self.fields["name"], self.fields["source"]
