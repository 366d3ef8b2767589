"""OpenAPI documents in the dashboard: given by address or pasted, and what changed is shown before it is taken over."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest
from django.test import Client

from servers.models import DataSource
from servers.services.sources import create_source, list_sources
from servers.services.tools import list_tools
from tests.factories import Team
from tests.farside import FarSide, far_side, reply
from tests.frontend.visitor import confirming
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE

READ = "read_item_items__item_id__get"


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        side.serve("/api", reply(b"{}", kind="application/json"))
        serve(side, FASTAPI_LIKE)
        yield side


def serve(api: FarSide, document: dict[str, Any]) -> None:
    document = {**document, "servers": [{"url": "/api"}]}
    api.serve("/openapi.json", reply(orjson.dumps(document), kind="application/json"))


def only(team: Team) -> DataSource:
    (source,) = list_sources(caller=team.owner)
    return source


def names(team: Team) -> list[str]:
    return [tool.name for tool in list_tools(caller=team.owner)]


def test_form_takes_an_address_or_the_document_and_offers_a_file(client: Client, team: Team) -> None:
    url = f"/app/{team.slug}/data-sources/new?kind=http"
    assert "data-takes-file" in client.get(url).content.decode()
    text = orjson.dumps(FASTAPI_LIKE, option=orjson.OPT_INDENT_2).decode().replace("\n", "\r\n")
    form = {"kind": "http", "name": "orders", "setting-openapi": text, "setting-operations": READ}
    answer = client.post(url, form)
    assert answer.status_code == 302, answer.context["form"].errors
    assert names(team) == [READ]
    assert only(team).settings["openapi"]["title"] == "Orders"


def test_form_names_the_fault_of_a_document_at_its_field(client: Client, team: Team) -> None:
    form = {"kind": "http", "name": "orders", "setting-openapi": "swagger: '2.0'"}
    answer = client.post(f"/app/{team.slug}/data-sources/new?kind=http", form)
    assert "Swagger 2.0" in str(answer.context["form"].errors["setting-openapi"])


def test_changed_document_is_shown_in_words_before_it_is_taken_over(
    client: Client, team: Team, api: FarSide
) -> None:
    source = create_source("orders", "http", {"openapi": f"{api.origin}/openapi.json"}, caller=team.owner)
    url = f"/app/{team.slug}/data-sources/{source.id}/refresh"
    words = [str(each) for each in client.post(url, follow=True).context["messages"]]
    assert words == ["orders brings nothing new."]
    new = deepcopy(FASTAPI_LIKE)
    new["paths"]["/items"] = {"get": {"operationId": "list_items", "summary": "<b>All</b>"}}
    new["paths"]["/items/{item_id}"]["get"]["parameters"][1]["required"] = True
    serve(api, new)
    shown = client.post(url)
    body = shown.content.decode()
    assert shown.status_code == 200
    assert "The argument q became required." in body
    assert "GET /items is new." in body
    assert names(team) == [READ]
    client.post(url, confirming(shown))
    assert set(names(team)) == {READ, "list_items"}


def test_document_that_was_pasted_is_asked_for_again(client: Client, team: Team) -> None:
    source = create_source("orders", "http", {"openapi": FASTAPI_LIKE}, caller=team.owner)
    answer = client.post(f"/app/{team.slug}/data-sources/{source.id}/refresh", follow=True)
    (words,) = [str(each) for each in answer.context["messages"]]
    assert words.startswith("Nothing was changed.")
    assert "give it again" in words


def test_other_settings_change_without_the_document(client: Client, team: Team) -> None:
    source = create_source("orders", "http", {"openapi": FASTAPI_LIKE}, caller=team.owner)
    url = f"/app/{team.slug}/data-sources/{source.id}/"
    form = client.get(url).context["form"]
    data = {name: form[name].value() for name in form.fields}
    data = {name: value for name, value in data.items() if value not in (None, False)}
    answer = client.post(url, {**data, "setting-timeout": "7"})
    assert answer.status_code == 302, answer.context["form"].errors
    assert only(team).settings["timeout"] == 7
    assert only(team).settings["openapi"] == source.settings["openapi"]
