"""Forms about people and their credentials: signing in, members, API keys."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm
from tenants.roles import Role

EXPIRIES: Final = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))

ROLE_WORDS: Final = {
    Role.OWNER: "Everything, including the team itself and its owners.",
    Role.ADMIN: "Members, keys, the log, data sources with all that they bring, and servers.",
    Role.EDITOR: "Data sources with all that they bring, and servers; calls tools.",
    Role.VIEWER: "Sees data sources with all that they bring, and servers; calls tools.",
    Role.AUDITOR: "Reads the log, exports, members and keys. Changes nothing.",
}


class SignInForm(ServiceForm):
    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class MemberForm(ServiceForm):
    name_field = "email"

    email = forms.CharField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"placeholder": "ada@example.com", "autocomplete": "off"}),
    )
    role = forms.ChoiceField(
        choices=[(role.value, role.value.title()) for role in reversed(Role)], initial=Role.VIEWER.value
    )

    def __init__(self, *args: Any, offered: Collection[Role] = tuple(Role), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only shown: a role beyond the caller's power is the service's to refuse, and to record.
        self.fields["role"].widget.choices = [
            (role.value, role.value.title()) for role in reversed(Role) if role in offered
        ]


class KeyForm(ServiceForm):
    field_of_path = {"expires_in_days": "expiry"}

    name = forms.CharField(
        max_length=80,
        help_text="Who or what will use it. The log shows this name.",
        widget=forms.TextInput(attrs={"placeholder": "Claude Code on Ada's laptop", "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, required=False)
    tools = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, required=False)
    servers = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, required=False)
    expiry = forms.TypedChoiceField(label="Expires after", choices=EXPIRIES, coerce=int, initial=90)

    def __init__(
        self, *args: Any, scopes: list[str], tools: list[str], servers: list[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for field, values in (("scopes", scopes), ("tools", tools), ("servers", servers)):
            choice = self.fields[field]
            assert isinstance(choice, forms.MultipleChoiceField)  # noqa: S101 - declared above
            choice.choices = [(value, value) for value in values]

    def all_scopes(self) -> list[str]:
        """The chosen scopes with those that narrow them."""
        data = self.cleaned_data
        return [
            *data["scopes"],
            *(f"tool:{name}" for name in data["tools"]),
            *(f"server:{slug}" for slug in data["servers"]),
        ]
