"""A SQLite file in the dashboard: the form that its settings make, its page, and the editor of SQL tools on it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from django.conf import settings

from servers.services.sources import create_source, list_sources
from servers.services.tools import create_tool
from tests.factories import make_team
from tests.frontend.visitor import client_of


def plan_words(editor: str) -> str:
    """What the editor says of the plan before it is shown, without its apostrophe."""
    found = re.search(r'id="tool-plan"[^>]*>\s*<p[^>]*>(.*)</p>', editor)
    assert found is not None
    return found[1].replace("\u2019s", "")


def test_a_file_is_added_by_its_form_and_takes_sql_tools() -> None:
    team = make_team()
    folder: Path = settings.ENV.files_roots[0] / str(team.tenant_id)
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript("CREATE TABLE stock (item TEXT); INSERT INTO stock VALUES ('lamp')")
    client = client_of(team)
    pages = f"/app/{team.slug}"
    shown = client.get(f"{pages}/data-sources/new?kind=sqlite").content.decode()
    for name in ("path", "tables", "masks", "allow_writes", "row_limit"):
        assert f'name="setting-{name}"' in shown
    given = {
        "kind": "sqlite",
        "name": "shop",
        "setting-path": "shop.db",
        "setting-masks": '{"stock.item": "hidden"}',
        "setting-row_limit": "7",
    }
    answer = client.post(f"{pages}/data-sources/new?kind=sqlite", given, follow=True)
    assert "shop answers." in answer.content.decode()
    (source,) = list_sources(caller=team.owner)
    assert (source.kind, source.health, source.settings["row_limit"]) == ("sqlite", "healthy", 7)
    assert source.settings["masks"] == {"stock.item": "hidden"}
    page = client.get(f"{pages}/data-sources/{source.id}/").content.decode()
    assert "shop.db" in page
    assert "?kind=sql&amp;source=shop" in page
    editor = client.get(f"{pages}/tools/new?kind=sql&source=shop").content.decode()
    assert '<option value="shop" selected>shop</option>' in editor
    assert plan_words(editor) == "SQLite plan. Nothing is run."
    create_source("far", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    editor = client.get(f"{pages}/tools/new?kind=sql").content.decode()
    either = "The database plan, with the rows and the cost that it expects where it is PostgreSQL. Nothing is run."
    assert plan_words(editor) == either
    expected = "PostgreSQL plan, with the rows and the cost that it expects. Nothing is run."
    for on, words in (("shop", "SQLite plan. Nothing is run."), ("far", expected)):
        tool = create_tool(f"of_{on}", on, "sql", {"sql": "SELECT 1 AS a"}, caller=team.owner)
        assert plan_words(client.get(f"{pages}/tools/{tool.id}/edit").content.decode()) == words
