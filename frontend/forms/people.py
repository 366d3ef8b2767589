"""Forms about people and their credentials: signing in, members, API keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.contrib.auth.forms import PasswordChangeForm, PasswordResetForm, SetPasswordForm

from core.clientaddress import is_within
from core.errors import InvalidInput
from core.outbound import parse_networks
from frontend.forms.base import ServiceForm, mono
from tenants.models import Membership, User
from tenants.roles import OAUTH_SCOPES, Role
from tenants.services.accounts import choose_password
from tenants.services.letters import reset_letter
from tenants.services.mail import public_link, send_soon
from tenants.services.networks import clean_networks

OVERLAPS: Final = (
    (0, "At once"),
    (1, "After 1 hour"),
    (24, "After 24 hours"),
    (168, "After 7 days"),
    (720, "After 30 days"),
)

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


CHOOSING_HELP: Final = (
    "At least 8 characters. Not a common password, not only digits, nothing like your address."
)


class ChoosePasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """Django's, in the dashboard's words: for who came by a mailed link."""

    by = "link"
    """What is shown for the new password (``choose_password``)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].help_text = CHOOSING_HELP
        self.fields["new_password2"].label = "New password again"
        self.fields["new_password2"].help_text = ""

    def save(self, commit: bool = True) -> User:
        """Change the password, and have it recorded."""
        user: User = self.user
        choose_password(user, self.cleaned_data["new_password1"], by=self.by)
        return user


class ChangePasswordForm(ChoosePasswordForm, PasswordChangeForm):
    """The same, for who is signed in and gives the present one."""

    by = "password"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["old_password"].label = "Present password"


class ForgottenForm(PasswordResetForm):
    """Django's: finds the account and makes the link's token. Hands the letter to the postman."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "E-mail"
        self.fields["email"].widget.attrs["autofocus"] = True

    def send_mail(self, *args: Any, **kwargs: Any) -> None:
        """Called for the account, if there is one, with Django's template names and what they would show."""
        context: dict[str, Any] = args[2]
        link = public_link(f"password/{context['uid']}/{context['token']}")
        send_soon(reset_letter(context["email"], link))


class SignUpForm(ServiceForm):
    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )


class NewAccountForm(ServiceForm):
    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        max_length=1024,
        strip=False,
        help_text=CHOOSING_HELP,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="Password again",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean_again(self) -> str:
        again: str = self.cleaned_data["again"]
        if again != self.cleaned_data.get("password", again):
            raise forms.ValidationError("The two are not the same. Type both again.")
        return again


class NewTeamForm(ServiceForm):
    name_field = "slug"

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={"placeholder": "Harbour office"}))
    slug = forms.CharField(
        max_length=40,
        help_text="In every URL of the team, for good: lower-case letters, digits and inner hyphens.",
        widget=forms.TextInput(attrs=mono(placeholder="harbour-office")),
    )


class MemberForm(ServiceForm):
    """Whom to invite, and to what."""

    name_field = "email"
    field_of_path = {"access_ends_at": "last_day"}

    email = forms.CharField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"placeholder": "ada@example.com", "autocomplete": "off"}),
    )
    role = forms.ChoiceField(
        choices=[(role.value, role.value.title()) for role in reversed(Role)], initial=Role.VIEWER.value
    )
    last_day = forms.DateField(
        label="Last day of access",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def __init__(self, *args: Any, offered: Collection[Role] = tuple(Role), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only shown: a role beyond the caller's power is the service's to refuse, and to record.
        self.fields["role"].widget.choices = [
            (role.value, role.value.title()) for role in reversed(Role) if role in offered
        ]


class EndForm(ServiceForm):
    """Until when a member has access."""

    last_day = forms.DateField(required=False)


class HeirForm(ServiceForm):
    """Who is to own the team."""

    member = forms.TypedChoiceField(label="New owner", coerce=int)

    def __init__(self, *args: Any, members: Iterable[Membership], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["member"]
        assert isinstance(choice, forms.TypedChoiceField)  # noqa: S101 - declared above
        choice.choices = [(member.pk, f"{member.user.email} ({member.role})") for member in members]


def end_of(last_day: date | None) -> datetime | None:
    """When the access ends whose last day, in UTC, this is."""
    return None if last_day is None else datetime.combine(last_day + timedelta(days=1), time(), tzinfo=UTC)


class NetworksForm(ServiceForm):
    """Where a key may be used from. ``address`` is the person's own: a list without it is asked about once more."""

    networks = forms.CharField(
        label="Only from these addresses",
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs=mono(rows="3", placeholder="203.0.113.7\n10.1.0.0/16\n2001:db8::/32")),
    )
    anyway = forms.BooleanField(label="My own address need not be among them", required=False)

    def __init__(self, *args: Any, address: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = address
        self.is_outside = False
        self.fields[
            "networks"
        ].help_text = (
            f"Addresses and networks, IPv4 or IPv6, a line each. Empty: from anywhere. You are at {address}."
        )

    def clean_networks(self) -> list[str]:
        """The list in its one form."""
        try:
            return clean_networks(self.cleaned_data["networks"].replace(",", " ").split(), "networks")
        except InvalidInput as fault:
            raise forms.ValidationError([_at_line(each) for each in fault.errors]) from None

    def clean(self) -> dict[str, Any]:
        """Ask again where the person's own address is not in the list."""
        data: dict[str, Any] = self.cleaned_data
        networks = data.get("networks")
        if networks and not data.get("anyway") and not is_within(self.address, parse_networks(networks)):
            self.is_outside = True
            self.add_error(
                "networks",
                f"Your own address, {self.address}, is not among these: from where you are now the key will be "
                "refused. Add it, or say below that it need not be.",
            )
        return data


class RollForm(ServiceForm):
    overlap = forms.TypedChoiceField(label="The old key ends", choices=OVERLAPS, coerce=int, initial=24)


class KeyForm(NetworksForm):
    field_of_path = {"expires_in_days": "expiry"}

    name = forms.CharField(
        max_length=80,
        help_text="Who or what will use it. The log shows this name.",
        widget=forms.TextInput(attrs={"placeholder": "Claude Code on Ada's laptop", "autocomplete": "off"}),
    )
    mode = forms.ChoiceField(
        choices=[("live", "Live"), ("test", "Test")],
        initial="live",
        required=False,
        help_text="A test key may do the same. Lists and log show it as one.",
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


def _at_line(fault: dict[str, str]) -> str:
    """A fault of one network by its place in the list, counted from one."""
    place = fault["path"].rpartition(".")[2]
    return (
        f"Entry {int(place) + 1} {fault['message']}" if place.isdecimal() else f"The list {fault['message']}"
    )


class AccessForm(ServiceForm):
    """A call that is asked about."""

    credential = forms.ChoiceField(label="API key, connected app or outside issuer")
    server = forms.ChoiceField(label="Server")
    tool = forms.CharField(label="Tool", max_length=64, widget=forms.TextInput(attrs=mono(list="tools")))
    values = forms.CharField(
        label="Values in its claim",
        required=False,
        max_length=2000,
        help_text="Of an outside issuer: what the token has in the claim that counts, separated by spaces.",
        widget=forms.TextInput(attrs=mono()),
    )
    address = forms.GenericIPAddressField(
        label="From the address", required=False, help_text="Optional: where the client is."
    )

    def __init__(
        self,
        *args: Any,
        credentials: Collection[tuple[str, Collection[tuple[str, str]]]],
        servers: Collection[str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["credential"].choices = credentials  # type: ignore[attr-defined]
        self.fields["server"].choices = [(slug, slug) for slug in servers]  # type: ignore[attr-defined]


class AppForm(ServiceForm):
    """A client that acts for itself."""

    name = forms.CharField(
        max_length=80,
        help_text="What it is. The log shows this name.",
        widget=forms.TextInput(attrs={"placeholder": "Nightly report", "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        required=False,
        choices=[(scope, scope) for scope in OAUTH_SCOPES],
    )
