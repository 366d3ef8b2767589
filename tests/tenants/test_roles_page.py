"""The documented table of roles is the one that decides."""

from __future__ import annotations

from pathlib import Path

from tenants.roles import ALLOWED, SCOPES, Action, Role

PAGE = Path(__file__).resolve().parents[2] / "docs" / "access.md"


def test_the_page_says_what_the_code_decides() -> None:
    lines = PAGE.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| action |"))
    said = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        action, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        said[action] = {role for role, cell in zip(Role, cells, strict=True) if cell == "yes"}
    assert said == {action.value: {role for role in Role if action in ALLOWED[role]} for action in Action}


def test_every_scope_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [scope for scope in SCOPES if f"`{scope}`" not in text] == []
