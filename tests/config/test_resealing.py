"""Another master key takes the former one's place: nothing is lost, and then the former one opens nothing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.conf import settings
from django.db import models

from config import resealing
from config.resealing import Resealed, reseal_rows, sealed_models
from core.crypto import SealError
from core.models import SealCheck
from core.sealing import sealer
from servers.models import DataSource, Secret
from servers.services.named_secrets import create_secret
from servers.services.sealed import open_secret as open_named
from servers.services.sources import create_source, execution_source
from tenants.models import IdentityProvider, LogKey, LogStream, OriginalsKey, TrustedIssuer
from tenants.scoping import TenantOwned, tenant_scope
from tenants.services.factors import new_totp_secret, show_totp_secret
from tenants.services.log_keys import KeysDoNotOpen, open_keys
from tenants.services.originals import open_marks
from tenants.services.outside_issuers import create_issuer
from tenants.services.sso_providers import ProviderSettings, create_provider, open_secret
from tenants.services.stream_settings import open_secrets
from tenants.services.streams import create_stream
from tests.factories import Team, make_team, make_user
from tests.plugins.own_cluster import ROOT, Cluster, running_cluster

OLD, NEW = settings.ENV.master_key, b"the next master key, of 32 bytes"
DSN = "postgresql://reader:{}@db.example.com/airports"


@contextmanager
def keys(monkeypatch: pytest.MonkeyPatch, master: bytes, *readable: bytes) -> Iterator[None]:
    """This process with other master keys."""
    with monkeypatch.context() as patched:
        patched.setattr(settings, "ENV", replace(settings.ENV, master_key=master, readable_keys=readable))
        sealer.cache_clear()
        yield
    sealer.cache_clear()


# All teams of all tests are gone through, several times.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team with each kind of sealed value. What is left under the new key goes back: the tests share a database."""
    team = make_team()
    for number in range(3):
        create_source(f"airports{number}", "postgres", {"dsn": DSN.format(number)}, caller=team.owner)
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    create_secret("stripe-key", value="value of a secret", caller=team.owner)
    create_issuer(
        {
            "name": "asked",
            "issuer": "https://corp.example.com",
            "method": "introspection",
            "introspection_endpoint": "https://corp.example.com/introspect",
            "client_id": "marina",
            "client_secret": "secret of the issuer",
        },
        caller=team.owner,
    )
    create_issuer({"name": "plain", "issuer": "https://other.example.com"}, caller=team.owner)
    provider = ProviderSettings(
        name="Acme",
        issuer="https://id.acme.example",
        client_id="marina",
        client_secret="secret-of-the-provider",
        domains=("acme.example",),
    )
    create_provider(provider, caller=team.owner)
    create_stream("webhook", {"name": "siem", "url": "https://127.0.0.1:9/"}, caller=team.owner)
    with tenant_scope(team.tenant_id):
        open_marks()
    yield team
    with keys(monkeypatch, OLD, NEW):
        list(reseal_rows(write=True))


def of(team: Team, found: list[Resealed]) -> dict[str, int]:
    return {each.kind: each.former for each in found if each.tenant_id == team.tenant_id}


def opened(team: Team) -> list[object]:
    """Every secret of the team in clear."""
    with tenant_scope(team.tenant_id):
        sources = [execution_source(row).settings.get("dsn") for row in DataSource.objects.order_by("name")]
        issuer = TrustedIssuer.objects.get(name="asked")
        secret = sealer().open(bytes(issuer.sealed), context=issuer.seal_context)
        provider = IdentityProvider.objects.get()
        named = open_named(Secret.objects.get(), sealer())
        stream = open_secrets(LogStream.objects.get())
        key = OriginalsKey.objects.get()
        originals = sealer().open(bytes(key.sealed), context=key.seal_context)
    return [*sources, secret, named, open_secret(provider), stream, originals]


ALL = {
    "DataSource": 4,
    "Secret": 1,
    "TrustedIssuer": 1,
    "IdentityProvider": 1,
    "LogStream": 1,
    "OriginalsKey": 1,
}


def test_all_that_a_team_has_is_sealed_anew_and_stays_what_it_was(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opened(team)
    with keys(monkeypatch, NEW, OLD):
        assert opened(team) == before
        assert of(team, list(reseal_rows(write=False))) == ALL
        assert of(team, list(reseal_rows(write=True))) == ALL
        assert of(team, list(reseal_rows(write=True))) == {}
    with keys(monkeypatch, NEW):
        assert opened(team) == before
    with pytest.raises(Exception, match="do not open with this master key"):
        opened(team)


def test_a_check_changes_nothing(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    with keys(monkeypatch, NEW, OLD):
        list(reseal_rows(write=False))
    assert len(opened(team)) == 9


def test_a_run_that_was_cut_off_is_gone_on_with(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "BATCH", 1)
    kept = resealing._reseal_row
    seen = []

    def killed(row: Any, *, write: bool) -> bool:
        if getattr(row, "tenant_id", None) == team.tenant_id:
            seen.append(row)
            if len(seen) == 3:
                raise KeyboardInterrupt
        return kept(row, write=write)

    with keys(monkeypatch, NEW, OLD):
        monkeypatch.setattr(resealing, "_reseal_row", killed)
        with pytest.raises(KeyboardInterrupt):
            list(reseal_rows(write=True))
        monkeypatch.setattr(resealing, "_reseal_row", kept)
        left = of(team, list(reseal_rows(write=True)))
        assert 0 < sum(left.values()) < sum(ALL.values())
    with keys(monkeypatch, NEW):
        assert len(opened(team)) == 9


def test_a_value_that_no_key_opens_is_named_and_left(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    with tenant_scope(team.tenant_id):
        row = DataSource.objects.get(name="airports1")
        lost = b"\x01" + b"another!" + bytes(row.sealed)[9:]
        DataSource.objects.filter(pk=row.pk).update(sealed=lost)
    with keys(monkeypatch, NEW, OLD):
        found = list(reseal_rows(write=True))
    mine = {each.kind: each.unreadable for each in found if each.tenant_id == team.tenant_id}
    assert mine["DataSource"] == (str(row.pk),)
    assert of(team, found)["DataSource"] == 3
    with tenant_scope(team.tenant_id):
        row.delete()


def test_second_factors_are_sealed_anew_each_for_its_person(monkeypatch: pytest.MonkeyPatch) -> None:
    person = make_user()
    sealed = new_totp_secret(person.pk)
    secret = show_totp_secret(person, sealed).text
    row = Authenticator.objects.create(
        user_id=person.pk, type=Authenticator.Type.TOTP, data={"secret": sealed, "step": 7}
    )
    with keys(monkeypatch, NEW, OLD):
        list(reseal_rows(write=True))
    row.refresh_from_db()
    assert row.data["step"] == 7
    with keys(monkeypatch, NEW):
        assert show_totp_secret(person, row.data["secret"]).text == secret
        with pytest.raises(SealError):
            show_totp_secret(make_user(), row.data["secret"])
    with keys(monkeypatch, OLD, NEW):
        list(reseal_rows(write=True))


def test_the_keys_of_the_log_are_sealed_anew_and_sign_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_keys().public
    with keys(monkeypatch, NEW, OLD):
        assert open_keys().public == before
        found = {each.kind: each.former for each in reseal_rows(write=True)}
        assert found["LogKey"] == len(before)
    with keys(monkeypatch, NEW):
        assert open_keys().public == before
    with pytest.raises(KeysDoNotOpen):
        open_keys()
    with keys(monkeypatch, OLD, NEW):
        list(reseal_rows(write=True))
    assert open_keys().public == before


def test_every_sealed_column_is_among_what_is_sealed_anew() -> None:
    found = sealed_models()
    assert DataSource in found
    for model in apps.get_models():
        names = [field.name for field in model._meta.local_fields if "seal" in field.name]
        known = list(getattr(model, "sealed_columns", ("sealed",)))
        assert names in ([], known), f"{model}: call the column sealed, or name it in sealed_columns"
        assert not names or model in found or model in {SealCheck, LogKey}
    for each in found:
        assert any(isinstance(field, models.BinaryField) for field in each._meta.local_fields)
        assert isinstance(getattr(each, "seal_context", None), property)
        assert issubclass(each, TenantOwned)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


def manage(cluster: Cluster, *arguments: str, master: bytes, readable: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={
            **os.environ,
            "DATABASE_URL": cluster.url,
            "MARINA_MASTER_KEY": base64.urlsafe_b64encode(master).decode(),
            "MARINA_READABLE_KEYS": base64.urlsafe_b64encode(readable).decode(),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_an_installation_changes_its_master_key_and_gives_the_former_one_up(
    cluster: Cluster, tmp_path: Path
) -> None:
    demo = ("load_demo", "--json-out", str(tmp_path / "demo.json"))
    assert manage(cluster, *demo, master=OLD)[0] == 0
    before = json.loads((tmp_path / "demo.json").read_text())
    both: dict[str, Any] = {"master": NEW, "readable": OLD}
    # The passwords of the database's roles come of the master key.
    assert manage(cluster, "setup_database", "-v", "0", **both)[0] == 0
    code, said = manage(cluster, "rotate_keys", "--check", **both)
    assert (code, said.splitlines()) == (
        1,
        [
            "DataSource of team 1: 2 under a former key",
            "DataSource of team 2: 1 under a former key",
            "CommandError: A former master key is still needed: run this without --check.",
        ],
    )
    code, said = manage(cluster, "setup_database", "-v", "0", master=NEW)
    assert code == 1
    assert "MARINA_READABLE_KEYS" in said
    code, said = manage(cluster, "rotate_keys", **both)
    assert code == 0
    assert "DataSource of team 1: 2 sealed anew" in said
    assert "No former key is needed any more." in said
    assert manage(cluster, "rotate_keys", "--check", master=NEW)[0] == 0
    assert manage(cluster, *demo, master=NEW)[0] == 0
    assert json.loads((tmp_path / "demo.json").read_text())["api_key"] == before["api_key"]
    code, said = manage(cluster, "setup_database", "-v", "0", master=OLD)
    assert code == 1
    assert "MARINA_MASTER_KEY is not the key" in said
