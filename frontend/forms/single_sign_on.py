"""Forms of single sign-on: finding one's team, and a team's identity providers."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms

from frontend.forms.base import ServiceForm, mono
from tenants.models import SLUG_PATTERN, IdentityProvider
from tenants.models_sso import GIVEN_ROLES
from tenants.roles import Role
from tenants.services.sso_providers import MAX_SECRET, ProviderSettings

_AS_STORED: Final = (
    *("name", "issuer", "client_id", "default_role", "groups_claim"),
    *("makes_members", "believes_addresses", "enabled"),
)
"""Fields that the form shows, and hands on, as they are stored."""


class FindTeamForm(ServiceForm):
    team = forms.CharField(
        max_length=40,
        help_text="The short name that stands in your team's addresses, after /app/.",
        widget=forms.TextInput(attrs=mono(placeholder="harbour-office", autofocus="")),
    )

    def clean_team(self) -> str:
        """The slug, as people type it."""
        team: str = self.cleaned_data["team"].strip().lower()
        if not re.fullmatch(SLUG_PATTERN, team):
            raise forms.ValidationError(
                "This is not a team's short name: lower-case letters, digits and inner hyphens. An e-mail address does "
                "not tell Marina your team."
            )
        return team


class ProviderForm(ServiceForm):
    """What is chosen of an identity provider. A secret that is left empty stays as it is."""

    name = forms.CharField(
        max_length=80,
        help_text="On the button of your team's sign-in page.",
        widget=forms.TextInput(attrs={"placeholder": "Acme", "autocomplete": "off"}),
    )
    issuer = forms.CharField(
        label="Issuer URL",
        max_length=255,
        help_text="As the provider names itself, letter for letter, also in a slash at the end.",
        widget=forms.TextInput(attrs=mono(placeholder="https://id.example.com/acme")),
    )
    client_id = forms.CharField(label="Client id", max_length=255, widget=forms.TextInput(attrs=mono()))
    client_secret = forms.CharField(
        label="Client secret",
        required=False,
        max_length=MAX_SECRET,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    domains = forms.CharField(
        label="E-mail domains",
        max_length=14_000,
        help_text="Whose addresses are let in: one a line, each by itself. Subdomains are others.",
        widget=forms.Textarea(attrs=mono(rows="2", placeholder="example.com")),
    )
    makes_members = forms.BooleanField(
        label="Make members of people at their first sign-in",
        required=False,
        initial=True,
        help_text="Otherwise only people whom somebody has added to the team come in.",
    )
    believes_addresses = forms.BooleanField(
        label="Believe addresses that it does not call verified",
        required=False,
        help_text="Microsoft Entra ID never calls them that. Only where people cannot choose their own address at the "
        "provider: who can would sign in as a colleague.",
    )
    default_role = forms.ChoiceField(
        label="Role of new members",
        choices=[(role.value, role.value.title()) for role in reversed(GIVEN_ROLES)],
        initial=Role.VIEWER.value,
    )
    groups_claim = forms.CharField(
        label="Claim with groups",
        required=False,
        max_length=120,
        help_text="The claim of the ID token that lists a person's groups. Empty: groups give no roles.",
        widget=forms.TextInput(attrs=mono(placeholder="groups")),
    )
    group_roles = forms.CharField(
        label="Roles of groups",
        required=False,
        max_length=30_000,
        help_text="A line each, the first that fits decides at every sign-in: group = role. Everybody else gets the "
        "role of new members.",
        widget=forms.Textarea(
            attrs=mono(rows="3", placeholder="platform-admins = admin\ndevelopers = editor")
        ),
    )
    enabled = forms.BooleanField(
        label="In use",
        required=False,
        initial=True,
        help_text="Switched off, it signs nobody in, and sessions that came by it open nothing.",
    )

    def __init__(self, *args: Any, row: IdentityProvider | None = None, **kwargs: Any) -> None:
        if row is not None:
            kwargs.setdefault("initial", _initial(row))
        super().__init__(*args, **kwargs)
        kept = row is not None and row.has_secret
        self.fields["client_secret"].help_text = (
            "One is stored, encrypted. Leave this empty to keep it."
            if kept
            else "Stored encrypted, and never shown again. Leave it empty for a public client."
        )

    def clean_group_roles(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a group and a role."""
        pairs = []
        for line in self.cleaned_data["group_roles"].splitlines():
            if not line.strip():
                continue
            group, sign, role = line.rpartition("=")
            if not sign or not group.strip() or not role.strip():
                raise forms.ValidationError(f"“{line.strip()}” is not of the form: group = role.")
            pairs.append((group.strip(), role.strip().lower()))
        return tuple(pairs)

    def chosen(self) -> dict[str, Any]:
        """The settings, as the service takes them."""
        data = self.cleaned_data
        return {
            **{name: data[name] for name in (*_AS_STORED, "group_roles")},
            "client_secret": data["client_secret"] or None,
            "domains": tuple(data["domains"].replace(",", " ").split()),
        }

    def settings(self) -> ProviderSettings:
        """The settings of a new provider."""
        return ProviderSettings(**self.chosen())


def _initial(row: IdentityProvider) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _AS_STORED},
        "domains": "\n".join(row.domains),
        "group_roles": "\n".join(f"{group} = {role}" for group, role in row.group_roles),
    }
