"""What the pages do with input: keys shown once, typed names, filters, refusals beside their fields."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.test import Client

from servers.services.servers import create_server
from servers.services.source_checks import test_source as check_source
from servers.services.sources import create_source, list_sources
from tenants.access import caller_for_key
from tenants.audit.append import append_entry
from tenants.audit.query import OUTCOME_FILTERS
from tenants.audit.records import Entry, now_us, to_microseconds
from tenants.exports.making import make_export
from tenants.scoping import tenant_scope
from tenants.services.exports import start_export
from tenants.services.keys import issue_key, list_keys
from tenants.services.log import search_records
from tests.factories import Team, make_database, make_user

HTMX = {"HX-Request": "true"}
NUMBERS = {"max_bytes": "1048576", "slow_query_seconds": "1", "pool_max": "4"}


def make_key(client: Client, team: Team, **fields: object) -> str:
    data = {"name": "laptop", "scopes": ["tools:read", "tools:execute"], "expiry": "90", **fields}
    answer = client.post(f"/app/{team.slug}/keys/new", data, headers=HTMX)
    assert answer.status_code == 200, answer.content.decode()
    found = re.search(r'id="new-key">(mcp_live_\w+)<', answer.content.decode())
    assert found is not None
    return found[1]


def test_a_key_is_shown_once_and_never_cached(client: Client, team: Team) -> None:
    data = {"name": "laptop", "scopes": ["tools:read"], "expiry": "90"}
    answer = client.post(f"/app/{team.slug}/keys/new", data)
    key = re.search(r"mcp_live_\w{30,}", answer.content.decode())
    assert key is not None
    assert "no-store" in answer["Cache-Control"]
    listed = client.get(f"/app/{team.slug}/keys/").content.decode()
    assert key[0] not in listed
    assert key[0][-4:] in listed


def test_narrowing_scopes_come_with_the_others(client: Client, team: Team) -> None:
    make_key(client, team, servers=["default"])
    assert list_keys(caller=team.owner)[0].scopes == ["tools:read", "tools:execute", "server:default"]


def test_a_key_without_scopes_is_refused_beside_the_field(client: Client, team: Team) -> None:
    answer = client.post(f"/app/{team.slug}/keys/new", {"name": "x", "expiry": "90"})
    assert answer.status_code == 400
    assert answer.context["form"].errors["scopes"]
    assert "field-errors" in answer.content.decode()


def test_a_key_is_revoked_only_when_its_name_is_typed(client: Client, team: Team) -> None:
    make_key(client, team)
    row = list_keys(caller=team.owner)[0]
    url = f"/app/{team.slug}/keys/{row.id}/revoke"
    assert "the typed name was not" in client.post(url, {"confirm": "lap"}, follow=True).content.decode()
    assert list_keys(caller=team.owner)[0].revoked_at is None
    client.post(url, {"confirm": "laptop"})
    assert list_keys(caller=team.owner)[0].revoked_at is not None
    assert "revoked" in client.get(f"/app/{team.slug}/keys/").content.decode()


def test_a_source_that_cannot_be_reached_is_saved_and_says_why(client: Client, team: Team) -> None:
    dsn = "postgresql://reader:hunter22@127.0.0.1:9/none"
    fields = {"name": "down", "dsn": dsn, "row_limit": "100", "statement_timeout": "10"}
    answer = client.post(f"/app/{team.slug}/data-sources/new", fields, follow=True)
    body = answer.content.decode()
    assert "down is unhealthy" in body
    assert "hunter22" not in body


def test_testing_settings_shows_words_and_tools_and_saves_nothing(client: Client, team: Team) -> None:
    fields = {"dsn": make_database("CREATE TABLE t (a int)"), "row_limit": "100", "statement_timeout": "10"}
    body = client.post(f"/app/{team.slug}/data-sources/try", fields, headers=HTMX).content.decode()
    assert "It answers" in body
    assert "query_database" in body
    assert list_sources(caller=team.owner) == []


def test_a_bad_connection_string_is_refused_beside_the_field_without_its_password(
    client: Client, team: Team
) -> None:
    fields = {
        "name": "x",
        "dsn": "host=/tmp user=a password=hunter22",
        "row_limit": "1",
        "statement_timeout": "5",
    }
    answer = client.post(f"/app/{team.slug}/data-sources/new", fields)
    assert answer.status_code == 400
    assert "TCP" in answer.context["form"].errors["dsn"][0] or answer.context["form"].errors["dsn"]
    errors = str(answer.context["form"].errors)
    assert "hunter22" not in errors


def test_renaming_a_source_needs_no_password_and_its_settings_stay(client: Client, team: Team) -> None:
    dsn = make_database("CREATE TABLE t (a int)")
    fields = {"name": "first", "dsn": dsn, "row_limit": "77", "statement_timeout": "9"}
    client.post(f"/app/{team.slug}/data-sources/new", fields)
    source = list_sources(caller=team.owner)[0]
    client.post(
        f"/app/{team.slug}/data-sources/{source.id}/",
        {**NUMBERS, "name": "second", "dsn": "", "row_limit": "77", "statement_timeout": "9.0"},
    )
    renamed = list_sources(caller=team.owner)[0]
    assert (renamed.name, renamed.settings["row_limit"], renamed.version) == ("second", 77, source.version)


def test_settings_changed_without_the_connection_string_are_asked_about_and_not_dropped(
    client: Client, team: Team
) -> None:
    dsn = make_database("CREATE TABLE t (a int)")
    source = create_source("db", "postgres", {"dsn": dsn, "row_limit": 77}, caller=team.owner)
    answer = client.post(
        f"/app/{team.slug}/data-sources/{source.id}/",
        {"name": "other", "dsn": "", "row_limit": "5", "statement_timeout": "10"},
    )
    assert (answer.status_code, "enter it again" in answer.content.decode()) == (400, True)
    (kept,) = list_sources(caller=team.owner)
    assert (kept.name, kept.settings["row_limit"]) == ("db", 77)


def test_what_the_form_shows_of_settings_stays_until_it_is_changed(client: Client, team: Team) -> None:
    dsn = make_database("CREATE TABLE t (a int)")
    beside = {"functions": ["public.season_of"], "max_bytes": 2048, "pool_max": 7, "slow_query_seconds": 2.5}
    source = create_source("db", "postgres", {"dsn": dsn, "schemas": ["public"], **beside}, caller=team.owner)
    url = f"/app/{team.slug}/data-sources/{source.id}/"
    form = client.get(url).context["form"]
    shown = {name: form[name].value() for name in form.fields}
    typed = {name: value for name, value in shown.items() if value not in (None, False)}
    client.post(url, {**typed, "dsn": dsn, "schemas": "public other", "row_limit": "5"})
    settings = list_sources(caller=team.owner)[0].settings
    assert (settings["schemas"], settings["row_limit"]) == (["public", "other"], 5)
    assert {name: settings[name] for name in beside} == beside
    fewer = {"functions": "", "max_bytes": "", "pool_max": "3", "slow_query_seconds": "0.05"}
    client.post(url, {**typed, **fewer, "dsn": dsn})
    settings = list_sources(caller=team.owner)[0].settings
    changed = {"functions": [], "max_bytes": 1_048_576, "pool_max": 3, "slow_query_seconds": 0.05}
    assert {name: settings[name] for name in changed} == changed


def test_limits_and_functions_that_cannot_be_are_refused_beside_their_fields(
    client: Client, team: Team
) -> None:
    faults = {"functions": "lower\npg_sleep", "max_bytes": "7", "pool_max": "1", "slow_query_seconds": "0.01"}
    fields = {"name": "db", "dsn": "postgresql://reader@127.0.0.1:9/none", "row_limit": "1"}
    answer = client.post(f"/app/{team.slug}/data-sources/new", {**fields, "statement_timeout": "5", **faults})
    form = answer.context["form"]
    assert (answer.status_code, set(form.errors)) == (400, set(faults))
    assert form.errors["functions"] == ["1: This function reaches outside the query and is never allowed."]
    assert list_sources(caller=team.owner) == []


def test_a_tool_that_fails_says_why_and_what_next(client: Client, team: Team) -> None:
    fields = {
        "name": "db",
        "dsn": make_database("CREATE TABLE t (a int)"),
        "row_limit": "100",
        "statement_timeout": "10",
    }
    client.post(f"/app/{team.slug}/data-sources/new", fields)
    page = client.get(f"/app/{team.slug}/tools/").content.decode()
    tool = re.search(rf'/app/{team.slug}/tools/([0-9a-f-]{{36}})/">query_database<', page)
    assert tool is not None
    url = f"/app/{team.slug}/tools/{tool[1]}/try"

    def body(arguments: str) -> str:
        return client.post(url, {"arguments": arguments}, headers=HTMX).content.decode()

    assert "(line 1, column 2). Mend the text" in body("{")
    assert "stands twice in one object" in body('{"query": "SELECT 1", "query": "SELECT 2"}')
    assert "NaN is no JSON number" in body('{"query": NaN}')
    assert "surrogate" in body('{"query": "\\ud800"}')
    assert "nested too deeply" in body("[" * 100_000)
    assert "must be a JSON object" in body("[]")
    assert "query" in body("{}")
    assert "nothing" in body('{"query": "SELECT nothing FROM t"}')
    assert "Refused by a rule" in body('{"query": "DELETE FROM t"}')
    assert "The arguments do not fit" in body('{"query": 5}')
    assert "No rows" in body('{"query": "SELECT a FROM t"}')
    outcomes = [record.outcome for record in search_records(caller=team.owner, kind="tools/call").records]
    assert outcomes == ["ok", "invalid", "refused", "error", "invalid"]


def test_a_tools_result_is_text_never_markup(client: Client, team: Team) -> None:
    dsn = make_database("CREATE TABLE t (a text); INSERT INTO t VALUES ('<img src=x onerror=alert(1)>')")
    fields = {"name": "db", "dsn": dsn, "row_limit": "100", "statement_timeout": "10"}
    client.post(f"/app/{team.slug}/data-sources/new", fields)
    page = client.get(f"/app/{team.slug}/tools/").content.decode()
    tool = re.search(r'tools/([0-9a-f-]{36})/">query_database<', page)
    assert tool is not None
    answer = client.post(
        f"/app/{team.slug}/tools/{tool[1]}/try", {"arguments": '{"query": "SELECT a FROM t"}'}, headers=HTMX
    ).content.decode()
    assert "<img" not in answer
    assert "&lt;img" in answer


def test_the_logs_filters_live_in_the_url(client: Client, team: Team) -> None:
    make_key(client, team)
    found = client.get(f"/app/{team.slug}/log/?kind=key.created").context["found"].records
    assert [record.kind for record in found] == ["key.created"]
    assert client.get(f"/app/{team.slug}/log/?kind=tool.deleted").context["found"].records == []


@pytest.mark.parametrize(
    "query",
    ["outcome=splendid", "from=yesterday", "credential=me", "from=2026-01-02T00:00&to=2026-01-01T00:00"],
)
def test_a_filter_that_cannot_be_is_refused_with_words(client: Client, team: Team, query: str) -> None:
    answer = client.get(f"/app/{team.slug}/log/?{query}")
    assert answer.status_code == 400
    assert answer.context["error"].message in answer.content.decode().replace("&#x27;", "'")


def test_a_faulty_filter_is_named_by_its_label_and_lists_what_may_stand_there(
    client: Client, team: Team
) -> None:
    def words(query: str) -> str:
        return str(client.get(f"/app/{team.slug}/log/?{query}").context["error"].message)

    assert words("outcome=bogus") == f"Outcome: It must be one of: {', '.join(OUTCOME_FILTERS)}."
    assert words("from=2026-01-02T00:00&to=2026-01-01T00:00") == "From: It lies after Until. Swap the two."


def test_log_rows_name_what_was_changed(client: Client, team: Team) -> None:
    make_key(client, team, name="Laptop of Ada")
    client.post(f"/app/{team.slug}/members/", {"email": "grace@harbour.example", "role": "viewer"})
    body = client.get(f"/app/{team.slug}/log/").content.decode()
    assert "Laptop of Ada" in body
    assert "grace@harbour.example as viewer" in body


def test_the_log_shows_calls_whose_outcome_is_unknown_and_the_overview_each_call_once(
    client: Client, team: Team
) -> None:
    long_ago = to_microseconds(datetime(2026, 3, 1, tzinfo=UTC))

    def write(tool: str, outcome: str, intent: int | None = None, at: int = long_ago) -> int:
        entry = Entry("tools/call", outcome, "key:a", tool=tool, intent=intent, at=at)
        with tenant_scope(team.tenant_id):
            return append_entry(entry, tenant_id=team.tenant_id)

    write("wire_money", "intent")
    write("send_mail", "ok", write("send_mail", "intent"))
    write("print_page", "intent", at=now_us())
    listed = client.get(f"/app/{team.slug}/log/?kind=tools/call").content.decode()
    assert ("outcome unknown" in listed, "no outcome yet" in listed) == (True, True)
    found = client.get(f"/app/{team.slug}/log/?outcome=unknown").content.decode()
    assert ("wire_money" in found, "print_page" in found, "send_mail" in found) == (True, True, False)
    intent, outcome = search_records(caller=team.owner, tool="send_mail").records[::-1]
    assert f"record {outcome.seq}<" in client.get(f"/app/{team.slug}/log/{intent.seq}").content.decode()
    assert f"record {intent.seq}<" in client.get(f"/app/{team.slug}/log/{outcome.seq}").content.decode()
    overview = client.get(f"/app/{team.slug}/").content.decode()
    assert overview.count(">send_mail<") == 1


def test_the_log_says_how_many_records_are_new(client: Client, team: Team) -> None:
    newest = client.get(f"/app/{team.slug}/log/").context["newest"]
    url = f"/app/{team.slug}/log/news?after={newest}"
    assert client.get(url, headers=HTMX).context["count"] == 0
    make_key(client, team)
    make_key(client, team, name="second")
    assert client.get(url, headers=HTMX).context["count"] == 2
    assert client.get(f"{url}&kind=tools/call", headers=HTMX).context["count"] == 0


def test_older_records_are_one_link_away(client: Client, team: Team) -> None:
    for number in range(52):
        team.key(name=f"key {number}")
    first = client.get(f"/app/{team.slug}/log/?kind=key.created").context["found"]
    assert len(first.records) == 50
    second = client.get(f"/app/{team.slug}/log/?kind=key.created&before={first.next_before}").context["found"]
    assert len(second.records) == 2
    assert second.next_before is None


def test_an_export_without_a_match_is_accepted_and_listed(client: Client, team: Team) -> None:
    answer = client.post(f"/app/{team.slug}/exports/", {"tool": "never_called"}, follow=True)
    [(export, words)] = answer.context["rows"]
    assert export.filters == {"tool": "never_called"}
    assert "waits for a worker" in words


def test_an_export_has_one_file_name_wherever_it_is_downloaded(client: Client, team: Team) -> None:
    export = start_export(caller=team.owner)
    make_export(team.tenant_id, export.id)
    page = client.get(f"/app/{team.slug}/exports/{export.id}/download")
    rest = client.get(f"/api/v1/tenants/{team.slug}/audit/exports/{export.id}/download")
    assert page["Content-Disposition"] == rest["Content-Disposition"]


def test_who_is_invited_is_told_of_with_the_same_words_whether_they_had_an_account_or_not(
    client: Client, team: Team
) -> None:
    def added(email: str) -> str:
        answer = client.post(f"/app/{team.slug}/members/", {"email": email, "role": "viewer"}, follow=True)
        [message] = [str(each) for each in answer.context["messages"]]
        return message.replace(email, "…")

    known, unknown = added(make_user().email), added("nobody-yet@harbour.example")
    assert known == unknown
    assert "on its way" in known


def test_a_source_in_use_stays_and_its_page_says_why(client: Client, team: Team) -> None:
    dsn = make_database("CREATE TABLE t (a int)")
    source = create_source("db", "postgres", {"dsn": dsn}, caller=team.owner)
    create_server("sales", "Sales", "private", ["db"], caller=team.owner)
    url = f"/app/{team.slug}/data-sources/{source.id}/delete"
    answer = client.post(url, {"confirm": "db"}, follow=True)
    assert answer.status_code == 200
    assert "Nothing was deleted. Data source db is offered by the servers sales." in answer.content.decode()


@pytest.mark.parametrize("dsn", ["mysql://reader:hunter22@db/sales", "hello"])
def test_what_is_no_connection_string_is_told_the_form_of_one(client: Client, team: Team, dsn: str) -> None:
    fields = {"name": "not good!", "dsn": dsn, "row_limit": "100", "statement_timeout": "10"}
    body = client.post(f"/app/{team.slug}/data-sources/try", fields, headers=HTMX).content.decode()
    assert "postgresql://user:password@host:5432/database" in body
    assert "1 to 64 letters" in body
    assert "hunter22" not in body


def test_a_test_tells_a_taken_name_and_lists_no_tools_of_what_does_not_answer(
    client: Client, team: Team
) -> None:
    dsn = "postgresql://reader:secret@127.0.0.1:9/none"
    create_source("down", "postgres", {"dsn": dsn}, caller=team.owner)
    fields = {"name": "down", "dsn": dsn, "row_limit": "100", "statement_timeout": "10"}
    body = client.post(f"/app/{team.slug}/data-sources/try", fields, headers=HTMX).content.decode()
    assert "A data source called down exists already" in body
    assert "Unhealthy" in body
    assert "query_database" not in body


def test_the_connect_page_samples_a_tool_that_answers(client: Client, team: Team) -> None:
    create_source(
        "down", "postgres", {"dsn": "postgresql://reader:secret@127.0.0.1:9/none"}, caller=team.owner
    )
    up = create_source("up", "postgres", {"dsn": make_database("CREATE TABLE t (a int)")}, caller=team.owner)
    check_source(up.id, caller=team.owner)
    assert "up_list_tables" in client.get(f"/app/{team.slug}/connect/?client=curl").content.decode()


def test_a_key_made_by_a_key_names_its_maker(client: Client, team: Team) -> None:
    maker = caller_for_key(team.key("admin", name="Deployer"), tenant_slug=team.slug)
    made = issue_key("made", ["tools:read"], caller=maker).row
    body = client.get(f"/app/{team.slug}/keys/{made.id}/").content.decode()
    assert f"/keys/{maker.credential_id}/" in body
    assert "Deployer" in body
    assert team.owner_email in body


def test_an_unknown_address_states_cause_next_step_and_request_id(client: Client, team: Team) -> None:
    answer = client.get(f"/app/{team.slug}/nowhere")
    body = answer.content.decode()
    assert answer.status_code == 404
    assert "nothing at this address" in body
    assert answer["X-Request-ID"] in body


def test_a_fault_of_ours_gives_a_page_without_its_text(
    client: Client, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("postgres://secret")

    monkeypatch.setattr("frontend.views.keys.list_keys", fail)
    client.raise_request_exception = False
    answer = client.get(f"/app/{team.slug}/keys/")
    body = answer.content.decode()
    assert answer.status_code == 500
    assert "not completed" in body
    assert "secret" not in body
    assert answer["X-Request-ID"] in body


def test_every_page_sends_the_policy_and_is_not_stored(client: Client, team: Team) -> None:
    answer = client.get(f"/app/{team.slug}/")
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert "no-store" in answer["Cache-Control"]


def test_the_editor_shows_the_plan_of_what_is_written(client: Client, team: Team) -> None:
    dsn = make_database("CREATE TABLE t (a int PRIMARY KEY)")
    create_source("db", "postgres", {"dsn": dsn}, caller=team.owner)
    path, fields = f"/app/{team.slug}/tools/plan", {"source": "db", "sql": "SELECT a FROM t WHERE a = 1"}
    shown = client.post(path, fields, headers=HTMX).content.decode()
    assert "About 1 row" in shown
    assert "Nothing was run." in shown
    assert (
        "DELETE is not allowed"
        in client.post(path, {**fields, "sql": "DELETE FROM t"}, headers=HTMX).content.decode()
    )
    assert (
        "Choose a data source" in client.post(path, {**fields, "source": ""}, headers=HTMX).content.decode()
    )
