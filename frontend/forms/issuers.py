"""Forms about outside issuers: what is trusted, and a token to be judged."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from core.signedtokens import MAX_TOKEN
from frontend.forms.base import ServiceForm, mono
from tenants.models import TrustedIssuer
from tenants.outsiders import ROLES
from tenants.services.outside_issuers import MAX_SECRET, shown

METHODS: Final = (
    (TrustedIssuer.Method.JWKS.value, "By its published keys (signed tokens)"),
    (TrustedIssuer.Method.INTROSPECTION.value, "By asking it about each token (introspection)"),
)
_AS: Final = " as "


class IssuerForm(ServiceForm):
    """An outside issuer. An empty secret leaves the stored one as it is."""

    field_of_path = {"mapping": "table"}

    name = forms.CharField(
        max_length=40,
        help_text="The log calls its people issuer:<name>:<subject>. Lower-case letters, digits, inner hyphens.",
        widget=forms.TextInput(attrs=mono(placeholder="corp")),
    )
    issuer = forms.CharField(
        max_length=255,
        help_text="Letter for letter as in its tokens' iss, also in a slash at the end.",
        widget=forms.TextInput(attrs=mono(placeholder="https://id.example.com", inputmode="url")),
    )
    method = forms.ChoiceField(label="Tokens are checked", choices=METHODS)
    audience = forms.CharField(
        required=False,
        max_length=500,
        help_text="The one audience that tokens must have. Empty: the server's MCP URL, and a token opens that alone.",
        widget=forms.TextInput(attrs=mono(placeholder="the server's MCP URL")),
    )
    scopes_claim = forms.CharField(
        label="Claim that says what somebody may do",
        max_length=120,
        initial="scope",
        help_text="scope, scp, roles, groups … A dot leads into an object: realm_access.roles.",
        widget=forms.TextInput(attrs=mono()),
    )
    table = forms.CharField(
        label="What its values are worth",
        required=False,
        max_length=20_000,
        help_text="A line each: value = scopes, and 'as editor' where it is more than a viewer. What is not here is "
        "worth nothing. Scopes: tools:read, tools:execute, resources:read, prompts:read; tool:<name> and "
        "server:<slug> narrow.",
        widget=forms.Textarea(attrs=mono(rows="5", placeholder="analyst = tools:read tools:execute")),
    )
    subject_claim = forms.CharField(
        label="Claim that names the person",
        max_length=120,
        initial="sub",
        widget=forms.TextInput(attrs=mono()),
    )
    email_claim = forms.CharField(
        label="Claim with their e-mail address",
        required=False,
        max_length=120,
        initial="email",
        help_text="Only shown in the log. Empty: none.",
        widget=forms.TextInput(attrs=mono()),
    )
    jwks_uri = forms.CharField(
        label="Address of its keys",
        required=False,
        max_length=500,
        help_text="Empty: where its metadata says (jwks_uri).",
        widget=forms.TextInput(attrs=mono(inputmode="url")),
    )
    introspection_endpoint = forms.CharField(
        label="Address to ask at",
        required=False,
        max_length=500,
        help_text="For asking only. Empty: where its metadata says (introspection_endpoint).",
        widget=forms.TextInput(attrs=mono(inputmode="url")),
    )
    client_id = forms.CharField(
        label="Marina's client id there",
        required=False,
        max_length=255,
        help_text="For asking only.",
        widget=forms.TextInput(attrs=mono()),
    )
    client_secret = forms.CharField(
        label="Marina's client secret there",
        required=False,
        max_length=MAX_SECRET,
        strip=False,
        widget=forms.PasswordInput(attrs=mono(autocomplete="new-password")),
    )

    def __init__(self, *args: Any, has_secret: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["client_secret"].help_text = (
            "Stored, and not shown. Empty: it stays; give it again where the issuer, its address or the id changes."
            if has_secret
            else "For asking only. Kept sealed, and never shown again."
        )

    def _add_fault(self, path: str, message: str) -> None:
        name, _, number = path.partition(".")
        if name == "mapping" and number.isdigit():
            self.add_error("table", f"Row {int(number) + 1}: {message}")
        else:
            super()._add_fault(path, message)

    def given(self) -> dict[str, Any]:
        """What was entered, as the service takes it."""
        data = dict(self.cleaned_data)
        data["mapping"] = [_row_of(line) for line in data.pop("table").splitlines() if line.strip()]
        if not data["client_secret"]:
            del data["client_secret"]
        return data


class TokenForm(ServiceForm):
    """A token that is judged and forgotten."""

    token = forms.CharField(
        label="Access token",
        max_length=MAX_TOKEN,
        help_text="It is judged, and neither stored nor recorded.",
        widget=forms.Textarea(attrs=mono(rows="4", placeholder="eyJ…")),
    )


def entered(row: TrustedIssuer) -> dict[str, Any]:
    """A stored issuer as the form shows it."""
    return {**shown(row), "table": "\n".join(_line_of(each) for each in row.mapping)}


def _line_of(row: dict[str, Any]) -> str:
    role = "" if row["role"] == ROLES[0].value else f"{_AS}{row['role']}"
    return f"{row['value']} = {' '.join(row['scopes'])}{role}"


def _row_of(line: str) -> dict[str, Any]:
    """A line as a row of the table; what is wrong with it is the service's to say."""
    # A value may hold the sign, a scope cannot.
    value, _, rest = line.rpartition("=")
    scopes, _, role = rest.partition(_AS)
    row: dict[str, Any] = {"value": value.strip(), "scopes": scopes.replace(",", " ").split()}
    return {**row, "role": role.strip()} if role else row
