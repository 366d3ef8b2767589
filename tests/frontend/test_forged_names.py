"""No page takes a name of the corpus, shows hidden characters of one in its own words, or markup as markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from core.readable import hidden_in
from servers.services.handmade import change_prompt, create_prompt
from servers.services.sources import create_source
from tests.corpora.names import CASES, is_plain
from tests.corpora.templates import VALUES
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of

TYPED = re.compile(r' value="[^"]*"|(?s:<textarea[^>]*>.*?</textarea>)')
"""What somebody typed stands in its field as it was typed, and nowhere else."""

FORMS: Mapping[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "data-sources/new": ("data-sources/", lambda name: {"name": name, "kind": "toolkit"}),
    "tools/new": (
        "tools/",
        lambda name: {"name": name, "source": "code", "kind": "python", "definition": '{"code": "1"}'},
    ),
    "resources/new": ("resources/", lambda name: {"uri": name, "mime_type": "text/plain", "text": "x"}),
    "prompts/new": (
        "prompts/",
        lambda name: {
            "name": name,
            "message-role": ["user"],
            "message-text": ["Hello"],
            "message-uri": [""],
            "message-mime_type": [""],
            "message-kept": [""],
        },
    ),
    "servers/new": ("servers/", lambda name: {"slug": name, "title": "Plain", "access": "private"}),
    "secrets/new": ("secrets/", lambda name: {"name": name, "origin": "stored", "value": "hush"}),
}
"""Forms with a name in them, and the page that lists what they make."""


@pytest.fixture(scope="module")
def team(database: None) -> Team:
    team = make_team()
    create_source("code", "code", {}, caller=team.owner)
    return team


@pytest.fixture(scope="module")
def browser(team: Team) -> Client:
    return client_of(team)


@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_refused_beside_its_field(browser: Client, team: Team, form: str) -> None:
    listed, fields = FORMS[form]
    before = words_of(browser.get(f"/app/{team.slug}/{listed}"))
    wrong = []
    for title, name in CASES.items():
        answer = browser.post(f"/app/{team.slug}/{form}", fields(name.replace("\ud800", "\ufffd")))
        words = words_of(answer)
        hidden = {letter for letter in name if not is_plain("a" + letter)} & set(words)
        if answer.status_code not in (200, 400, 422) or hidden or "alert(1)" in words or len(words) > 200_000:
            wrong.append((title, answer.status_code, hidden, len(words)))
    assert not wrong, "\n".join(map(str, wrong))
    assert words_of(browser.get(f"/app/{team.slug}/{listed}")) == before


def test_titles_stand_on_pages_as_they_were_written(browser: Client, team: Team) -> None:
    made = create_prompt({"name": "titled", "messages": [{"text": "Hello"}]}, caller=team.owner)
    visible = [text for text in VALUES if not hidden_in(text)]
    assert len(visible) >= 50
    for text in visible:
        change_prompt(made.pk, {"title": text, "description": text}, caller=team.owner)
        for page in ("prompts/", f"prompts/{made.pk}/"):
            assert escape(text.strip()) in browser.get(f"/app/{team.slug}/{page}").content.decode(), text


def words_of(answer: Any) -> str:
    """A page without what somebody typed, and what differs each time."""
    page = re.sub(r"[0-9a-f]{32}|[A-Za-z0-9]{64}", "", answer.content.decode())
    # "just now" is another word a few seconds later.
    page = re.sub(r"(<time [^>]*>)[^<]*", r"\1", page)
    return TYPED.sub("", page).replace("\t", "").replace("\r\n", "\n")
