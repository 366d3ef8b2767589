"""Forms about second factors: a code, a passkey's answer, proof of who is there."""

from __future__ import annotations

from typing import Any

from django import forms

from frontend.forms.base import ServiceForm, mono
from tenants.services.passkeys import LARGEST_ANSWER


def _code_input(**attributes: str) -> forms.TextInput:
    return forms.TextInput(attrs=mono(**{"autocomplete": "one-time-code", **attributes}))


class PasskeyField(forms.CharField):
    """What the browser answers at the end of a ceremony, as JSON that the page's script puts there."""

    def __init__(self) -> None:
        super().__init__(required=False, strip=True, max_length=LARGEST_ANSWER, widget=forms.HiddenInput())


class SecondStepForm(ServiceForm):
    """A code of the authenticator app or a recovery code, or a passkey's answer."""

    code = forms.CharField(
        max_length=40, required=False, widget=_code_input(autofocus="autofocus", inputmode="text")
    )
    credential = PasskeyField()

    def clean(self) -> dict[str, Any]:
        """One of the two."""
        data: dict[str, Any] = self.cleaned_data
        if not self.errors and not (data.get("code") or data.get("credential")):
            self.add_error("code", "Enter a code, or use a passkey.")
        return data


class TotpForm(ServiceForm):
    """The code that proves that an app has the secret."""

    code = forms.CharField(
        label="Code that the app shows", max_length=40, widget=_code_input(inputmode="numeric")
    )


class PasskeyForm(ServiceForm):
    """A passkey that the browser has made."""

    name = forms.CharField(
        max_length=60,
        help_text="So that you know it again: the device, or what keeps it.",
        widget=forms.TextInput(attrs={"placeholder": "Ada's telephone", "autocomplete": "off"}),
    )
    credential = PasskeyField()


class ConfirmForm(ServiceForm):
    """Proof of who is there: the password of who has no second factor, and otherwise a code or a passkey."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    code = forms.CharField(
        max_length=40,
        required=False,
        help_text="Of your authenticator app, or a recovery code.",
        widget=_code_input(inputmode="text"),
    )
    credential = PasskeyField()

    def __init__(self, *args: Any, second_factor: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Who has both must not be able to take the stronger one off by the weaker one.
        for name in ("password",) if second_factor else ("code", "credential"):
            del self.fields[name]
        self._wanted = "Give a code, or use a passkey." if second_factor else "Give your password."

    def clean(self) -> dict[str, Any]:
        """One of those that are asked for."""
        data: dict[str, Any] = self.cleaned_data
        if not self.errors and not any(data.values()):
            self.add_error(None, self._wanted)
        return data
