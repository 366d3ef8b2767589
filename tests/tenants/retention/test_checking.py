"""A log that is pruned while it is verified is whole all the while."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tenants import pruning
from tenants.audit import checking
from tenants.audit.checking import check_log
from tenants.services.log_keys import open_keys
from tenants.services.retention import set_retention
from tests.tenants.checkpoints.logs import tamper
from tests.tenants.retention.aging import numbers_of, old_log, owner_of, prune, publish, published_in


def test_records_that_go_between_the_tombstones_and_the_walk_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with published_in(tmp_path) as target:
        place = old_log()
        publish(place, target)
        set_retention(40, caller=owner_of(place))
        read_stored = checking._read_stored
        pruned: list[int] = []

        def meanwhile(*given: Any) -> None:
            read_stored(*given)
            if not pruned:
                with patch.object(pruning, "EVERY", timedelta(0)):
                    pruned.append(prune(place))

        monkeypatch.setattr(checking, "_read_stored", meanwhile)
        verdict = check_log(place.tenant_id, public_keys=open_keys().public)
    assert pruned == [8]
    assert numbers_of(place)[0] == 9
    assert verdict.problems == ()
    assert (verdict.removed, verdict.tombstones) == (8, 1)


def test_what_is_wrong_besides_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with published_in(tmp_path) as target:
        place = old_log()
        publish(place, target)
        set_retention(40, caller=owner_of(place))
        tamper(("DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq = 10", (place.tenant_id,)))
        read_stored = checking._read_stored
        monkeypatch.setattr(checking, "_read_stored", lambda *given: (read_stored(*given), prune(place)))
        verdict = check_log(place.tenant_id, public_keys=open_keys().public)
    assert any("record 10 is missing" in problem for problem in verdict.problems)
    assert verdict.removed == 8
