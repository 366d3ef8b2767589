"""A form for the settings of any kind of data source, made of the JSON Schema that the kind gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from django import forms
from django.forms import BoundField

from core.strictjson import BadJson, read_json
from frontend.forms.base import ServiceForm, mono
from servers.services.kinds import Kind
from servers.services.sealed import REFERENCE, references_in

_PREFIX: Final = "setting-"
"""Before the settings' names, which may be any: one could be called ``name`` or ``kind`` as well."""

_REMOVED: Final = "removed-"
"""Before the names of secrets: whether to remove the stored one."""

_NAMED: Final = "named-"
"""Before the names of secrets: which named secret is to be taken."""

_LONGEST: Final = 20_000


TWICE: Final = "A value was entered as well. Choose none here, or leave that empty."


class SettingsForm(ServiceForm):
    """The name and the settings of a data source. Settings are always given whole: no stored secret is reused.

    ``shown`` are the stored settings that may be shown, when a source is changed. ``offered`` are the names of secrets
    that may be chosen in place of a value.
    """

    name = forms.CharField(
        max_length=64,
        help_text="Letters, digits, dots, hyphens and underscores.",
        widget=forms.TextInput(attrs=mono()),
    )

    def __init__(
        self,
        *args: Any,
        kind: Kind,
        shown: Mapping[str, Any] | None = None,
        offered: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._needed: set[str] = set()
        named = references_in(shown or {})
        self._types: dict[str, str] = {}
        self._secrets = kind.secrets
        required = kind.schema.get("required", ())
        for name, given_rule in kind.schema.get("properties", {}).items():
            rule = _plain(given_rule, kind.schema)
            self._types[name] = _type_of(rule)
            secret = name in kind.secrets
            label = str(rule.get("title") or name)
            stored = None if shown is None else _stored(shown, name, rule)
            given = rule.get("default") if shown is None else stored
            self.fields[_PREFIX + name] = _field(
                rule,
                type_=self._types[name],
                label=label,
                # A kept secret is not entered again, and one that has a name is not entered at all.
                required=name in required and not (secret and (shown is not None or offered)),
                initial=None if secret else given,
                secret=secret,
                words=_words(rule, type_=self._types[name], secret=secret, kept=shown is not None),
            )
            made = [_PREFIX + name]
            if secret and offered:
                self.fields[_NAMED + name] = secret_choice(
                    f"{label}: a named secret", offered, named.get(name)
                )
                made.append(_NAMED + name)
                if name in required and shown is None:
                    self._needed.add(name)
            if secret and shown is not None and name not in required:
                self.fields[_REMOVED + name] = forms.BooleanField(
                    label=f"{label}: remove the stored one", required=False
                )
                made.append(_REMOVED + name)
            for field in made:
                self.fields[field].widget.attrs.update(_condition(rule))

    @property
    def setting_fields(self) -> list[BoundField]:
        """The fields besides the name, in the order of the schema."""
        return [self[field] for field in self.fields if field != self.name_field]

    def clean(self) -> dict[str, Any]:
        """Refuse two answers to one question, and none to one that needs an answer."""
        data = super().clean() or self.cleaned_data
        for name in self._secrets:
            typed, chosen = data.get(_PREFIX + name), data.get(_NAMED + name)
            if typed and chosen:
                self.add_error(_NAMED + name, TWICE)
            elif name in self._needed and not typed and not chosen and not self.errors.get(_PREFIX + name):
                self.add_error(_PREFIX + name, "Enter it, or choose a named secret below.")
        return data

    def settings(self) -> dict[str, Any]:
        """The settings as the kind takes them; what was left empty is left out, a secret to be removed ``None``."""
        settings: dict[str, Any] = {}
        for name, type_ in self._types.items():
            value = self.cleaned_data.get(_PREFIX + name)
            chosen = self.cleaned_data.get(_NAMED + name)
            if chosen:
                settings[name] = {REFERENCE: chosen}
            elif value is not None and value != "":
                settings[name] = _value(value, type_)
            elif self.cleaned_data.get(_REMOVED + name):
                settings[name] = None
        return settings

    def replacement(self) -> dict[str, Any] | None:
        """The settings to store instead of those that are; ``None`` where nothing of them was changed."""
        return self.settings() if set(self.changed_data) - {self.name_field} else None

    def _add_fault(self, path: str, message: str) -> None:
        first, _, rest = path.partition(".")
        name, _, below = rest.partition(".")
        if first == "settings" and name in self._types:
            words = message[:1].upper() + message[1:]
            self.add_error(_PREFIX + name, f"{below}: {message}" if below else words)
        else:
            super()._add_fault(path, message)


def describe_facts(
    shown: Mapping[str, Any], kind: Kind, secrets: frozenset[str] | None
) -> list[tuple[str, str]]:
    """Stored settings for reading: each by its title; of a secret, whether there is one, or which named one it is.

    What is not set is told as it is then, and left out where it matters only for other choices than those that were
    made. ``secrets`` are those that are set; ``None`` where nobody can tell.
    """
    named = references_in(shown)
    rules = kind.schema.get("properties", {})
    facts = []
    for name, title, text in _facts(shown, kind):
        is_secret = name in kind.secrets
        is_set = name in named or (secrets is None or name in secrets if is_secret else bool(text))
        if not is_set and not _matters(rules[name], shown, rules):
            continue
        if not is_secret:
            facts.append((title, text or _text(rules[name].get("default")) or "not set"))
        elif name in named:
            facts.append((title, f"the secret {named[name]}"))
        else:
            facts.append((title, "encrypted, never shown" if is_set else "not set"))
    return facts


def summarise_facts(shown: Mapping[str, Any], kind: Kind) -> str:
    """The stored settings that are set and may be shown, in one line."""
    facts = _facts(shown, kind)
    return ", ".join(f"{title}: {text}" for name, title, text in facts if text and name not in kind.secrets)


def _facts(shown: Mapping[str, Any], kind: Kind) -> Iterator[tuple[str, str, str]]:
    """Each setting's name, title and value for reading, in the order of the schema; no text where none is set."""
    for name, given_rule in kind.schema.get("properties", {}).items():
        rule = _plain(given_rule, kind.schema)
        yield name, str(rule.get("title") or name), _text(_stored(shown, name, rule))


def _matters(rule: Mapping[str, Any], shown: Mapping[str, Any], rules: Mapping[str, Any]) -> bool:
    """Whether a setting matters for the choices that are stored; one that is not stored is the schema's."""
    return all(
        (_stored(shown, name, rules[name]) or rules[name].get("default")) in choices
        for name, choices in (rule.get("x-matters-for") or {}).items()
    )


def _stored(shown: Mapping[str, Any], name: str, rule: Mapping[str, Any]) -> Any:
    """A stored setting, by its name or by the one (``x-formerly`` in its rule) that it had when it was stored."""
    return shown.get(name, shown.get(str(rule.get("x-formerly"))))


def secret_choice(label: str, offered: Sequence[str], chosen: str | None) -> forms.ChoiceField:
    """A control to choose a named secret by, in place of entering a value."""
    names = list(offered) if chosen is None or chosen in offered else [*offered, chosen]
    return forms.ChoiceField(
        label=label,
        required=False,
        choices=[("", "none: what is entered above"), *((name, name) for name in names)],
        initial=chosen or "",
        # Shown wherever one is chosen, as a text is wherever there is one (settings.ts).
        widget=forms.Select(attrs={"data-fills": "true"}),
    )


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value)


def _plain(rule: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule with a reference into the same schema followed, and "this or null" read as "this"."""
    reference = rule.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        target = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
        return {**target, **{key: value for key, value in rule.items() if key != "$ref"}}
    options = [each for each in rule.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) == 1:
        chosen = options[0] if "$ref" not in options[0] else _plain(options[0], schema)
        return {**chosen, **{key: value for key, value in rule.items() if key != "anyOf"}}
    return rule


def _type_of(rule: Mapping[str, Any]) -> str:
    """What a control can give: a plain type, ``choice``, ``lines`` for a list of texts, ``document`` or ``json``."""
    if rule.get("x-document"):
        return "document"
    type_ = rule.get("type")
    if isinstance(type_, list):
        plain = [each for each in type_ if each != "null"]
        type_ = plain[0] if len(plain) == 1 else None
    choices = rule.get("enum")
    if isinstance(choices, list):
        return "choice"
    if type_ == "array" and rule.get("items", {}).get("type") == "string":
        return "lines"
    return type_ if type_ in {"string", "integer", "number", "boolean"} else "json"


def _condition(rule: Mapping[str, Any]) -> dict[str, str]:
    """What the page hides a control by: a setting that matters only for some choices of another one says so.

    ``x-matters-for`` in its rule: ``{"auth": ["basic"]}``. Hidden or not, the kind judges what is sent.
    """
    for name, choices in (rule.get("x-matters-for") or {}).items():
        return {"data-matters-for": _PREFIX + str(name), "data-matters-when": json.dumps(choices)}
    return {}


def _field(
    rule: Mapping[str, Any], *, type_: str, label: str, required: bool, initial: Any, secret: bool, words: str
) -> forms.Field:
    shared: dict[str, Any] = {"label": label, "required": required, "help_text": words, "initial": initial}
    if type_ == "boolean":
        # An empty box is an answer: no.
        return forms.BooleanField(**{**shared, "required": False})
    if type_ == "choice":
        choices = [(json.dumps(each), str(each)) for each in rule["enum"]]
        initial = rule.get("default") if initial is None else initial
        shared["initial"] = None if initial is None else json.dumps(initial)
        decided = required or rule.get("default") is not None
        return forms.ChoiceField(**shared, choices=choices if decided else [("", "not set"), *choices])
    if type_ in {"integer", "number"}:
        make: Callable[..., forms.Field] = forms.IntegerField if type_ == "integer" else forms.FloatField
        return make(**shared, min_value=rule.get("minimum"), max_value=rule.get("maximum"))
    longest = rule.get("maxLength", _LONGEST)
    if type_ == "string":
        widget: forms.Widget = forms.TextInput(attrs=mono())
        if secret:
            widget = forms.PasswordInput(attrs=mono(autocomplete="new-password"), render_value=True)
        return forms.CharField(**shared, max_length=longest, strip=not secret, widget=widget)
    lines = type_ == "lines"
    if type_ == "document":
        # What is kept of one is an object. In one line: browsers send line breaks back as others.
        shared["initial"] = None if initial is None else json.dumps(initial)
        widget = forms.Textarea(attrs={**mono(rows="6"), "data-takes-file": "true"})
        return forms.CharField(**shared, max_length=longest, widget=widget)
    if initial is not None:
        shared["initial"] = "\n".join(map(str, initial)) if lines else json.dumps(initial, indent=2)
    widget = forms.Textarea(attrs=mono(rows="3" if lines else "6"))
    return forms.CharField(**shared, max_length=_LONGEST, widget=widget)


def _words(rule: Mapping[str, Any], *, type_: str, secret: bool, kept: bool) -> str:
    described = str(rule.get("description", "")).strip()
    if described and described[-1] not in ".!?:…":
        # Other sentences follow it.
        described += "."
    words = [described]
    if type_ == "lines":
        words.append("One a line.")
    elif type_ == "json":
        words.append("JSON.")
    if secret and kept:
        words.append("Leave it empty to keep the stored one. To change any setting here, enter it again.")
    elif secret:
        words.append("It is encrypted, and never shown again.")
    return " ".join(word for word in words if word)


def _value(value: Any, type_: str) -> Any:
    if type_ == "lines":
        return [line.strip() for line in value.splitlines() if line.strip()]
    if type_ == "document" and len(value) > _LONGEST:
        return value
    if type_ in {"choice", "document", "json"}:
        try:
            return read_json(value.encode("utf-8", "surrogatepass"))
        except BadJson:
            # Handed on as typed: the kind says what it wants instead.
            return value
    return value
