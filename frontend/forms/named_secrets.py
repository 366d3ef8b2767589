"""The form of a secret: its name, and a value or where Marina reads one. No value is ever put into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm, mono
from servers.models import Secret
from servers.services.secret_places import MAX_VALUE_BYTES

WORDS: Final = {
    "stored": "Marina: enter the value here",
    "environment": "A variable of Marina's environment",
    "file": "A file of Marina's machine",
    "vault": "HashiCorp Vault",
}


def _only_for(origin: str) -> dict[str, str]:
    """What the page hides a control by (settings.ts)."""
    return {"data-matters-for": "origin", "data-matters-when": json.dumps([origin])}


class UnseenTextarea(forms.Textarea):
    """A text that goes into the page as little as it comes out of the database: what is refused is entered again."""

    def format_value(self, value: Any) -> None:
        """See ``Widget``."""
        return


class SecretForm(ServiceForm):
    """A new secret, or with ``row`` another value or place for one. ``origins`` as ``describe_origins`` gives them."""

    name = forms.CharField(
        max_length=64,
        help_text="Lower-case letters, digits and single hyphens. It stays.",
        widget=forms.TextInput(attrs=mono(placeholder="stripe-key")),
    )
    origin = forms.ChoiceField(label="Where it lies", choices=())
    value = forms.CharField(
        required=False,
        max_length=MAX_VALUE_BYTES,
        strip=False,
        help_text="Exactly as it is used. It is encrypted, and never shown again.",
        widget=UnseenTextarea(attrs={**mono(rows="3"), **_only_for("stored")}),
    )
    path = forms.CharField(
        label="Path in Vault",
        required=False,
        max_length=300,
        help_text="Below the team's folder. Empty: the secret's name.",
        widget=forms.TextInput(attrs={**mono(placeholder="billing/stripe"), **_only_for("vault")}),
    )
    key = forms.CharField(
        label="Key in Vault",
        required=False,
        max_length=128,
        help_text="Empty: value.",
        widget=forms.TextInput(attrs={**mono(placeholder="value"), **_only_for("vault")}),
    )

    def __init__(
        self, *args: Any, origins: Sequence[tuple[str, str]], row: Secret | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._choices = [origin for origin, _ in origins]
        choice = self.fields["origin"]
        assert isinstance(choice, forms.ChoiceField)  # noqa: S101 - as it is declared above
        choice.choices = [(json.dumps(origin), WORDS[origin]) for origin in self._choices]
        choice.help_text = " ".join(f"{WORDS[origin]}: {place}." for origin, place in origins if place)
        if row is not None:
            del self.fields["name"]
            choice.initial = json.dumps(row.origin)
            for field in ("path", "key"):
                self.fields[field].initial = row.place.get(field, "")
        if len(self._choices) == 1:
            # Nothing to choose.
            choice.widget = forms.HiddenInput()
            choice.initial = json.dumps(self._choices[0])
            for field in ("path", "key"):
                del self.fields[field]

    def given(self) -> dict[str, Any]:
        """What was entered, as the service takes it; what is of another origin is left out."""
        data = self.cleaned_data
        origin = json.loads(data["origin"])
        given: dict[str, Any] = {"origin": origin}
        if "name" in data:
            given["name"] = data["name"]
        if origin == Secret.Origin.STORED:
            # Browsers send line breaks as CR LF, which no file of keys has.
            given["value"] = data["value"].replace("\r\n", "\n")
        if origin == Secret.Origin.VAULT:
            given |= {"path": data["path"], "key": data["key"]}
        return given
