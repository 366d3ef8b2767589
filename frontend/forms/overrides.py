"""The form for what a team says of an upstream's tools in place of their server."""

from __future__ import annotations

from frontend.forms.base import ObjectField, ServiceForm


class OverridesForm(ServiceForm):
    """All overrides of one source, as JSON."""

    overrides = ObjectField(
        example='{"search": {"title": "Search"}}',
        rows=16,
        required=False,
        label="All overrides, by the server's own names of its tools",
        help_text="Parts: name, title, description, defaults (values of arguments that are not given), hidden "
        "(arguments that nobody sees or gives), annotations. What is left out stays the server's.",
    )
