"""The log's page and its guide know every kind of record that the code writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frontend.views.log import KINDS
from tests.architecture.recordkinds import Found, Sources

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {ROOT / name: name for name in ("frontend", "servers", "tenants")} | {ROOT / "platform": ""}

BY_HAND = {
    "servers.endpoint.handlers.answers: incoming.method": {
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "resources/subscribe",
        "prompts/list",
    },
    "servers.services.refusals: kind": set(),
}
"""Where the source text does not say it: a refused list has its method's name; a count of refusals repeats a kind."""


@pytest.fixture(scope="module")
def found() -> Found:
    return Sources(ROOTS).kinds("Entry")


def test_where_kinds_come_from_is_understood(found: Found) -> None:
    assert found.lost == set(BY_HAND)


def test_the_filter_of_the_log_suggests_every_kind_and_no_other(found: Found) -> None:
    written = found.kinds.union(*BY_HAND.values())
    assert {"tools/call", "rest", "key.revoked", "factor.added", "oauth"} <= written
    assert len(KINDS) == len(set(KINDS))
    assert set(KINDS) == written


def test_the_guide_says_when_each_kind_is_recorded() -> None:
    page = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    table = page.partition("## What is recorded")[2].partition("\n## ")[0]
    said = set(re.findall(r"`([^`]+)`", table))
    families = tuple(name.removesuffix("…") for name in said if name.endswith(".…"))
    assert [kind for kind in KINDS if kind not in said and not kind.startswith(families)] == []
