"""A data source's settings as a file has them, and back: secrets and whole documents stay out of files.

What stands as ``{kept: true}`` stays as it is stored, but only while the other settings stay, too: a password that was
entered for one host is never sent to another because somebody edited a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.crypto import SealError
from core.errors import InvalidInput, SourceError
from core.faults import Faults
from core.sealing import sealer
from servers.execution.contract import Backend
from servers.models import DataSource
from servers.services.configuration.form import KEPT
from servers.services.configuration.reading import File
from servers.services.kinds import Kind, backend_of, find_kind
from servers.services.sealed import is_reference, open_settings
from servers.services.secret_references import fill_in, takes_names
from servers.services.sources import FetchedSettings, execution_source, names_documents, with_documents
from tenants.access import Caller
from tenants.services.inputs import faults_below, refuse

GIVE = "Give it with the file: it is not in it."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a source's settings are to be. ``settings`` are ``None`` where they are so already.

    ``renewed`` names those whose values change unseen. ``version`` is that of the source when it was read.
    """

    settings: Mapping[str, Any] | None = field(repr=False)
    renewed: tuple[str, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class KeptSetting:
    """A setting that stands as ``{kept: true}``: a secret, or a document."""

    source: str
    name: str
    shape: Literal["text", "object", "document"]


def written_settings(row: DataSource) -> dict[str, Any]:
    """A source's settings as a file has them. Of a kind that is not installed any more, what may be shown.

    Secrets that they name need have no value now: their names are all that is written.
    """
    kind = find_kind(row.kind)
    if kind is None:
        return dict(row.settings)
    try:
        stored = open_settings(row, sealer())
    except SealError:
        return dict(row.settings)
    written: dict[str, Any] = {}
    for name, value in stored.items():
        if name not in kind.schema["properties"]:
            # What the kind keeps beside the settings that are entered.
            continue
        if name in kind.secrets:
            if value not in (None, ""):
                written[name] = dict(KEPT)
        elif name in kind.documents and isinstance(value, Mapping):
            written[name] = value.get("url") or dict(KEPT)
        else:
            written[name] = value
    for name in sorted((kind.secrets & row.settings.keys()) - stored.keys()):
        if is_reference(row.settings[name]):
            written[name] = dict(row.settings[name])
    return written


def stored_settings(row: DataSource) -> Mapping[str, Any] | None:
    """The whole settings, in memory only; ``None`` where they do not open any more."""
    try:
        return execution_source(row).settings
    except SourceError:
        return None


def wanted_settings(
    kind: object,
    wished: Mapping[str, Any],
    given: Mapping[str, Any],
    row: DataSource | None,
    *,
    caller: Caller,
) -> Wanted:
    """What a file and what was given with it make of a source's settings; ``row`` is the source, where there is one.

    May fetch a document: never within a transaction. Raises ``InvalidInput`` with a path a fault, and ``Forbidden`` for
    who names a secret and may not change it.
    """
    backend = backend_of(kind)
    stored = (stored_settings(row) or {}) if row is not None else {}
    filled, kept = _filled(wished, given, stored)
    if row is None:
        return Wanted(_fetched(backend, filled, caller))
    entered = _entered(backend, stored)
    named = _named(backend, filled)
    # What does not open is compared with nothing.
    known = {
        name: stored.get(name) for name, value in named.items() if stored and row.settings.get(name) == value
    }
    alike = {**filled, **_known_documents(backend, filled, stored), **known}
    if stored and _cleaned(backend, alike, quietly=True) == entered:
        return Wanted(None, version=row.version)
    others = sorted(named.keys() - known.keys())
    if kept and backend.describes_itself:
        # It is asked with its credentials, so it must be known before that they go nowhere new.
        if not others:
            with faults_below("settings"):
                others = _differing(_cleaned(backend, alike), entered)
        _refuse_kept(kept, others)
    fetched = _fetched(backend, filled, caller)
    if others:
        # Another secret is named, whose value is not looked at here: whoever stores the settings judges them.
        _refuse_kept(kept, others)
        return Wanted(fetched, version=row.version)
    with faults_below("settings"):
        cleaned = _cleaned(backend, {**fetched, **known})
    if cleaned == entered:
        return Wanted(None, version=row.version)
    differing = _differing(cleaned, entered)
    _refuse_kept(kept, differing)
    unseen = backend.secret_settings | backend.document_settings
    return Wanted(fetched, tuple(name for name in differing if name in unseen), row.version)


def _filled(
    wished: Mapping[str, Any], given: Mapping[str, Any], stored: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The settings with what was given, and with what is stored where that is to be kept; the names of the latter."""
    filled = {**wished, **given}
    kept = [name for name, value in filled.items() if value == KEPT]
    faults = Faults()
    for name in kept:
        if stored.get(name) in (None, ""):
            faults.add(f"settings.{name}", f"none is stored that could be kept. {GIVE}")
        else:
            filled[name] = stored[name]
    faults.require_none()
    return filled, kept


def _differing(cleaned: Mapping[str, Any], entered: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*cleaned, *entered} if cleaned.get(name) != entered.get(name))


def _refuse_kept(kept: Sequence[str], differing: Sequence[str]) -> None:
    """Raise where settings that are to be kept would go with others that change."""
    faults = Faults()
    for name in kept:
        others = ", ".join(differing)[:200]
        message = f"it is kept only while the other settings stay, and these change: {others}. {GIVE}"
        faults.add(f"settings.{name}", message)
    faults.require_none()


def _known_documents(
    backend: Backend, filled: Mapping[str, Any], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Of the documents that are named by address those that are stored from there: nothing is fetched to compare."""
    return {
        name: stored[name]
        for name in backend.document_settings & filled.keys() & stored.keys()
        if isinstance(stored[name], Mapping) and filled[name] == stored[name].get("url")
    }


def _named(backend: Backend, settings: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """Of the settings those that name a secret in place of a value."""
    return {
        name: settings[name]
        for name in takes_names(backend) & settings.keys()
        if is_reference(settings[name])
    }


def _fetched(backend: Backend, settings: Mapping[str, Any], caller: Caller) -> Mapping[str, Any]:
    """The settings with the documents that they name. Secrets that they name stay names."""
    if not names_documents(backend, settings):
        return settings
    filled = fill_in(backend, settings, caller=caller).settings
    fetched = with_documents(backend, filled, team=caller.tenant_id)
    documents = {name: fetched[name] for name in backend.document_settings & fetched.keys()}
    return FetchedSettings({**settings, **documents})


def _cleaned(backend: Backend, settings: Mapping[str, Any], *, quietly: bool = False) -> dict[str, Any]:
    """What would be stored of these settings. With ``quietly``, nothing where they are not valid."""
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        return _entered(backend, backend.keep_settings(backend.clean_settings(given)))
    except InvalidInput:
        if quietly:
            return {}
        raise


def _entered(backend: Backend, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of stored settings those that somebody entered: a kind may keep something of its own beside them."""
    known = backend.settings_schema.get("properties", {})
    return {name: value for name, value in settings.items() if name in known}


def kept_settings(file: File) -> list[KeptSetting]:
    """What a file leaves out of the settings of its sources, in its order."""
    found = []
    for source, entry in file.entries("sources").items():
        kind = find_kind(entry["kind"])
        for name, value in (entry.get("settings") or {}).items():
            if value == KEPT:
                found.append(KeptSetting(source, name, _shape(kind, name)))
    return found


def _shape(kind: Kind | None, name: str) -> Literal["text", "object", "document"]:
    if kind is None:
        return "text"
    if name in kind.documents:
        return "document"
    return "object" if kind.schema["properties"].get(name, {}).get("type") == "object" else "text"


def read_given(given: object) -> dict[str, dict[str, Any]]:
    """What was given with a file: by source, then by setting. Raises ``InvalidInput``."""
    if not isinstance(given, Mapping):
        refuse("secrets", "must be an object: the names of data sources, each with its settings.")
    for source, settings in given.items():
        if not isinstance(settings, Mapping):
            refuse(f"secrets.{source}", "must be an object: the names of settings with their values.")
    return {str(source): dict(settings) for source, settings in given.items()}
