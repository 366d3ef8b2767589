"""Secrets that lie elsewhere: in variables, in files and in Vault, where the operator lets them.

The Vault is ``tests.plugins.vault``: no Vault, but a server written by Vault's API documentation.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from core import vault as vault_client
from core.vaultaccess import VaultAccess
from servers.models import Secret
from servers.services.named_secrets import check_secrets_of
from servers.services.secret_places import MAX_VALUE_BYTES, _variable, read_secrets
from servers.services.source_checks import check_sources_of
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.farside import FarSide
from tests.plugins.vault import VaultServer
from tests.rest import Rest
from tests.servers.named_secrets.desk import (
    OTHER,
    VALUE,
    connected,
    log_of,
    made,
    make,
    secrets_url,
    stored,
    value_of,
    who,
)

# -- Of the environment -------------------------------------------------------------------------------------


def variable(team: Team, name: str = "STRIPE_KEY") -> str:
    return f"TEAM_{team.slug.upper().replace('-', '_')}__{name}"


def test_a_secret_of_the_environment_is_read_by_team_and_name_alone(
    team: Team, rest: Rest, api: FarSide, places: Any
) -> None:
    other = make_team()
    places(prefix="TEAM_", variables={variable(team): VALUE, variable(other): OTHER})
    body = made(team, rest, origin="environment")
    assert (body["state"], body["place"]) == ("ready", {})
    connected(team, rest, api)
    assert "first" in who(team, rest)
    missing = make(team, rest, "path", origin="environment")
    assert missing.paths == {"origin"}
    assert f"There is no variable {variable(team, 'PATH')}" in missing.body["detail"]
    for given in ({"value": VALUE}, {"path": "x"}, {"key": "x"}):
        assert make(team, rest, "more", origin="environment", **given).status == 400


def test_no_two_teams_names_are_one_variable() -> None:
    """``a`` and ``b--c`` would be as ``a--b`` and ``c``: names of secrets hold no two hyphens in a row."""
    found = [
        _variable("T_", team, name) for team in ("a", "a-b", "a--b", "a---b") for name in ("b", "c", "b-c")
    ]
    assert len(set(found)) == len(found)


# -- Of files -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(team: Team, tmp_path: Path, places: Any) -> Path:
    own = tmp_path / "secrets" / team.slug
    own.mkdir(parents=True)
    places(folder=tmp_path / "secrets")
    return own


def test_a_secret_of_a_file_is_read_without_the_line_break_at_its_end(
    team: Team, rest: Rest, api: FarSide, folder: Path
) -> None:
    (folder / "stripe-key").write_text(f"{VALUE}\n")
    made(team, rest, origin="file")
    assert value_of(team) == VALUE
    connected(team, rest, api)
    (folder / "stripe-key").write_text(f"{OTHER}\n")
    assert check_secrets_of(team.tenant_id) == 1
    assert "second" in who(team, rest)
    assert "secret.renewed" in str(rest.get(f"/tenants/{team.slug}/audit/records").body)
    assert OTHER not in log_of(team)


def test_a_link_within_the_folder_is_followed_as_kubernetes_makes_them(
    team: Team, rest: Rest, folder: Path
) -> None:
    (folder / "..2026_11_21").mkdir()
    (folder / "..2026_11_21" / "stripe-key").write_text(VALUE)
    (folder / "..data").symlink_to("..2026_11_21")
    (folder / "stripe-key").symlink_to("..data/stripe-key")
    made(team, rest, origin="file")
    assert value_of(team) == VALUE


def test_nothing_leads_out_of_the_teams_folder(team: Team, rest: Rest, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(OTHER)
    beside = folder.parent / "other-team"
    beside.mkdir()
    (beside / "stripe-key").write_text(OTHER)
    (folder / "absolute").symlink_to(outside)
    (folder / "upwards").symlink_to("../../outside")
    (folder / "beside").symlink_to("../other-team/stripe-key")
    (folder / "process").symlink_to("/proc/self/environ")
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir()
    os.link(outside, folder / "hard")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        for name in ("absolute", "upwards", "beside", "process", "loop", "folder", "hard", "pipe", "socket"):
            refused = make(team, rest, name, origin="file")
            assert (refused.status, refused.paths) == (400, {"origin"}), name
            assert OTHER not in str(refused.body)
    assert "There is no file" in make(team, rest, "nothing", origin="file").body["detail"]


def test_a_teams_folder_that_is_a_link_is_not_entered(
    team: Team, rest: Rest, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "stripe-key").write_text(OTHER)
    folder.rmdir()
    folder.symlink_to(elsewhere)
    assert make(team, rest, origin="file").status == 400


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\x00b", b"x" * (MAX_VALUE_BYTES + 5)])
def test_a_file_without_a_sound_value_is_refused(
    team: Team, rest: Rest, folder: Path, content: bytes
) -> None:
    (folder / "stripe-key").write_bytes(content)
    assert make(team, rest, origin="file").paths == {"origin"}


# -- Of Vault -----------------------------------------------------------------------------------------------


@pytest.fixture
def at_vault(team: Team, vault: VaultServer, places: Any) -> VaultServer:
    token = vault.make_token("marina/")
    places(vault=VaultAccess(vault.url, token=token))
    vault.write(f"marina/{team.slug}/stripe-key", value=VALUE)
    return vault


def later(team: Team, **ago: float) -> None:
    """As if the secret had been read the last time so long ago."""
    with tenant_scope(team.tenant_id):
        Secret.objects.update(read_at=timezone.now() - timedelta(**ago))


def rested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_client, "REST_SECONDS", 0.0)


def test_a_secret_of_vault_is_read_below_the_teams_folder_alone(
    team: Team, rest: Rest, api: FarSide, at_vault: VaultServer
) -> None:
    made(team, rest, origin="vault")
    at_vault.write(f"marina/{team.slug}/billing/stripe", live=OTHER, number=7)
    body = made(team, rest, "other", origin="vault", path="billing/stripe", key="live")
    assert body["place"] == {"path": "billing/stripe", "key": "live"}
    assert (value_of(team), value_of(team, "other")) == (VALUE, OTHER)
    connected(team, rest, api)
    assert "first" in who(team, rest)
    for path in ("../other-team/stripe-key", "a/../../b", "/a", "a//b", "a?version=1", "ä", "%2e%2e/a"):
        refused = make(team, rest, "bad", origin="vault", path=path)
        assert refused.paths == {"path"}, path
    assert "no key" in make(team, rest, "bad", origin="vault", path="billing/stripe", key="x").body["detail"]
    assert (
        "no text"
        in make(team, rest, "bad", origin="vault", path="billing/stripe", key="number").body["detail"]
    )
    assert all(path.startswith(f"/v1/secret/data/marina/{team.slug}/") for _, path in at_vault.asked)


def test_another_value_in_vault_is_taken_over_by_the_schedule_or_at_once(
    team: Team, rest: Rest, api: FarSide, at_vault: VaultServer
) -> None:
    secret = made(team, rest, origin="vault")
    connected(team, rest, api)
    check_secrets_of(team.tenant_id)
    assert stored(team).version == 1
    at_vault.write(f"marina/{team.slug}/stripe-key", value=OTHER)
    answer = rest.post(secrets_url(team, secret["id"], "read"))
    assert (answer.status, answer.body["state"], answer.body["version"]) == (200, "ready", 2)
    assert "second" in who(team, rest)
    at_vault.write(f"marina/{team.slug}/stripe-key", value=VALUE)
    check_secrets_of(team.tenant_id)
    assert "first" in who(team, rest)


def test_while_vault_is_away_its_copy_serves_so_long_and_no_longer(
    team: Team, rest: Rest, api: FarSide, at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested(monkeypatch)
    secret = made(team, rest, origin="vault")
    connected(team, rest, api)
    at_vault.sealed = True
    check_secrets_of(team.tenant_id)
    now = rest.get(secrets_url(team, secret["id"])).body
    assert (now["state"], "sealed" in now["reason"]) == ("stale", True)
    assert "first" in who(team, rest)
    later(team, seconds=3_601)
    check_secrets_of(team.tenant_id)
    assert stored(team).state == "unavailable"
    assert stored(team).sealed is None
    refused = who(team, rest)
    assert "needs a secret that has no value now" in str(refused)
    check_sources_of(team.tenant_id)
    [source] = rest.get(f"/tenants/{team.slug}/data-sources").body["results"]
    assert source["health"]["state"] == "unhealthy"
    assert "The secret stripe-key has no value now. Vault is sealed" in source["health"]["reason"]
    assert "secret.lost" in str(rest.get(f"/tenants/{team.slug}/audit/records").body)
    at_vault.sealed = False
    check_secrets_of(team.tenant_id)
    assert "first" in who(team, rest)


@pytest.mark.parametrize("way", ["delete", "destroy", "forbid", "drop-key"])
def test_what_vault_takes_away_is_gone_at_the_next_reading(
    team: Team, rest: Rest, api: FarSide, at_vault: VaultServer, way: str
) -> None:
    made(team, rest, origin="vault")
    connected(team, rest, api)
    path = f"marina/{team.slug}/stripe-key"
    if way == "forbid":
        for token in at_vault.tokens.values():
            token.prefixes = ("elsewhere/",)
    elif way == "drop-key":
        at_vault.write(path, other="x")
    else:
        getattr(at_vault, way)(path)
    check_secrets_of(team.tenant_id)
    row = stored(team)
    assert (row.state, row.sealed) == ("unavailable", None)
    assert "needs a secret" in str(who(team, rest))


def test_a_dead_token_of_marinas_takes_nothing_away(
    team: Team, rest: Rest, at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested(monkeypatch)
    made(team, rest, origin="vault")
    at_vault.tokens.clear()
    check_secrets_of(team.tenant_id)
    assert stored(team).state == "stale"
    assert value_of(team) == VALUE


def test_a_value_in_vault_that_a_source_does_not_take_is_not_taken_over(
    team: Team, rest: Rest, api: FarSide, at_vault: VaultServer
) -> None:
    made(team, rest, origin="vault")
    connected(team, rest, api)
    at_vault.write(f"marina/{team.slug}/stripe-key", value="two words of poetry")
    check_secrets_of(team.tenant_id)
    row = stored(team)
    assert (row.state, "shop does not take it" in row.reason) == ("stale", True)
    assert "poetry" not in row.reason
    assert "first" in who(team, rest)


def test_a_secret_moves_from_one_place_to_another(team: Team, rest: Rest, at_vault: VaultServer) -> None:
    secret = made(team, rest)
    moved = rest.patch(secrets_url(team, secret["id"]), {"origin": "vault"}).body
    assert (moved["origin"], moved["place"]) == ("vault", {"path": "stripe-key", "key": "value"})
    back = rest.patch(secrets_url(team, secret["id"]), {"origin": "stored", "value": OTHER}).body
    assert (back["origin"], back["place"]) == ("stored", {})
    assert rest.post(secrets_url(team, secret["id"], "read")).body["code"] == "secret_stored"
    assert rest.patch(secrets_url(team, secret["id"]), {}).paths == {"value"}


def test_what_was_changed_while_it_was_read_is_left_alone(
    team: Team, rest: Rest, at_vault: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = "servers.services.named_secrets.read_secrets"
    secret = made(team, rest, origin="vault")

    def read_slowly(slug: str, rows: Any) -> Any:
        found = read_secrets(slug, rows)
        monkeypatch.setattr(reading, read_secrets)
        rest.patch(secrets_url(team, secret["id"]), {"origin": "stored", "value": OTHER})
        return found

    monkeypatch.setattr(reading, read_slowly)
    check_secrets_of(team.tenant_id)
    assert value_of(team) == OTHER


def test_no_error_of_a_broken_address_quotes_a_secret(team: Team, rest: Rest) -> None:
    value = "postgres-of-nobody " + quote(VALUE)
    made(team, rest, value=value)
    body = {"name": "w", "kind": "postgres", "settings": {"dsn": {"secret": "stripe-key"}}}
    refused = rest.post(f"/tenants/{team.slug}/data-sources", body)
    assert (refused.status, refused.paths) == (400, {"settings.dsn"})
    assert VALUE not in str(refused.body) + log_of(team)
