"""A record that is alone in its batch goes in one statement, and is as whole as others."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from core.threads import run_sync
from tenants.audit.records import Entry
from tenants.audit.session import Session
from tenants.audit.statements import Command
from tenants.audit.writer import AuditWriter
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.tenants.audit.places import Place
from tests.tenants.audit.writers import append, assert_whole, entry

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("patient")]


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


async def stored(tenant_id: int) -> list[AuditRecord]:
    """All of a team's records, whose chain is whole."""

    def read() -> list[AuditRecord]:
        with tenant_scope(tenant_id):
            return list(AuditRecord.objects.order_by("seq"))

    await assert_whole(tenant_id)
    return await run_sync(read)


async def test_a_record_that_is_alone_is_kept_where_another_process_moved_the_head(
    writer: AuditWriter, team: Place, sent: list[bytes]
) -> None:
    await writer.write(team.tenant_id, entry("first"))
    await run_sync(append, team.tenant_id, "beside")
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
