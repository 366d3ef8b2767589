"""A server is made public by an owner who types its name, and every page that shows it says so."""

from __future__ import annotations

import pytest

from servers.services.servers import list_servers
from tenants.roles import Role
from tests.factories import Team
from tests.frontend.visitor import client_of


def page_of_default(team: Team) -> str:
    (server,) = list_servers(caller=team.owner)
    return f"/app/{team.slug}/servers/{server.id}/"


def access(team: Team) -> str:
    (server,) = list_servers(caller=team.owner)
    return server.access


def test_an_owner_opens_a_server_by_typing_its_name_and_closes_it_again(team: Team) -> None:
    client, page = client_of(team, Role.OWNER), page_of_default(team)
    assert "without a key" in client.get(page).content.decode()
    answer = client.post(f"{page}publish", {"confirm": "defualt"}, follow=True).content.decode()
    assert "The server is still private: the typed name was not default." in answer
    assert access(team) == "private"
    answer = client.post(f"{page}publish", {"confirm": "default"}, follow=True).content.decode()
    assert "is public: anyone with its URL may call its tools" in answer
    assert access(team) == "public"
    client.post(f"{page}unpublish")
    assert access(team) == "private"


def test_a_public_server_is_marked_on_every_page_that_shows_it(team: Team) -> None:
    client, page = client_of(team, Role.OWNER), page_of_default(team)
    base = f"/app/{team.slug}/"
    marks = {
        base: "Open to anyone, without a key",
        f"{base}servers/": "badge-warn",
        page: "This server is public.",
        f"{base}connect/": "Public: no key is needed.",
    }
    for path, mark in marks.items():
        assert mark not in client.get(path).content.decode(), path
    client.post(f"{page}publish", {"confirm": "default"})
    for path, mark in marks.items():
        assert mark in client.get(path).content.decode(), path


@pytest.mark.parametrize("role", [Role.ADMIN, Role.EDITOR, Role.VIEWER])
def test_others_are_not_offered_to_open_one_and_may_not(team: Team, role: Role) -> None:
    client, page = client_of(team, role), page_of_default(team)
    assert "publish" not in client.get(page).content.decode()
    assert client.post(f"{page}publish", {"confirm": "default"}).status_code == 403
    # A forged field of the form does not do it either.
    client.post(page, {"title": "T", "offers": "all", "access": "public"})
    assert access(team) == "private"


def test_saving_a_public_server_keeps_it_public(team: Team) -> None:
    client, page = client_of(team, Role.OWNER), page_of_default(team)
    client.post(f"{page}publish", {"confirm": "default"})
    answer = client_of(team, Role.EDITOR).post(page, {"title": "New", "offers": "all"}, follow=True)
    assert "is saved" in answer.content.decode()
    assert access(team) == "public"
