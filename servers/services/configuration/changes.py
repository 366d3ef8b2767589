"""What applying a file does to a team: told field by field, before it is done and after. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from servers.services.configuration.form import KEPT, SECTIONS
from servers.services.differences import fingerprint_of

Action = Literal["create", "change", "delete"]
States = Mapping[str, Mapping[str, Mapping[str, Any]]]

MAX_NAMED: Final = 12
UNSEEN: Final = "(a new value)"
GIVEN: Final = "(as given)"
_KEPT: Final = "(kept)"
WORDS: Final = (UNSEEN, GIVEN, _KEPT)
"""What stands for values that are not shown."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field: dotted, with what it was and what it becomes. ``None``: it was not there, or is not any more."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one source, tool, resource, prompt or server. ``notes`` are sentences."""

    action: Action
    what: str
    name: str
    fields: Sequence[FieldChange]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes, in the order of a file, deletions last. ``fingerprint`` is the same for the same plan.

    ``notes`` are sentences on what of the text is not in the plan.
    """

    changes: Sequence[Change]
    applied: bool = False
    notes: Sequence[str] = ()

    @property
    def fingerprint(self) -> str:
        """Says which plan this is."""
        return fingerprint_of(self.changes)

    def count(self, action: Action) -> int:
        """How many of the changes are such."""
        return sum(each.action == action for each in self.changes)

    @property
    def summary(self) -> str:
        """In one sentence."""
        if not self.changes:
            return "Nothing to do: the team is as the file says."
        made, changed, gone = (self.count(action) for action in ("create", "change", "delete"))
        verb = "" if self.applied else "to "
        ending = "d" if self.applied else ""
        return f"{made} {verb}create{ending}, {changed} {verb}change{ending}, {gone} {verb}delete{ending}."


def compare(
    before: States,
    after: States,
    *,
    renewed: Mapping[str, Sequence[str]],
    brought: Mapping[str, Sequence[str]],
) -> Plan:
    """What differs. ``renewed`` are a source's settings that change unseen, ``brought`` sentences on its offering."""
    changes: list[Change] = []
    gone: list[Change] = []
    for section, what in SECTIONS.items():
        was, now = before[section], after[section]
        for name in sorted(was.keys() | now.keys()):
            fields = list(_fields(was.get(name), now.get(name)))
            notes: list[str] = []
            if section == "sources":
                fields = [*_unseen(renewed.get(name, ()), fields), *fields]
                notes = list(brought.get(name, ()))
            if name not in now:
                gone.append(Change("delete", what, name, fields, notes))
            elif name not in was:
                fields = [replace(each, after=GIVEN) if each.after == _KEPT else each for each in fields]
                changes.append(Change("create", what, name, fields, notes))
            elif fields or notes:
                changes.append(Change("change", what, name, fields, notes))
    return Plan([*changes, *gone])


def describe_brought(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> list[str]:
    """Sentences on what a source brings more and what less, by ``tools``, ``resources`` and ``prompts``."""
    sentences = []
    for verb, names in (
        ("Brings", {what: after.get(what, set()) - before.get(what, set()) for what in (*before, *after)}),
        (
            "Takes away",
            {what: before.get(what, set()) - after.get(what, set()) for what in (*before, *after)},
        ),
    ):
        for what in ("tools", "resources", "prompts"):
            if found := sorted(names.get(what, ())):
                shown = ", ".join(found[:MAX_NAMED]) + (", …" if len(found) > MAX_NAMED else "")
                sentences.append(f"{verb} {len(found)} {what if len(found) > 1 else what[:-1]}: {shown}.")
    return sentences


def _unseen(names: Sequence[str], fields: list[FieldChange]) -> list[FieldChange]:
    """Settings that change though a file has the same words for both."""
    told = {each.path for each in fields}
    paths = [f"settings.{name}" for name in names]
    return [FieldChange(path, _KEPT, UNSEEN) for path in paths if path not in told]


def _fields(was: Any, now: Any, path: str = "") -> Iterator[FieldChange]:
    """What differs, member by member; lists and texts as wholes."""
    was, now = _plain(was), _plain(now)
    if was == now:
        return
    if (was or now) and all(each is None or isinstance(each, Mapping) for each in (was, now)):
        for name in _names(was or {}, now or {}):
            inner = f"{path}.{name}" if path else name
            yield from _fields((was or {}).get(name), (now or {}).get(name), inner)
    else:
        yield FieldChange(path, was, now)


def _names(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In the order of what it becomes, then what is gone."""
    return [*now, *(name for name in was if name not in now)]


def _plain(value: Any) -> Any:
    return _KEPT if value == KEPT else value
