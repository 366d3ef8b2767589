"""A record that is alone in its batch goes in one statement, and is as whole as others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest
from django.conf import settings

from core.threads import run_sync
from tenants.audit.append import append_entry
from tenants.audit.chain import Head
from tenants.audit.records import Entry
from tenants.audit.session import Session
from tenants.audit.statements import Command
from tenants.audit.verification import verify_log
from tenants.audit.writer import AuditWriter
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.tenants.audit.places import Place, make_place

pytestmark = pytest.mark.anyio


@pytest.fixture
def team() -> Place:
    return make_place()


@pytest.fixture
async def writer() -> AsyncIterator[AuditWriter]:
    writer = AuditWriter(settings.ENV.writer_database_url)
    await writer.start()
    assert writer.accepting
    yield writer
    await writer.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of the statements that writers send."""
    names: list[bytes] = []
    send = Session.send

    def note(session: Session, commands: Sequence[Command], *, sync: bool) -> None:
        names.extend(name for name, _ in commands if name != b"check")
        send(session, commands, sync=sync)

    monkeypatch.setattr(Session, "send", note)
    return names


def entry(request_id: str) -> Entry:
    return Entry("tools/call", "ok", "key:test", request_id=request_id)


def append_beside(tenant_id: int) -> None:
    with tenant_scope(tenant_id):
        append_entry(entry("beside"), tenant_id=tenant_id)


async def stored(tenant_id: int) -> list[AuditRecord]:
    """All of a team's records, whose chain is whole."""

    def read() -> list[AuditRecord]:
        with tenant_scope(tenant_id):
            return list(AuditRecord.objects.order_by("seq"))

    assert isinstance(await run_sync(verify_log, tenant_id), Head)
    return await run_sync(read)


async def test_a_record_that_is_alone_is_kept_where_another_process_moved_the_head(
    writer: AuditWriter, team: Place, sent: list[bytes]
) -> None:
    await writer.write(team.tenant_id, entry("first"))
    await run_sync(append_beside, team.tenant_id)
    sent.clear()
    seq = await writer.write(team.tenant_id, entry("alone"))
    assert sent[:3] == [b"begin", b"move_append", b"commit"]
    assert b"append" in sent, "it was refused, and written once its head was known"
    rows = [row for row in await stored(team.tenant_id) if row.kind == "tools/call"]
    assert [row.request_id for row in rows] == ["first", "beside", "alone"]
    assert rows[-1].seq == seq


@pytest.mark.parametrize("credential", [None, UUID(int=2**127 + 7)])
@pytest.mark.parametrize("is_outcome", [False, True])
async def test_a_record_that_is_alone_is_stored_with_all_that_it_says(
    writer: AuditWriter, team: Place, sent: list[bytes], credential: UUID | None, is_outcome: bool
) -> None:
    first = await writer.write(team.tenant_id, entry("first"))
    sent.clear()
    intent = first if is_outcome else None
    given = Entry(
        "tools/call",
        "failed",
        "key:somebody",
        credential_id=credential,
        server="desk",
        tool="sum",
        request_id="r-9",
        duration_us=1_234,
        intent=intent,
    )
    seq = await writer.write(team.tenant_id, given)
    assert sent == [b"begin", b"move_append", b"commit"]

    (row,) = [row for row in await stored(team.tenant_id) if row.seq == seq]
    assert (row.kind, row.outcome, row.actor) == ("tools/call", "failed", "key:somebody")
    assert (row.credential_id, row.server, row.tool) == (credential, "desk", "sum")
    assert (row.request_id, row.duration_us, row.intent_seq) == ("r-9", 1_234, intent)
