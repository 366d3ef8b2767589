"""The form that says which version of a tool a server offers, how, and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm

_USES: Final = (
    ("pin", "Pinned: in place of the current version, whatever is published"),
    ("beside", "Beside the current version, under a name of its own"),
    ("canary", "Canary: in place of the current version, for some"),
)


class ServeForm(ServiceForm):
    """A server, a version, and how it is offered. Choices are given with their words."""

    server = forms.ChoiceField()
    version = forms.TypedChoiceField(coerce=int)
    use = forms.ChoiceField(label="Offered", choices=_USES, initial="pin", widget=forms.RadioSelect)
    share = forms.IntegerField(
        label="Canary: share of those who call, percent",
        required=False,
        min_value=1,
        max_value=100,
        help_text="The same credentials get it every time, and keep it when the share grows.",
    )
    credentials = forms.MultipleChoiceField(
        label="Canary: and for these",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="API keys, OAuth clients and outside issuers.",
    )

    def __init__(
        self,
        *args: Any,
        servers: Sequence[tuple[str, str]],
        versions: Sequence[tuple[int, str]],
        credentials: Sequence[tuple[str, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (("server", servers), ("version", versions), ("credentials", credentials)):
            field: Any = self.fields[name]
            field.choices = list(choices)
        if not credentials:
            del self.fields["credentials"]

    def given(self) -> dict[str, Any]:
        """What the service takes, besides server and tool."""
        data = self.cleaned_data
        canary = data["use"] == "canary"
        return {
            "version": data["version"],
            "use": data["use"],
            # Of another use, what was filled in below is not meant.
            "share": data["share"] if canary else None,
            "credentials": data.get("credentials", []) if canary else [],
        }
