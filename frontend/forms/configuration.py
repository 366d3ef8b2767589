"""The form of a configuration file: its text, what goes with it, and what it leaves out."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from core.errors import InvalidInput
from core.strictjson import BadJson, read_object
from frontend.forms.base import ServiceForm, mono
from servers.services.configuration.importing import list_kept
from servers.services.configuration.settings import KeptSetting

_GIVEN: Final = "given-"


class ConfigurationForm(ServiceForm):
    """A file, and a field for each setting that it leaves out: what is typed there is never shown again."""

    configuration = forms.CharField(
        label="File",
        strip=False,
        help_text="YAML, as the download has it; or a list of MCP servers (mcpServers), as clients keep it. What is "
        "wrong is named with its line.",
        widget=forms.Textarea(attrs={**mono(rows="18"), "data-takes-file": ""}),
    )
    prune = forms.BooleanField(
        required=False,
        label="Delete what the file does not name",
        help_text="Only of the sections that the file has. Without this, nothing is deleted.",
    )
    fingerprint = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: list[KeptSetting] = []
        self._add_kept(self.data.get("configuration", "") if self.is_bound else "")

    def _add_kept(self, text: str) -> None:
        try:
            self.kept = list_kept(text)
        except InvalidInput:
            # Its faults are told by whoever plans it.
            return
        for place, each in enumerate(self.kept):
            secret = each.shape == "text"
            attributes = {**mono(), "autocomplete": "new-password"} if secret else mono(rows="3")
            self.fields[f"{_GIVEN}{place}"] = forms.CharField(
                label=f"{each.source}: {each.name}",
                required=False,
                strip=False,
                widget=forms.PasswordInput(attrs=attributes) if secret else forms.Textarea(attrs=attributes),
            )

    @property
    def given_fields(self) -> list[Any]:
        """The fields of what the file leaves out."""
        return [self[f"{_GIVEN}{place}"] for place in range(len(self.kept))]

    def file(self) -> str:
        """The text of the file."""
        return str(self.cleaned_data["configuration"]).replace("\r\n", "\n")

    def clean(self) -> dict[str, Any]:
        """What was typed of settings that are objects, as such."""
        cleaned = super().clean() or self.cleaned_data
        for place, each in enumerate(self.kept):
            name = f"{_GIVEN}{place}"
            if each.shape == "object" and cleaned.get(name):
                try:
                    cleaned[name] = read_object(cleaned[name].encode("utf-8", "surrogatepass"))
                except BadJson as fault:
                    self.add_error(name, f'Give a JSON object, like {{"X-API-Key": "…"}}: {fault}.')
        return cleaned

    def secrets(self) -> dict[str, dict[str, Any]]:
        """What was typed of it, by source and setting."""
        found: dict[str, dict[str, Any]] = {}
        for place, each in enumerate(self.kept):
            if typed := self.cleaned_data.get(f"{_GIVEN}{place}"):
                found.setdefault(each.source, {})[each.name] = typed
        return found

    def _add_fault(self, path: str, message: str) -> None:
        self.add_error(None, f"{path}: {message}" if path else message)
