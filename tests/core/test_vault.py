"""Secrets of a key/value store, version 2, over Vault's HTTP API: read, and every way in which they are not there.

The far side is ``tests.plugins.vault``: no Vault, but a server written by Vault's API documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core import vault as client
from core.loop import run_async
from core.vault import Vault, VaultFault
from core.vaultaccess import VaultAccess, is_vault_path
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.plugins.vault import VaultServer, running_vault


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that has to wait for a processor is not down."""
    monkeypatch.setattr(client, "READ_SECONDS", 60.0)


@pytest.fixture
def server() -> Iterator[VaultServer]:
    with running_vault() as server:
        server.write("marina/crew/stripe", value="sk_of_stripe", other="x")
        yield server


@pytest.fixture
def far() -> Iterator[FarSide]:
    with far_side() as far:
        yield far


def by_token(server: VaultServer, *prefixes: str) -> Vault:
    return Vault(VaultAccess(server.url, token=server.make_token(*(prefixes or ("marina/",)))))


def read(vault: Vault, path: str = "marina/crew/stripe") -> object:
    return run_async(vault.read([path]))[0]


def fault(vault: Vault, path: str = "marina/crew/stripe") -> VaultFault:
    found = read(vault, path)
    assert isinstance(found, VaultFault), found
    return found


def test_a_token_reads_the_newest_version(server: VaultServer) -> None:
    vault = by_token(server)
    assert read(vault) == {"value": "sk_of_stripe", "other": "x"}
    server.write("marina/crew/stripe", value="another")
    assert read(vault) == {"value": "another"}


def test_approle_signs_in_once_for_its_lease_and_again_after_it(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    role_id, secret_id = server.make_role("marina/", lease=1000)
    vault = Vault(VaultAccess(server.url, role_id=role_id, secret_id=secret_id))
    time = 5_000.0
    monkeypatch.setattr(client, "monotonic", lambda: time)
    for _ in range(3):
        assert (
            run_async(vault.read(["marina/crew/stripe"] * 5)) == [{"value": "sk_of_stripe", "other": "x"}] * 5
        )
    assert server.logins() == 1
    time += 801
    assert read(vault) == {"value": "sk_of_stripe", "other": "x"}
    assert server.logins() == 2


def test_a_token_of_approle_that_died_is_replaced(server: VaultServer) -> None:
    role_id, secret_id = server.make_role("marina/")
    vault = Vault(VaultAccess(server.url, role_id=role_id, secret_id=secret_id))
    assert isinstance(read(vault), dict)
    server.tokens.clear()
    assert isinstance(read(vault), dict)
    assert server.logins() == 2


def test_a_policy_that_refuses_is_vaults_last_word_and_a_dead_token_is_not(server: VaultServer) -> None:
    refused = fault(by_token(server, "elsewhere/"))
    assert (refused.final, "does not let Marina read" in str(refused)) == (True, True)
    vault = by_token(server)
    server.tokens.clear()
    dead = fault(vault)
    assert (dead.final, "does not know Marina's token" in str(dead)) == (False, True)


def test_a_role_that_vault_does_not_know_is_said(server: VaultServer) -> None:
    vault = Vault(VaultAccess(server.url, role_id="who", secret_id="nobody"))
    found = fault(vault)
    assert (found.final, "AppRole (400)" in str(found)) == (False, True)


def test_what_is_not_there_or_not_any_more_is_final(server: VaultServer) -> None:
    vault = by_token(server)
    missing = fault(vault, "marina/crew/nothing")
    assert (missing.final, str(missing)) == (True, "Vault has nothing at this path")
    server.delete("marina/crew/stripe")
    deleted = fault(vault)
    assert (deleted.final, str(deleted)) == (True, "Vault has its newest version deleted")
    server.destroy("marina/crew/stripe")
    destroyed = fault(vault)
    assert (destroyed.final, str(destroyed)) == (True, "Vault has its newest version destroyed")


def test_a_namespace_is_sent(server: VaultServer) -> None:
    server.namespace = "teams/crew"
    token = server.make_token("marina/")
    assert isinstance(read(Vault(VaultAccess(server.url, token=token, namespace="teams/crew"))), dict)
    assert fault(Vault(VaultAccess(server.url, token=token))).final


def test_a_sealed_vault_may_answer_later(server: VaultServer) -> None:
    vault = by_token(server)
    server.sealed = True
    found = fault(vault)
    assert (found.final, "sealed" in str(found)) == (False, True)


def test_a_vault_that_is_down_is_asked_once_for_many_secrets_and_then_left_alone(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "AT_ONCE", 1)
    time = 5_000.0
    monkeypatch.setattr(client, "monotonic", lambda: time)
    vault = by_token(server)
    server.sealed = True
    assert len(run_async(vault.read(["marina/crew/stripe"] * 50))) == 50
    assert len(server.asked) == 1
    server.sealed = False
    assert not fault(vault).final
    time += client.REST_SECONDS
    assert isinstance(read(vault), dict)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(b"<html>welcome</html>", kind="text/html"), "not what Vault answers"),
        (reply(b"<html>no such page</html>", status=404, kind="text/html"), "not what Vault answers"),
        (reply(b'{"detail": "no such page"}', status=404), "not as Vault does"),
        (reply(b'{"data": {"value": "of version 1"}}'), "version 2"),
        (reply(b'{"data": {"data": "text"}}'), "version 2"),
        (reply(b'{"data": {"data": {"a": 1, "a": 2}}}'), "not what Vault answers"),
        (reply(b"[" * 100_000), "not what Vault answers"),
        (reply(b"null"), "not what Vault answers"),
        (reply(b'{"errors": ["1 error occurred: secret-of-vault"]}', status=500), "status 500"),
        (reply(b"{}", status=429), "status 429"),
        (reply(b"", status=307, headers={"Location": "http://127.0.0.1:1/"}), "led elsewhere (307)"),
        (reply(b" " * (client.MAX_ANSWER_BYTES + 1)), "larger than"),
        (b"it is no HTTP\r\n\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
def test_what_no_vault_answers_is_told_and_is_not_final(far: FarSide, answer: bytes, words: str) -> None:
    far.serve("/v1/secret/data/marina/crew/stripe", answer)
    found = fault(Vault(VaultAccess(far.origin, token="t")))
    assert (found.final, words in str(found)) == (False, True), found
    assert "secret-of-vault" not in str(found)
    assert "welcome" not in str(found)


def test_a_forbidden_page_of_something_else_is_not_final(far: FarSide) -> None:
    for path in ("secret/data/marina/crew/stripe", "auth/token/lookup-self"):
        far.serve(f"/v1/{path}", reply(b"<html>a firewall</html>", status=403))
    assert not fault(Vault(VaultAccess(far.origin, token="t"))).final


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"auth": null}', b'{"auth": {"client_token": "a\\nb", "lease_duration": 1}}', b"no JSON"],
)
def test_a_sign_in_without_a_token_is_none(far: FarSide, body: bytes) -> None:
    far.serve("/v1/auth/approle/login", reply(body))
    assert not fault(Vault(VaultAccess(far.origin, role_id="r", secret_id="s"))).final


def test_a_vault_that_hangs_is_left_in_time(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_SECONDS", 0.2)

    def hang(asked: Asked, send: Send) -> None:
        far.over.wait(30)

    far.serve("/v1/secret/data/marina/crew/stripe", hang)
    found = fault(Vault(VaultAccess(far.origin, token="t")))
    assert (found.final, "within 0.2 seconds" in str(found)) == (False, True)


def test_a_vault_that_is_not_there_is_said(far: FarSide) -> None:
    nowhere = far.origin
    far.stop()
    assert "not reached" in str(fault(Vault(VaultAccess(nowhere, token="t"))))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "../a",
        "a/../b",
        "a/./b",
        "%2e%2e",
        "a b",
        "ä",
        "a?version=1",
        "a#",
        "a\x00",
    ],
)
def test_a_path_that_leads_elsewhere_is_never_asked_for(server: VaultServer, path: str) -> None:
    assert not is_vault_path(path)
    assert fault(by_token(server, ""), path).final
    assert server.asked == []
