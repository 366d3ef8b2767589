"""The base of every form, which puts refusals beside the field that they are about, and a field that forms share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django import forms

from core.errors import Conflict, Forbidden, InvalidInput, MarinaError, RateLimited, SourceError, TooLarge
from core.strictjson import BadJson, read_json


class ServiceForm(forms.Form):
    """A form whose last word is a service's."""

    name_field = "name"
    """The field that a taken name belongs to."""

    field_of_path: dict[str, str] = {}
    """Where a fault's path (its first part) is not the field's own name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)

    @contextmanager
    def refusals(self, note: Callable[[Forbidden], None] | None = None) -> Iterator[None]:
        """Show what the service inside refuses as errors of this form.

        Where a rule may refuse, ``note`` is told; without it a ``Forbidden`` goes on to the page.
        """
        try:
            yield
        except Forbidden as error:
            if note is None:
                raise
            note(error)
            self.refuse(error)
        except (InvalidInput, Conflict, TooLarge, RateLimited, SourceError) as error:
            self.refuse(error)

    def refuse(self, error: MarinaError) -> None:
        """Put a refusal beside its field, or above the form where it is about none."""
        if isinstance(error, InvalidInput) and error.errors:
            for fault in error.errors:
                self._add_fault(fault["path"], fault["message"])
        elif error.code == "name_taken" and self.name_field in self.fields:
            self.add_error(self.name_field, error.message)
        else:
            self.add_error(None, error.message)

    def _add_fault(self, path: str, message: str) -> None:
        parts = path.replace("/", ".").strip(".").split(".")
        for part in parts:
            field = self.field_of_path.get(part, part)
            if field in self.fields:
                rest = ".".join(parts[parts.index(part) + 1 :])
                words = message[:1].upper() + message[1:]
                self.add_error(field, f"{rest}: {message}" if rest else words)
                return
        self.add_error(None, f"{path}: {message}")


class ObjectField(forms.CharField):
    """A JSON object that is written as text, such as ``example``. Left empty, where it may be, it has no members."""

    def __init__(self, *, example: str, rows: int, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.Textarea(attrs=mono(rows=str(rows))))
        super().__init__(strip=False, **kwargs)
        self.example = example

    def prepare_value(self, value: Any) -> Any:
        """An object as the editor shows it."""
        if not isinstance(value, Mapping):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False) if value else ""

    def clean(self, value: Any) -> dict[str, Any]:
        """The object. Raises ``ValidationError``."""
        text = super().clean(value)
        if not text.strip():
            return {}
        try:
            found = read_json(text.encode("utf-8", "surrogatepass"))
        except BadJson as fault:
            raise forms.ValidationError(f"It is not JSON: {fault}.") from None
        if not isinstance(found, dict):
            raise forms.ValidationError(f"It must be a JSON object, like {self.example}.")
        return found


def mono(**attributes: str) -> dict[str, str]:
    """Attributes of a control that holds code, keys or addresses."""
    return {
        "class": "mono",
        "spellcheck": "false",
        "autocomplete": "off",
        "autocapitalize": "off",
        **attributes,
    }
