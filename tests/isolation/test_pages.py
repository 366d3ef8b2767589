"""For every page: a member of one team gets for another team's address or id what an unknown one gives."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from frontend.urls import _TENANT
from tenants.models import User
from tests.isolation.furnished import UNKNOWN_NUMBER, UNKNOWN_UUID, Furnished, furnish

IDS = {
    "source_id": "source",
    "tool_id": "tool",
    "resource_id": "resource",
    "prompt_id": "prompt",
    "server_id": "server",
    "key_id": "key",
    "connection_id": "connection",
    "client_id": "client",
    "timeline_id": "timeline",
    "membership_id": "member",
    "invitation_id": "invitation",
    "export_id": "export",
    "task_id": "task",
    "hold_id": "hold",
    "stream_id": "stream",
    "delivery_id": "delivery",
    "schedule_id": "schedule",
    "tool_schedule_id": "tool_schedule",
    "issuer_id": "issuer",
    "secret_id": "secret",
    "seq": "seq",
    "provider_id": "provider",
    "identity_id": "identity",
    "served_id": "served",
}
# (name, its parameters besides the tenant)
PAGES = [(str(entry.name), re.findall(r"<\w+:(\w+)>", str(entry.pattern))) for entry in _TENANT]


@pytest.fixture(scope="module")
def mine(database: None) -> Furnished:
    return furnish()


@pytest.fixture(scope="module")
def theirs(database: None) -> Furnished:
    return furnish()


@pytest.fixture
def browser(mine: Furnished) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(email=mine.team.owner_email))
    return client


def _values(parameters: list[str], ids: dict[str, str]) -> dict[str, object]:
    """What a URL needs: real ids, or unknown ones."""
    values: dict[str, object] = {}
    for name in parameters:
        if name == "name":
            values[name] = "stats"
        elif name == "number":
            values[name] = 1
        elif name in {"membership_id", "seq"}:
            values[name] = int(ids.get(IDS[name], UNKNOWN_NUMBER))
        else:
            values[name] = UUID(ids.get(IDS[name], UNKNOWN_UUID))
    return values


def _visible(response: HttpResponse) -> tuple[int, str]:
    """Status and text, less what differs for each request by design."""
    text = response.content.decode() if not response.streaming else ""
    text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", text)
    return response.status_code, text.replace(response.headers["X-Request-ID"], "")


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("name", "parameters"), PAGES, ids=[name for name, _ in PAGES])
def test_another_teams_page_answers_as_an_unknown_teams(
    browser: Client, theirs: Furnished, name: str, parameters: list[str], method: str
) -> None:
    send = getattr(browser, method)
    foreign = send(
        reverse(f"frontend:{name}", kwargs={"tenant": theirs.team.slug, **_values(parameters, theirs.ids)})
    )
    unknown = send(reverse(f"frontend:{name}", kwargs={"tenant": "no-such-team", **_values(parameters, {})}))
    assert _visible(foreign)[0] == _visible(unknown)[0]
    if foreign.status_code != 405:
        assert foreign.status_code == 404
    assert _visible(foreign)[1] == _visible(unknown)[1]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [entry for entry in PAGES if set(entry[1]) & set(IDS) - {"seq"}],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_teams_id_answers_as_an_unknown_id(
    browser: Client, mine: Furnished, theirs: Furnished, name: str, parameters: list[str], method: str
) -> None:
    send = getattr(browser, method)
    # Enough of a form for the id to be looked up at all.
    form = {"role": "viewer"} if method == "post" else None
    foreign = send(
        reverse(f"frontend:{name}", kwargs={"tenant": mine.team.slug, **_values(parameters, theirs.ids)}),
        form,
    )
    unknown = send(
        reverse(f"frontend:{name}", kwargs={"tenant": mine.team.slug, **_values(parameters, {})}), form
    )
    if foreign.status_code != 405:
        assert foreign.status_code == 404
    assert _visible(foreign) == _visible(unknown)


@pytest.mark.parametrize(("name", "parameters"), PAGES, ids=[name for name, _ in PAGES])
def test_no_page_shows_anything_of_another_team(
    browser: Client, mine: Furnished, theirs: Furnished, name: str, parameters: list[str]
) -> None:
    response = browser.get(
        reverse(f"frontend:{name}", kwargs={"tenant": mine.team.slug, **_values(parameters, mine.ids)})
    )
    assert response.status_code < 500
    if not response.streaming:
        assert theirs.marks_in(response.content.decode()) == []


def test_a_visitor_who_is_not_signed_in_learns_nothing_of_any_team(theirs: Furnished) -> None:
    visitor = Client()
    for name, parameters in PAGES:
        for slug in (theirs.team.slug, "no-such-team"):
            response = visitor.get(
                reverse(f"frontend:{name}", kwargs={"tenant": slug, **_values(parameters, theirs.ids)})
            )
            assert response.status_code in {302, 405}, name
