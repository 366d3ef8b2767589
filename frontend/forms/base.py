"""The base of every form: puts a service's refusal beside the field that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django import forms

from core.errors import Conflict, Forbidden, InvalidInput, MarinaError, RateLimited, SourceError, TooLarge


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


def mono(**attributes: str) -> dict[str, str]:
    """Attributes of a control that holds code, keys or addresses."""
    return {
        "class": "mono",
        "spellcheck": "false",
        "autocomplete": "off",
        "autocapitalize": "off",
        **attributes,
    }
