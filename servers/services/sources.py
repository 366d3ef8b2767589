"""Data sources: stored with their settings sealed, tested on request, and bringing their offering along.

No connection to a source is opened while a transaction of ours is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID, uuid4

from django.db.transaction import set_rollback

from core.crypto import SealError
from core.errors import Conflict, InvalidInput, SourceError
from core.loop import run_async
from core.sealing import sealer
from servers.execution.contract import Backend, Health, Offering, OnBehalf, Source
from servers.models import DataSource, ServerSource
from servers.services.aliases import require_no_alias
from servers.services.bounds import check_name, check_prefix
from servers.services.changes import publish_change
from servers.services.kinds import backend_of
from servers.services.offerings import Refreshed, free_prefix, take_over
from servers.services.on_source import (
    brought_tools,
    brought_words,
    find_source,
    names_on,
    own_tools,
    own_words,
    standing_on,
)
from servers.services.override_rules import require_naming
from servers.services.quarantine import require_deletable
from servers.services.runtime import get_runtime
from servers.services.sealed import SecretAway, open_source
from servers.services.secret_references import (
    Filled,
    fill_in,
    kept_references,
    open_anew,
    put_settings,
    put_uses,
    uses_of,
)
from servers.services.served_versions import ending_with
from servers.services.sign_ins.browsing import give_back, take_sign_ins, wanted_of
from servers.services.sign_ins.rows import Kept
from servers.services.slow_statements import KeptStatement
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import check_json, faults_below, name_taken, refuse
from tenants.services.recording import record_change

MAX_SETTINGS_BYTES: Final = 256 * 1024


class FetchedSettings(dict[str, Any]):
    """Settings with the documents that they name: these are not fetched again."""


def list_sources(*, caller: Caller) -> list[DataSource]:
    """The tenant's data sources by name; none holds a secret in clear."""
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        return list(DataSource.objects.all())


def get_source(source_id: UUID, *, caller: Caller) -> DataSource:
    """One data source. Raises ``NotFound``."""
    caller.require(Action.SOURCES_READ)
    with tenant_scope(caller.tenant_id):
        return find_source(source_id)


def list_slow_statements(source_id: UUID, *, caller: Caller) -> Sequence[KeptStatement]:
    """The newest statements that took long on a source. Raises ``NotFound``, and ``Unavailable`` without Redis."""
    get_source(source_id, caller=caller)
    return run_async(get_runtime().slow_statements.read(caller.tenant_id, source_id))


def preview_offered(kind: str, settings: Mapping[str, Any], *, caller: Caller) -> Offering:
    """What a source with these settings would bring. Saves nothing. Raises ``InvalidInput``."""
    caller.require(Action.SOURCES_CHANGE)
    backend, cleaned, _ = _fetched(kind, settings, caller)
    return _offered(backend, cleaned)


def check_source_name(name: str, kind: str, offering: Offering, *, caller: Caller) -> None:
    """Raise ``InvalidInput`` or ``Conflict`` unless a new source that brings this may be called so."""
    caller.require(Action.SOURCES_CHANGE)
    check_name(name)
    with tenant_scope(caller.tenant_id):
        if DataSource.objects.filter(name=name).exists():
            raise _name_conflict(name)
        free_prefix(name, offering, unlike=backend_of(kind).describes_itself)


def create_source(
    name: str, kind: str, settings: Mapping[str, Any], *, caller: Caller, prefix: str | None = None
) -> DataSource:
    """Store a data source with the tools, resources and prompts that come with it; nothing connects yet.

    Where the name of a tool or prompt is taken, all of them get the prefix ``<name>_``, and URIs that may hold the
    source's name get it. Others are never changed: one that is taken is a ``Conflict``, as a taken name is. Raises
    ``InvalidInput`` too. ``prefix`` is one to give them in any case, or none where it is empty.
    """
    caller.require(Action.SOURCES_CHANGE)
    check_name(name)
    if prefix:
        check_prefix(prefix)
    backend, cleaned, references = _fetched(kind, settings, caller)
    offering = _offered(backend, cleaned)
    with tenant_scope(caller.tenant_id):
        source = DataSource(
            id=uuid4(),
            tenant_id=caller.tenant_id,
            name=name,
            kind=backend.kind,
        )
        put_settings(source, backend, cleaned, references)
        if prefix is None:
            prefix = free_prefix(name, offering, unlike=backend.describes_itself)
        source.tool_prefix = prefix
        require_naming(source, backend, cleaned, caller=caller, before={"prefix": cleaned.get("prefix")})
        with name_taken("servers_datasource_name_unique", _name_conflict(name).message):
            source.save(force_insert=True)
        put_uses(source, references)
        done = take_over(source, offering, caller=caller)
        after = {**source_shown(source), **done.added.shown()}
        publish_change(caller.tenant_id)
        require_no_alias(done.added.tools)
        record_change("source.created", caller=caller, after=after)
    return source


def update_source(
    source_id: UUID,
    *,
    caller: Caller,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> DataSource:
    """Rename a source, or replace its settings whole; what is ``None`` stays.

    Its tools stay, too, unless the settings bring a document: then they are those of the document.

    Settings are never merged with the stored ones: otherwise an editor could point a stored password at a
    host of their own. Nor is a stored secret lost by leaving it out: that is refused, and ``None`` removes it.
    Raises ``InvalidInput``, ``NotFound`` and ``Conflict``, and ``Forbidden`` where tools would get other names by it.
    """
    caller.require(Action.SOURCES_CHANGE)
    if name is not None:
        check_name(name)
    filled = Filled(settings)
    if settings is not None:
        row = get_source(source_id, caller=caller)
        backend = backend_of(row.kind)
        filled = fill_in(backend, settings, caller=caller)
        settings = with_documents(
            backend, filled.settings, team=caller.tenant_id, on_behalf=_on_behalf(row, caller)
        )
    signed_out: list[Kept] = []
    with tenant_scope(caller.tenant_id):
        source = find_source(source_id, lock=True)
        before = source_shown(source)
        done = Refreshed()
        if settings is not None:
            backend, cleaned = _cleaned_anew(source, settings)
            references = kept_references(backend.keep_settings(cleaned), filled)
            former = wanted_of(source)
            if backend.describes_itself and backend.keep_settings(cleaned) == cleaned:
                cleaned = _as_taken_over(source, backend, cleaned)
            require_naming(source, backend, cleaned, caller=caller, before=source.settings)
            _store_settings(source, backend, cleaned, references)
            if former is not None and wanted_of(source) != former:
                # What was given for one server, or to one client, is no other's.
                signed_out = take_sign_ins(source, former)
            if backend.keep_settings(cleaned) != cleaned:
                done = take_over(source, _offered(backend, cleaned), caller=caller)
                done.require_approval(backend, caller)
        if name is not None:
            source.name = name
        with name_taken("servers_datasource_name_unique", _name_conflict(name).message):
            source.save()
        after = {**source_shown(source), "settings_replaced": settings is not None, **_ended(done.ended)}
        publish_change(caller.tenant_id)
        require_no_alias(done.added.tools)
        record_change("source.changed", caller=caller, before=before, after=after)
    give_back(signed_out)
    return source


def refresh_source(
    source_id: UUID, *, caller: Caller, document: Any = None, fingerprint: str | None = None
) -> Refreshed:
    """Take over what the source's kind brings now: after an upgrade, new settings, or a new version of its document.

    Nothing of this happens by itself, so that what a team offers changes by somebody's decision only. Connects to
    nothing, but to where a document is; ``document`` is one to take in its place. ``fingerprint`` is that of the
    preview that was looked at: where the differences are others by now, nothing is taken over.
    Raises ``NotFound``, ``Conflict`` (a new name or URI is taken), ``InvalidInput`` and ``SourceError``.
    """
    caller.require(Action.SOURCES_CHANGE)
    read = _anew(source_id, document, caller=caller)
    with tenant_scope(caller.tenant_id):
        source, done = taken_over_anew(source_id, *read, caller=caller, approved=True)
        if fingerprint is not None:
            done.require_shown(fingerprint)
        states = {"added": done.added, "changed": done.changed, "removed": done.removed}
        after = {**source_shown(source), **{state: names.shown() for state, names in states.items()}}
        record_change("source.refreshed", caller=caller, after={**after, **_ended(done.ended)})
    return done


def preview_refresh(source_id: UUID, *, caller: Caller, document: Any = None) -> Refreshed:
    """What ``refresh_source`` would do: that itself, undone at its end, so what it would refuse is refused here."""
    caller.require(Action.SOURCES_CHANGE)
    read = _anew(source_id, document, caller=caller)
    with tenant_scope(caller.tenant_id):
        _, done = taken_over_anew(source_id, *read, caller=caller)
        set_rollback(True)
    return done


def delete_source(source_id: UUID, *, caller: Caller) -> None:
    """Delete a source with the tools, resources and prompts that came with it.

    Raises ``NotFound``, and ``Conflict`` while a server names it or a tool of the team's own stands on it.
    """
    caller.require(Action.SOURCES_CHANGE)
    with tenant_scope(caller.tenant_id):
        source = find_source(source_id, lock=True)
        slugs = list(
            ServerSource.objects.filter(source=source)
            .order_by("server__slug")
            .values_list("server__slug", flat=True)
        )
        if slugs:
            raise Conflict(
                f"Data source {source.name} is offered by the servers {', '.join(slugs)}. "
                "Take it off them first.",
                code="source_in_use",
                data={"servers": slugs},
            )
        own = own_tools(source)
        if own:
            raise Conflict(
                f"The tools {', '.join(own)} were made on data source {source.name}. Delete them first.",
                code="source_in_use",
                data={"tools": own},
            )
        made = own_words(source)
        if made:
            raise Conflict(
                f"Resources and prompts were made on data source {source.name}: {', '.join(made)[:500]}. "
                "Delete them first.",
                code="source_in_use",
                data={"made": made},
            )
        require_deletable(source, caller)
        before = {**source_shown(source), **names_on(source), **_ended(ending_with(source.tools.all()))}
        signed_out = take_sign_ins(source, wanted_of(source))
        source.delete()
        publish_change(caller.tenant_id)
        record_change("source.deleted", caller=caller, before=before)
    give_back(signed_out)


def test_settings(kind: str, settings: Mapping[str, Any], *, caller: Caller) -> Health:
    """Connect once with settings that are not saved, and save nothing but the record of it.

    Raises ``InvalidInput``; then nothing was connected to.
    """
    caller.require(Action.SOURCES_CHANGE)
    # What a source brings is not asked for here: that it cannot say so is what the test is to tell.
    backend, cleaned, _ = _fetched(kind, settings, caller, documents=not backend_of(kind).describes_itself)
    source = Source(
        id=uuid4(), tenant_id=caller.tenant_id, name="unsaved", kind=backend.kind, version=0, settings=cleaned
    )
    health = run_async(get_runtime().engine.check(source))
    with tenant_scope(caller.tenant_id):
        tried = {"kind": backend.kind, "settings": backend.describe_settings(cleaned)}
        record_change(
            "source.tried", caller=caller, after={**tried, "health": health.state, "code": health.code}
        )
    return health


def execution_source(row: DataSource) -> Source:
    """A stored source as execution sees it, its settings opened. In memory only: never log or send it.

    Raises ``SourceError`` when the settings do not open under this process's master key.
    """
    try:
        return open_source(row, sealer())
    except SecretAway as away:
        raise SourceError(str(away), code="secret_unavailable", retryable=True) from None
    except SealError:
        raise SourceError(
            f"The stored settings of data source {row.name} do not open with this master key. "
            "Enter them again.",
            code="source_sealed",
        ) from None


def _name_conflict(name: object) -> Conflict:
    return Conflict(f"A data source called {name} exists already. Choose another name.", code="name_taken")


def _fetched(
    kind: object, settings: object, caller: Caller, *, documents: bool = True
) -> tuple[Backend, dict[str, Any], dict[str, str]]:
    """Settings that were entered, cleaned, with the secrets and ``documents`` that they name. Outside any transaction.

    And the names of the secrets, by setting.
    """
    filled = fill_in(backend_of(kind), settings, caller=caller)
    backend, given = backend_of(kind), filled.settings
    if documents:
        given = with_documents(backend, given, team=caller.tenant_id)
    backend, cleaned = cleaned_settings(kind, given)
    return backend, cleaned, kept_references(backend.keep_settings(cleaned), filled)


def names_documents(backend: Backend, settings: Mapping[str, Any]) -> bool:
    """Whether there is something to fetch before such settings say what the source brings."""
    return backend.describes_itself or bool(backend.document_settings & settings.keys())


def with_documents(
    backend: Backend,
    settings: object,
    *,
    team: int,
    anew: bool = False,
    on_behalf: OnBehalf | None = None,
) -> Any:
    """The settings with the documents that they name, where these are not there yet. Outside any transaction."""
    if isinstance(settings, FetchedSettings) or not isinstance(settings, Mapping):
        return settings
    if not names_documents(backend, settings):
        return settings
    with faults_below("settings"):
        return run_async(backend.fetch_documents(settings, anew=anew, on_behalf=on_behalf, team=team))


def _anew(source_id: UUID, document: Any, *, caller: Caller) -> tuple[Backend, dict[str, Any], int]:
    """The stored settings of a source with its document as it is now, or with this one; and the source's version."""
    row = get_source(source_id, caller=caller)
    backend = backend_of(row.kind)
    source = execution_source(row)
    stored = dict(source.settings)
    held = sorted(backend.document_settings & stored.keys())
    if document is not None:
        if not held:
            refuse("document", "this data source is not made of a document. Leave it out.")
        stored[held[0]] = document
    if not held and not backend.describes_itself:
        return backend, stored, row.version
    given = with_documents(
        backend,
        stored,
        team=caller.tenant_id,
        anew=document is None,
        on_behalf=OnBehalf(source, caller.user_id),
    )
    return *cleaned_settings(row.kind, given), row.version


def taken_over_anew(
    source_id: UUID,
    backend: Backend,
    cleaned: Mapping[str, Any],
    version: int,
    *,
    caller: Caller,
    approved: bool = False,
) -> tuple[DataSource, Refreshed]:
    """Make what is stored of a source what it brings now, in the open scope. Raises ``Conflict``, ``Forbidden``."""
    source = find_source(source_id, lock=True)
    if source.version != version:
        raise Conflict("The data source was changed meanwhile. Try again.", code="version_moved")
    standing = standing_on(source)
    done = take_over(source, _offered(backend, cleaned), caller=caller)
    if approved:
        done.require_approval(backend, caller)
    if backend.keep_settings(cleaned) != execution_source(source).settings:
        _store_settings(source, backend, cleaned, uses_of(source))
        source.save()
    done = replace(done, differences=standing.compared_with(brought_tools(source), brought_words(source)))
    if done:
        publish_change(caller.tenant_id)
        require_no_alias(done.added.tools)
    return source, done


def _offered(backend: Backend, cleaned: Mapping[str, Any]) -> Offering:
    with faults_below("settings"):
        return backend.offered(cleaned)


def _store_settings(
    source: DataSource, backend: Backend, cleaned: Mapping[str, Any], references: Mapping[str, str]
) -> None:
    """Put new settings in place of a source's own."""
    put_uses(source, references)
    put_settings(source, backend, cleaned, references)
    open_anew(source)


def cleaned_settings(kind: object, settings: object) -> tuple[Backend, dict[str, Any]]:
    """Settings as their kind takes them, with the kind. Raises ``InvalidInput``."""
    backend = backend_of(kind)
    if not isinstance(settings, Mapping):
        refuse("settings", "must be an object.")
    # Documents have bounds of their own, and are not stored.
    plain = {name: value for name, value in settings.items() if name not in backend.document_settings}
    check_json(plain, "settings", largest=MAX_SETTINGS_BYTES)
    with faults_below("settings"):
        return backend, backend.clean_settings(settings)


def _cleaned_anew(source: DataSource, settings: object) -> tuple[Backend, dict[str, Any]]:
    """Settings in place of those that are stored. Raises ``InvalidInput`` where a stored secret would be lost."""
    secrets = backend_of(source.kind).secret_settings
    named = settings if isinstance(settings, Mapping) else {}
    removed = {name for name in secrets & named.keys() if named[name] is None}
    kept = {name: value for name, value in named.items() if name not in removed}
    backend, cleaned = cleaned_settings(source.kind, kept if removed else settings)
    try:
        stored = execution_source(source).settings
    except SourceError:
        # What does not open any more is lost already.
        return backend, cleaned
    lost = [
        {
            "path": f"settings.{name}",
            "message": "one is stored, and changed settings do not keep it. Enter it again, or have it removed "
            "(through REST: null).",
        }
        for name in sorted(secrets - named.keys())
        if stored.get(name) not in (None, "", cleaned.get(name))
    ]
    if lost:
        raise InvalidInput(f"{lost[0]['path']}: {lost[0]['message']}", errors=lost)
    return backend, cleaned


def _on_behalf(row: DataSource, caller: Caller) -> OnBehalf | None:
    """By whose sign-in a stored source may be asked; ``None`` where its settings do not open."""
    try:
        return OnBehalf(execution_source(row), caller.user_id)
    except SourceError:
        return None


def _as_taken_over(source: DataSource, backend: Backend, cleaned: dict[str, Any]) -> dict[str, Any]:
    """The settings with what was kept beside them of what the source brought: it could not be asked anew."""
    try:
        stored = execution_source(source).settings
    except SourceError:
        return cleaned
    entered = backend.settings_schema.get("properties", {})
    return {**cleaned, **{name: value for name, value in stored.items() if name not in entered}}


def _ended(ended: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What servers had set for tools that went, for the log; nothing is said where there was none."""
    return {"ended": list(ended)} if ended else {}


def source_shown(source: DataSource) -> dict[str, Any]:
    """A source as the log has it."""
    return {
        "id": str(source.id),
        "name": source.name,
        "kind": source.kind,
        "settings": source.settings,
        "version": source.version,
    }
